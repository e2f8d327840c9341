"""Apparent age, perceived gender and race, and mask of every face in a photograph."""

import os

# ONNX Runtime from 1.29 on writes an identifier of the device to disk and sends events to Microsoft unless this is set
# before it is first imported. A photograph's answers are nobody else's business, and neither is that one was asked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


from functools import cache

from oamface.analyzer import Analyzer, Picture
from oamface.errors import OamfaceError
from oamface.faces import Age, Choice, Face, Photograph

__version__ = "0.1.0"
__all__ = ["Age", "Analyzer", "Choice", "Face", "OamfaceError", "Photograph", "analyze"]


@cache
def _analyzer() -> Analyzer:
    return Analyzer()


def analyze(picture: Picture) -> Photograph:
    """All faces of one picture, with the shipped model: a path, a file's bytes, or an (H, W, 3) uint8 RGB array.

    Loads the networks once. Raises ImageError.
    """
    return _analyzer().analyze(picture)
