"""What is said about a face, and its JSON form: one place for the CLI, the service and bulk jobs alike."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = "oamface/1"
UNCERTAIN = "uncertain"  # the label of an answer that would be a guess


@dataclass(frozen=True)
class Age:
    """Apparent age in years: the distribution's mean, and the bounds that hold the label at the given level (0..1)."""

    years: float
    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, float]:
        return {"years": _tenth(self.years), "low": _tenth(self.low), "high": _tenth(self.high), "level": self.level}


@dataclass(frozen=True)
class Classification:
    """One class of several: the most probable label, its probability, and those of all classes (0..1, sum 1).

    The label is UNCERTAIN where that probability is below the weights' own threshold, which is halfway between an even
    guess and certainty.
    """

    label: str
    probability: float
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "probability": _fine(self.probability),
            "probabilities": {name: _fine(value) for name, value in self.probabilities.items()},
        }


@dataclass(frozen=True)
class Face:
    """One face of an image. Tasks that were left out are None.

    box: x, y, width, height in the image's pixels. landmarks: five (x, y): left eye, right eye, nose, left and
    right corner of the mouth, as seen in the image. score: the detector's, 0..1; None where the caller said where
    the face is. detected: whether the landmarks were found or given; where they were only assumed there may be no face
    at all. visibility: share of the face that the network takes to be uncovered, 0..1.
    attention: (h, w) float32 in 0..1 over the aligned crop, 1 where the face shows; not part of the JSON.
    """

    box: tuple[float, float, float, float]
    score: float | None
    landmarks: tuple[tuple[float, float], ...]
    visibility: float
    detected: bool = field(default=True, kw_only=True)
    age: Age | None = None
    gender: Classification | None = None
    race: Classification | None = None
    mask: Classification | None = None
    attention: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in schema oamface/1; tasks that were left out are absent."""
        answers = {task: getattr(self, task) for task in ("age", "gender", "race", "mask")}
        return {
            "box": [_tenth(value) for value in self.box],
            "score": None if self.score is None else _fine(self.score),
            "detected": self.detected,
            "landmarks": [[_tenth(x), _tenth(y)] for x, y in self.landmarks],
            **{task: answer.to_dict() for task, answer in answers.items() if answer is not None},
            "visibility": _fine(self.visibility),
        }


@dataclass(frozen=True)
class ImageResult:
    """All faces of one image, best detection first. source: where it came from, if from a file. Sizes in pixels.

    pages: of the file, of which the first was analyzed.
    """

    width: int
    height: int
    faces: tuple[Face, ...]
    source: str | None = None
    pages: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "source": self.source,
            "width": self.width,
            "height": self.height,
            **({"pages": self.pages} if self.pages > 1 else {}),
            "faces": [face.to_dict() for face in self.faces],
        }


@dataclass(frozen=True)
class Failure:
    """An image that could not be analysed."""

    source: str
    error: Exception

    def to_dict(self) -> dict[str, Any]:
        error = {"type": type(self.error).__name__, "message": str(self.error)}
        return {"schema": SCHEMA, "source": self.source, "error": error}


def _tenth(value: float) -> float:
    return round(float(value), 1)


def _fine(value: float) -> float:
    return round(float(value), 4)
