"""Apparent age, perceived gender and race, and mask of every face in a photograph."""

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime from 1.29 on writes an identifier of the device to disk and sends events to Microsoft unless this is set
# before it is first imported. A photograph's answers are nobody else's business, and neither is that one was asked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from oamface.analyzer import Analyzer, Picture
    from oamface.errors import OamfaceError
    from oamface.faces import Age, Choice, Face, Photograph

__version__ = "0.1.0"
__all__ = ["Age", "Analyzer", "Choice", "Face", "OamfaceError", "Photograph", "analyze"]

# Where each name is at home: the networks' runtime takes most of a second to import, which `oamface --help` need not.
_HOMES = {
    "Analyzer": "analyzer",
    "OamfaceError": "errors",
    **dict.fromkeys(("Age", "Choice", "Face", "Photograph"), "faces"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@cache
def _analyzer() -> "Analyzer":
    from oamface.analyzer import Analyzer

    return Analyzer()


def analyze(picture: "Picture") -> "Photograph":
    """All faces of one picture, with the shipped model: a path, a file's bytes, or an (H, W, 3) uint8 RGB array.

    Loads the networks once. Raises ImageError.
    """
    return _analyzer().analyze(picture)
