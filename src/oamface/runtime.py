"""Loads network files: ONNX Runtime on any of its devices, or OpenVINO for files in its own form."""

import hashlib
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from oamface.devices import AUTOMATIC, GPUS, INSTALL, PROVIDERS, check_device
from oamface.errors import DeviceError, ModelError, OamfaceError, OptionError
from oamface.parallel import cores
from oamface.results import FloatArray


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """ONNX Runtime from 1.29 on writes an identifier of the device to disk and sends events to Microsoft, and OpenVINO
    reports its imports, unless this is so while they are imported. The caller's own environment stays as it was."""
    before, module = os.environ.get(_TELEMETRY), sys.modules.get("openvino_telemetry", ...)
    os.environ[_TELEMETRY] = "1"
    if module is ...:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TELEMETRY]
        else:
            os.environ[_TELEMETRY] = before
        if module is ...:
            del sys.modules["openvino_telemetry"]


_TELEMETRY = "ORT_DISABLE_TELEMETRY"
try:
    with _without_telemetry():
        import onnxruntime

    RUNTIME_VERSION: str = onnxruntime.__version__
except (ImportError, AttributeError) as error:  # AttributeError: one of two builds in its folder was removed
    reinstall = "pip install --force-reinstall onnxruntime (or the build of it that you use)"
    raise OamfaceError(f"ONNX Runtime is missing or damaged ({error}); {reinstall}") from error

METADATA = "oamface"  # the key under which a model file carries its description, as JSON
OPENVINO = ".xml"  # its weights lie beside it, in a .bin of the same name
MAX_THREADS = 4096

# CUDA: images come in many sizes, and an exhaustive search for the best algorithm would begin anew with each.
_PROVIDER_OPTIONS = {
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"},
    "TensorrtExecutionProvider": {"trt_fp16_enable": "1"},
}

# Threads that wait for the next layer spin for a moment: waking them takes longer, a tenth of a portrait's time.
# Spinning as long as ONNX Runtime's default is would take the cores from the other network and from Python.
_SPINNING = {"session.intra_op.allow_spinning": "1", "session.intra_op.spin_duration_us": "50"}
if tuple(map(int, RUNTIME_VERSION.split(".")[:2])) < (1, 26):  # knows no duration
    _SPINNING = {"session.intra_op.allow_spinning": "0"}

_SIGNATURE = re.compile(r"/\S+:\d+ .*\) (?=[A-Z])")  # of the C++ function that an error of ONNX Runtime comes from
_LOG_WARNINGS = 2  # ONNX Runtime's default
logger = logging.getLogger(__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without ONNX Runtime's own messages about providers that do not load, which `DeviceError` says in one line."""
    onnxruntime.set_default_logger_severity(4)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_LOG_WARNINGS)


@cache
def _preload_cuda() -> None:
    """Load CUDA and cuDNN from their wheels, which the system does not find. What is missing is printed to stdout."""
    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(io.StringIO()) as printed:
            onnxruntime.preload_dlls()
        logger.debug("CUDA libraries: %s", printed.getvalue().strip() or "loaded")


class Runtime(Protocol):
    """A network ready to compute. Safe to share between threads.

    plans_shapes: whether the first input of every new shape costs seconds, so that callers should keep to few.
    """

    outputs: tuple[str, ...]
    plans_shapes: bool

    def __call__(self, values: npt.NDArray[np.generic]) -> tuple[FloatArray, ...]:
        """The values of all `outputs` for the only input, of its own type. Raises DeviceError: the device failed."""

    def description(self) -> str | None:
        """What the file carries under METADATA."""


