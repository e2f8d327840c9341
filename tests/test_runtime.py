import subprocess
import sys

import numpy as np
import pytest

from oamface import runtime
from oamface.errors import DeviceError, ModelError, OptionError
from oamface.runtime import OnnxRuntime, load


def test_load_gives_the_network_and_its_digest(untrained_model, tmp_path) -> None:
    network, digest = load(untrained_model, threads=1)
    assert len(digest) == 64
    assert network.description().startswith("{")
    values = network(np.zeros((2, 3, 32, 32), np.float32))
    assert [len(value) for value in values] == [2] * len(network.outputs)
    (tmp_path / "text.onnx").write_text("text")
    for path, reason in ((tmp_path / "text.onnx", "no ONNX model"), (tmp_path / "gone.onnx", "cannot be read")):
        with pytest.raises(ModelError, match=reason) as raised:
            load(path)
        assert str(path) in str(raised.value)
    with pytest.raises(ModelError, match="no ONNX model"):
        OnnxRuntime(b"")


def test_command_line_imports_no_heavy_package_for_help() -> None:
    code = "import sys, oamface.cli.app; print({'numpy', 'onnxruntime', 'cv2', 'rich', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_import_leaves_the_environment_alone_and_sends_no_telemetry(untrained_model, tmp_path) -> None:
    code = f"""
import os, sys
import oamface
from oamface.predictor import Predictor
Predictor({str(untrained_model)!r})
assert "ORT_DISABLE_TELEMETRY" not in os.environ
assert "openvino_telemetry" not in sys.modules
"""
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(tmp_path.iterdir())  # ONNX Runtime would keep a device identifier there


def test_auto_falls_back_to_the_cpu(untrained_model, monkeypatch) -> None:
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: available)
    network = runtime.load_onnx(untrained_model.read_bytes())
    assert network.provider in available
    with pytest.raises(DeviceError):
        runtime.load_onnx(untrained_model.read_bytes(), "tensorrt")
    with pytest.raises(OptionError):
        runtime.load_onnx(untrained_model.read_bytes(), "tpu")


def test_device_that_is_not_there_is_an_error_that_says_how_to_get_it(untrained_model) -> None:
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        runtime.load_onnx(untrained_model.read_bytes(), "cuda")


def test_cuda_gets_its_options_and_the_cpu_for_what_it_lacks(untrained_model, monkeypatch) -> None:
    requested = []

    class Session(runtime.onnxruntime.InferenceSession):
        def __init__(self, model, options, providers, **_: object) -> None:
            requested.append(providers)
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime.onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(runtime.onnxruntime, "preload_dlls", lambda: requested.append("libraries"))
    runtime._preload_cuda.cache_clear()
    network = runtime.load_onnx(untrained_model.read_bytes())
    assert network.provider == "CUDAExecutionProvider"
    libraries, ((name, options), fallback) = requested
    assert libraries == "libraries"
    assert (name, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"


def test_missing_cuda_libraries_do_not_reach_stdout(untrained_model, monkeypatch, capsys) -> None:
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: available)
    calls = []

    def preload_dlls() -> None:
        calls.append(1)
        print("Failed to load libcublasLt.so")

    monkeypatch.setattr(runtime.onnxruntime, "preload_dlls", preload_dlls, raising=False)
    runtime._preload_cuda.cache_clear()
    for _ in range(2):
        runtime.load_onnx(untrained_model.read_bytes())
    assert len(calls) == 1
    assert capsys.readouterr().out == ""


def test_device_that_fails_says_why(untrained_model, monkeypatch) -> None:
    network = runtime.load_onnx(untrained_model.read_bytes(), "cpu")

    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError("out of memory\nat line 3")

    monkeypatch.setattr(network, "_session", Session())
    with pytest.raises(DeviceError, match="CPUExecutionProvider failed: out of memory"):
        network(np.zeros((1, 3, 32, 32), np.float32))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory")

    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(runtime.onnxruntime, "InferenceSession", fail)
    with pytest.raises(DeviceError, match="CUDA out of memory"):
        runtime.load_onnx(untrained_model.read_bytes(), "cuda")
