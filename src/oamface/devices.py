"""The devices that networks run on, by name. Read by the command line, so nothing slow is imported."""

from typing import Literal, get_args

from oamface.errors import OptionError

DeviceName = Literal["auto", "cpu", "cuda", "coreml", "directml", "openvino", "tensorrt"]
DEVICES: tuple[str, ...] = get_args(DeviceName)
# By name: the execution provider in ONNX Runtime, the package that has it, and what it needs beside that.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime", "nothing"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu[cuda,cudnn]", "an NVIDIA GPU, its driver, CUDA and cuDNN"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime", "macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml", "Windows"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino", "OpenVINO's libraries"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu[cuda,cudnn]", "an NVIDIA GPU and TensorRT"),
}
# What puts another build in the place of the one that is there: all of them write into the same folder.
INSTALL = 'pip uninstall -y onnxruntime, then pip install --force-reinstall "{package}"'
GPUS = ("cuda", "tensorrt")  # devices of which a process takes a whole NVIDIA GPU
AUTOMATIC = ("cuda", "directml", "cpu")  # what "auto" tries, in this order


def check_device(name: str) -> None:
    """Raises OptionError: not one of DEVICES."""
    if name not in DEVICES:
        raise OptionError(f"device {name!r}: known are {', '.join(DEVICES)}")