class OnnxRuntime:
    """A serialised ONNX model in ONNX Runtime. provider: one of its execution providers. threads: 0 for all cores.

    Raises ModelError: no such model; DeviceError: the provider does not load on this machine.
    """

    def __init__(self, model: bytes, provider: str = "CPUExecutionProvider", threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        if threads == 0 and cores() < (os.cpu_count() or 1):  # limits that ONNX Runtime does not look at
            threads = cores()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        for key, value in _SPINNING.items():
            options.add_session_config_entry(key, value)
        providers: list[Any] = [(provider, _PROVIDER_OPTIONS.get(provider, {}))]
        if provider != "CPUExecutionProvider":
            providers.append("CPUExecutionProvider")
        try:
            # Without its own fallback, which prints to stdout and hides the cause.
            self._session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's own errors share no public base
            cause = _SIGNATURE.sub("", str(error).splitlines()[0])
            if provider != "CPUExecutionProvider":
                raise DeviceError(f"{provider} does not load on this machine ({cause})") from error
            raise ModelError(f"no ONNX model ({cause})") from error
        if provider not in self._session.get_providers():  # it falls back to the CPU without an error
            raise DeviceError(f"{provider} does not load on this machine")
        self.provider, self.plans_shapes = provider, provider != "CPUExecutionProvider"
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, values: npt.NDArray[np.generic]) -> tuple[FloatArray, ...]:
        count = len(values)
        if self.plans_shapes:  # batches of 1, 2, 4, 8 ... alone
            padding = (1 << (count - 1).bit_length()) - count
            values = np.concatenate([values, np.zeros((padding, *values.shape[1:]), values.dtype)])
        try:
            return tuple(output[:count] for output in self._session.run(None, {self._input: values}))
        except Exception as error:  # such as a GPU without enough memory left
            raise DeviceError(f"{self.provider} failed: {str(error).splitlines()[0]}") from error

    def description(self) -> str | None:
        text: str | None = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        return text


class OpenVino:
    """OpenVINO's own form of a model on the CPU. threads: 0 for all cores.

    Raises ModelError: openvino is not installed, or no such model.
    """

    plans_shapes = False

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

    def __call__(self, values: npt.NDArray[np.generic]) -> tuple[FloatArray, ...]:
        request = getattr(self._requests, "one", None)
        if request is None:
            request = self._requests.one = self._compiled.create_infer_request()
        try:
            results = request.infer([values])
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO failed: {str(error).splitlines()[-1]}") from error
        return tuple(results[output] for output in self._compiled.outputs)

    def description(self) -> str | None:
        return self._description


def load_onnx(model: bytes, device: str = "auto", threads: int = 0) -> OnnxRuntime:
    """A serialised ONNX model on one of DEVICES; "auto" takes the first accelerator that loads, else the CPU.

    Raises OptionError: an unknown device, or threads below 0; DeviceError: one that is not there, with how to get it;
    ModelError.
    """
    _check_options(device, threads)
    available = onnxruntime.get_available_providers()
    for name in AUTOMATIC if device == "auto" else (device,):
        provider, package, needs = PROVIDERS[name]
        if provider not in available:
            if device != "auto":
                lacks = f"ONNX Runtime {RUNTIME_VERSION} comes without {provider}, which needs {needs}"
                raise DeviceError(f"device {device!r}: {lacks}; {INSTALL.format(package=package)}")
            continue
        try:
            if name in GPUS:
                _preload_cuda()
            with _quiet():
                network = OnnxRuntime(model, provider, threads)
            logger.info("network runs on %s (%s)", name, provider)
            return network
        except DeviceError as error:
            if device != "auto":
                raise DeviceError(f"device {device!r}: {error}; it needs {needs}") from error
    raise DeviceError("device 'auto': ONNX Runtime has no CPU provider; reinstall onnxruntime")


def _check_options(device: str, threads: int) -> None:
    if not isinstance(threads, int) or not 0 <= threads <= MAX_THREADS:
        raise OptionError(f"threads {threads!r}: expected a whole number from 0 to {MAX_THREADS}")
    check_device(device)


def load(path: Path, device: str = "auto", threads: int = 0) -> tuple[Runtime, str]:
    """A model file by its ending, and its SHA-256. Raises ModelError, which names the file; see `load_onnx`.

    device: of a file for OpenVINO "auto" or "cpu", which are the same.
    """
    try:
        data = path.read_bytes()
        if path.suffix == OPENVINO:
            _check_options(device, threads)
            if device not in ("auto", "cpu"):
                raise DeviceError(f"device {device!r}: {path} always runs in OpenVINO on the CPU; leave the device out")
            digest = hashlib.sha256(data + path.with_suffix(".bin").read_bytes()).hexdigest()
            return OpenVino(path, threads), digest
        return load_onnx(data, device, threads), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def import_openvino() -> Any:
    """The module `openvino`, imported without its telemetry. Raises ModelError: not installed."""
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise ModelError('files for OpenVINO take the package: pip install "oamface[openvino]"') from error
    return openvino
