"""The devices that networks run on, by name. Read by the command line, so nothing slow is imported."""

from typing import Literal, get_args

from oamface.errors import OptionError

DeviceName = Literal["auto", "cpu", "cuda", "coreml", "directml", "openvino", "tensorrt"]
DEVICES: tuple[str, ...] = get_args(DeviceName)
# By name: the execution provider in ONNX Runtime, and how to get it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "reinstall onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "install onnxruntime-gpu[cuda,cudnn] in place of onnxruntime"),
    "coreml": ("CoreMLExecutionProvider", "use macOS"),
    "directml": ("DmlExecutionProvider", "install onnxruntime-directml in place of onnxruntime, on Windows"),
    "openvino": ("OpenVINOExecutionProvider", "install onnxruntime-openvino in place of onnxruntime"),
    "tensorrt": ("TensorrtExecutionProvider", "install onnxruntime-gpu in place of onnxruntime, and TensorRT"),
}
GPUS = ("cuda", "tensorrt")  # devices of which a process takes a whole NVIDIA GPU
AUTOMATIC = ("cuda", "directml", "cpu")  # what "auto" tries, in this order


def check_device(name: str) -> None:
    """Raises OptionError: not one of DEVICES."""
    if name not in DEVICES:
        raise OptionError(f"device {name!r}: known are {', '.join(DEVICES)}")
