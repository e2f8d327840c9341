"""Apparent age, perceived gender and race, and mask of every face in an image."""

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime from 1.29 on writes an identifier of the device to disk and sends events to Microsoft unless this is set
# before it is first imported. An image's answers are nobody else's business, and neither is that one was asked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from oamface.analyzer import Analyzer, ImageInput
    from oamface.errors import OamfaceError
    from oamface.results import Age, Classification, Face, ImageResult

__version__ = "0.1.0"
__all__ = ["Age", "Analyzer", "Classification", "Face", "ImageResult", "OamfaceError", "analyze"]

# Where each name is at home: the networks' runtime takes most of a second to import, which `oamface --help` need not.
_HOMES = {
    "Analyzer": "analyzer",
    "OamfaceError": "errors",
    **dict.fromkeys(("Age", "Classification", "Face", "ImageResult"), "results"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@cache
def _analyzer() -> "Analyzer":
    from oamface.analyzer import Analyzer

    return Analyzer()


def analyze(image: "ImageInput") -> "ImageResult":
    """All faces of one image, with the shipped model: a path, a file's bytes, or an (H, W, 3) uint8 RGB array.

    Loads the networks once. Raises ImageError.
    """
    return _analyzer().analyze(image)
