"""A network's file in what computes it: ONNX Runtime, or OpenVINO for files that were made for it."""

import hashlib
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from oamface.errors import ModelError

FloatArray = npt.NDArray[np.float32]

METADATA = "oamface"  # the key under which a model file carries its description, as JSON
OPENVINO = ".xml"  # its weights lie beside it, in a .bin of the same name


class Runtime(Protocol):
    """A network ready to compute. Safe to share between threads."""

    outputs: tuple[str, ...]

    def __call__(self, values: FloatArray) -> tuple[FloatArray, ...]:
        """Its only input to all of `outputs`."""

    def description(self) -> str | None:
        """What the file carries under METADATA."""


class OnnxRuntime:
    """A serialised ONNX model on the CPU. threads: 0 for all cores. Raises ModelError: no such model."""

    def __init__(self, model: bytes, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Threads that wait for their next work by spinning take the cores from the other network and from Python.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no public base
            raise ModelError(f"no ONNX model ({str(error).splitlines()[0]})") from error
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, values: FloatArray) -> tuple[FloatArray, ...]:
        return tuple(self._session.run(None, {self._input: values}))

    def description(self) -> str | None:
        found: str | None = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        return found


class OpenVino:
    """OpenVINO's own form of a model on the CPU. threads: 0 for all cores.

    Raises ModelError: openvino is not installed, or no such model.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        openvino = import_openvino()
        settings = {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        core = openvino.Core()
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # its errors are RuntimeErrors of several lines
            raise ModelError(f"no OpenVINO model ({str(error).splitlines()[-1]})") from error
        self._description = str(model.get_rt_info([METADATA]).astype(str)) if model.has_rt_info([METADATA]) else None
        self._requests = threading.local()  # a request is for one thread at a time
        self.outputs = tuple(output.get_any_name() for output in self._compiled.outputs)

    def __call__(self, values: FloatArray) -> tuple[FloatArray, ...]:
        request = getattr(self._requests, "one", None)
        if request is None:
            request = self._requests.one = self._compiled.create_infer_request()
        found = request.infer([values])
        return tuple(found[output] for output in self._compiled.outputs)

    def description(self) -> str | None:
        return self._description


def load(path: Path, threads: int = 0) -> tuple[Runtime, str]:
    """A model file by its ending, and its SHA-256. Raises ModelError, which names the file."""
    try:
        data = path.read_bytes()
        if path.suffix == OPENVINO:
            digest = hashlib.sha256(data + path.with_suffix(".bin").read_bytes()).hexdigest()
            return OpenVino(path, threads), digest
        return OnnxRuntime(data, threads), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would report every import of it. Raises ModelError: not installed."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ModelError('files for OpenVINO take the package: pip install "oamface[openvino]"') from error
    return openvino
