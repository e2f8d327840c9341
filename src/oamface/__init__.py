"""Apparent age, perceived gender and race, and mask of every face in an image, also where half of it is occluded."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from oamface.age_policy import AgePolicy
    from oamface.analyzer import Analyzer, Color, ImageInput
    from oamface.detection import Detection, Detector
    from oamface.errors import (
        DeviceError,
        FaceError,
        FileError,
        ImageError,
        LabelError,
        ModelError,
        OamfaceError,
        OptionError,
        TaskError,
    )
    from oamface.face_detector import FaceDetector
    from oamface.results import Age, AgeDecision, Box, Classification, Face, Failure, ImageResult, Quality
    from oamface.zoo import ModelInfo, list_models

__version__ = "1.0.0"

# Where each name lives: the networks' runtime takes most of a second to import, which `oamface --help` need not.
_HOMES = {
    "AgePolicy": "age_policy",
    "Analyzer": "analyzer",
    "FaceDetector": "face_detector",
    **dict.fromkeys(("Detection", "Detector"), "detection"),
    **dict.fromkeys(
        (
            "DeviceError",
            "FaceError",
            "FileError",
            "ImageError",
            "LabelError",
            "ModelError",
            "OamfaceError",
            "OptionError",
            "TaskError",
        ),
        "errors",
    ),
    **dict.fromkeys(
        ("Age", "AgeDecision", "Box", "Classification", "Face", "Failure", "ImageResult", "Quality"), "results"
    ),
    **dict.fromkeys(("ModelInfo", "list_models"), "zoo"),
}
__all__ = [
    "Age",
    "AgeDecision",
    "AgePolicy",
    "Analyzer",
    "Box",
    "Classification",
    "Detection",
    "Detector",
    "DeviceError",
    "Face",
    "FaceDetector",
    "FaceError",
    "Failure",
    "FileError",
    "ImageError",
    "ImageResult",
    "LabelError",
    "ModelError",
    "ModelInfo",
    "OamfaceError",
    "OptionError",
    "Quality",
    "TaskError",
    "analyze",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


@cache
def _analyzer() -> "Analyzer":
    from oamface.analyzer import Analyzer

    return Analyzer()


def analyze(
    image: "ImageInput",
    *,
    boxes: "ArrayLike | None" = None,
    landmarks: "ArrayLike | None" = None,
    crop: bool = False,
    color: "Color" = "rgb",
) -> "ImageResult":
    """All faces of one image, with the default model: see `Analyzer.analyze`, which takes the same.

    Loads the networks on the first call.
    """
    return _analyzer().analyze(image, boxes=boxes, landmarks=landmarks, crop=crop, color=color)
