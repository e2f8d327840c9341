import os
import subprocess
import sys

import numpy as np
import pytest

from oamface import Analyzer, runtime
from oamface.benchmark import PERSON
from oamface.errors import DeviceError, ModelError, OptionError
from oamface.images import rescale
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
    with pytest.raises(DeviceError, match=r'force-reinstall "onnxruntime-gpu\[cuda,cudnn\]"'):
        runtime.load_onnx(untrained_model.read_bytes(), "cuda")


def test_device_that_does_not_load_is_an_error_that_says_what_it_needs(untrained_model, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("/src/state.cc:7 void Register(Options&) Please install TensorRT\nmore")

    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(runtime.onnxruntime, "InferenceSession", fail)
    with pytest.raises(DeviceError) as raised:
        runtime.load_onnx(untrained_model.read_bytes(), "tensorrt")
    assert str(raised.value).endswith("(Please install TensorRT); it needs an NVIDIA GPU and TensorRT")


@pytest.mark.parametrize("code", ["raise ImportError('gone')", ""], ids=["none", "the rest of a removed build"])
def test_missing_runtime_is_one_line(code, tmp_path) -> None:
    (tmp_path / "onnxruntime.py").write_text(code)
    call = [sys.executable, "-m", "oamface", "analyze", str(PERSON)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("oamface: ONNX Runtime is missing or damaged")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux keeps a process to some cores")
@pytest.mark.skipif(os.cpu_count() == 1, reason="takes two cores")
def test_networks_take_no_more_threads_than_the_process_may_use(untrained_model) -> None:
    code = f"""
import os
from oamface.runtime import load_onnx
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
data = open({str(untrained_model)!r}, "rb").read()
before = len(os.listdir("/proc/self/task"))
network = load_onnx(data)
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


class Cuda:
    """What the device was asked for: providers with their options, and the shapes of inputs."""

    def __init__(self) -> None:
        self.providers, self.shapes = [], []


@pytest.fixture
def cuda(monkeypatch):
    """CUDA as if this machine had it; the CPU computes."""
    requested = Cuda()
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    class Session(runtime.onnxruntime.InferenceSession):
        def __init__(self, model, options, providers, **_: object) -> None:
            requested.providers.append(providers)
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return available

        def run(self, names, inputs):
            requested.shapes.extend(values.shape for values in inputs.values())
            return super().run(names, inputs)

    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(runtime.onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(runtime.onnxruntime, "preload_dlls", lambda: requested.providers.append("libraries"))
    runtime._preload_cuda.cache_clear()
    return requested


def test_cuda_gets_its_options_and_the_cpu_for_what_it_lacks(cuda, untrained_model) -> None:
    assert runtime.load_onnx(untrained_model.read_bytes()).provider == "CUDAExecutionProvider"
    libraries, ((name, options), fallback) = cuda.providers
    assert libraries == "libraries"
    assert (name, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"


def test_cuda_gets_batches_of_few_sizes_and_gives_all_results(cuda, untrained_model) -> None:
    network, cpu = (runtime.load_onnx(untrained_model.read_bytes(), device) for device in ("cuda", "cpu"))
    images = np.random.default_rng(0).random((7, 3, 32, 32), np.float32)
    expected = [cpu(images[:count]) for count in range(1, 8)]
    cuda.shapes.clear()
    for outputs in expected:
        for values, output in zip(outputs, network(images[: len(outputs[0])]), strict=True):
            np.testing.assert_allclose(output, values, rtol=1e-5, atol=1e-5)
    assert {shape[0] for shape in cuda.shapes} == {1, 2, 4, 8}


def test_images_of_many_sizes_have_few_shapes_on_cuda(cuda, portrait) -> None:
    images = [rescale(portrait, width / portrait.shape[1]) for width in (300, 411, 550)]
    expected = [Analyzer(device="cpu").analyze(image) for image in images]
    cuda.shapes.clear()
    analyzer = Analyzer(device="cuda")
    for image, faces in zip(images, expected, strict=True):
        (face,), (other,) = analyzer.analyze(image), faces
        np.testing.assert_allclose(face.box, other.box, atol=1e-3)
        assert face.age.years == pytest.approx(other.age.years, abs=1e-3)
    assert len(set(cuda.shapes)) <= 6


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
