"""Apparent age, perceived gender and race, and mask of every face in a photograph."""

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
