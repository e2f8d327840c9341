"""What is predicted about the faces of an image, and its JSON: one form for Python, command line, service and bulk."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from oamface.age_thresholds import check_thresholds
from oamface.errors import OamfaceError, TaskError
from oamface.labels import TASKS

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "oamface/1"
UNCERTAIN = "uncertain"  # the label of a prediction that would be a guess

FloatArray = npt.NDArray[np.float32]
Outcome = Literal["accept", "refuse", "refer"]


class Box(NamedTuple):
    """A rectangle in an image's pixels, x to the right and y down; it may reach outside the image."""

    x: float
    y: float
    width: float
    height: float

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        return self.x, self.y, self.width, self.height

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def scaled(self, x: float, y: float) -> "Box":
        """The same rectangle in an image that is x times as wide and y times as high."""
        return Box(self.x * x, self.y * y, self.width * x, self.height * y)


@dataclass(frozen=True)
class Age:
    """Apparent age in years: the mean of the predicted distribution, and an interval around it.

    low, high: bounds that hold the age with probability `level` (0..1). distribution: (101,) float32, the probability
    of every year from 0 to 100. tails: (101,) float32, the calibrated probability of every year or more; None where the
    model file has none, then they are sums of the distribution. thresholds: years whose tails the JSON has.
    """

    years: float
    low: float
    high: float
    level: float
    distribution: FloatArray = field(compare=False, repr=False)
    tails: FloatArray | None = field(default=None, compare=False, repr=False)
    thresholds: tuple[int, ...] = ()

    def at_least(self, years: int) -> float:
        """The predicted probability, 0..1, of looking `years` or older, 0 to 100. Raises OptionError: another age."""
        (years,) = check_thresholds([years])
        if self.tails is not None:
            return float(self.tails[years])
        return min(1.0, float(self.distribution[years:].sum(dtype=np.float64)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, years rounded to tenths; with thresholds also "at_least", year to probability."""
        values: dict[str, Any] = {name: _tenth(getattr(self, name)) for name in ("years", "low", "high")}
        values["level"] = self.level
        if self.thresholds:
            values["at_least"] = {str(years): _fine(self.at_least(years)) for years in self.thresholds}
        return values


@dataclass(frozen=True)
class Classification:
    """One class of several: the most probable label, its probability, and those of all classes (0..1, sum 1).

    The label is "uncertain" where that probability is below the model's threshold, which is halfway between an even
    guess and certainty.
    """

    label: str
    probability: float
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "label": self.label,
            "probability": _fine(self.probability),
            "probabilities": {name: _fine(value) for name, value in self.probabilities.items()},
        }


@dataclass(frozen=True)
class Quality:
    """How far the age of a face can be relied on, by its image alone.

    score: 0..1, the error to expect of a face in a good image divided by that of this one. reasons: of "too small",
    "blurred", "too dark", "overexposed", "low contrast", "turned", "occluded" those that apply. measures: name to
    value, see `oamface.quality`.
    """

    score: float
    reasons: tuple[str, ...]
    measures: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        measures = {name: _fine(value) for name, value in self.measures.items()}
        return {"score": _fine(self.score), "reasons": list(self.reasons), "measures": measures}


@dataclass(frozen=True)
class AgeDecision:
    """What an AgePolicy says of one face. probability: of looking at least the policy's age, 0..1; None without a face.

    reasons: why it is referred; empty for the other outcomes.
    """

    outcome: Outcome
    probability: float | None
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        probability = None if self.probability is None else _fine(self.probability)
        return {"outcome": self.outcome, "probability": probability, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Face:
    """One face of an image. `age`, `gender`, `race` and `mask` raise TaskError where they were not requested.

    landmarks: (5, 2) float32 in the image's pixels: left eye, right eye, nose, left and right corner of the mouth, as
    seen in the image. score: the detector's, 0..1; NaN where the caller said where the face is. detected: False where
    the landmarks were only assumed, so that there may be no face at all. visibility: share of the face that is not
    occluded, as the network sees it, 0..1. predictions: task to Age or Classification.
    attention: (h, w) float32 in 0..1 over the aligned crop, 1 where the face is visible; not part of the JSON.
    quality: of the image of this face; None where it was not measured. decision: of the analyzer's policy, if it has
    one.
    """

    box: Box
    landmarks: FloatArray = field(compare=False)
    score: float
    visibility: float
    predictions: Mapping[str, Age | Classification]
    detected: bool = True
    attention: FloatArray | None = field(default=None, compare=False, repr=False)
    quality: Quality | None = field(default=None, compare=False)
    decision: AgeDecision | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were requested, in the order of age, gender, race, mask."""
        return tuple(task for task in TASKS if task in self.predictions)

    @property
    def age(self) -> Age:
        """Apparent age."""
        prediction = self._prediction("age")
        assert isinstance(prediction, Age)
        return prediction

    @property
    def gender(self) -> Classification:
        """Perceived gender: male or female."""
        return self._classification("gender")

    @property
    def race(self) -> Classification:
        """Perceived race, in FairFace's seven classes."""
        return self._classification("race")

    @property
    def mask(self) -> Classification:
        """none, incorrect (worn wrongly) or worn."""
        return self._classification("mask")

    def _classification(self, task: str) -> Classification:
        prediction = self._prediction(task)
        assert isinstance(prediction, Classification)
        return prediction

    def _prediction(self, task: str) -> Age | Classification:
        if task not in self.predictions:
            raise TaskError(f"{task} was not requested; these were: {', '.join(self.tasks)}")
        return self.predictions[task]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in schema oamface/1; tasks that were not requested are absent."""
        return {
            "box": [_tenth(value) for value in self.box],
            "score": None if np.isnan(self.score) else _fine(self.score),
            "detected": self.detected,
            "landmarks": [[_tenth(x), _tenth(y)] for x, y in self.landmarks],
            **{task: self.predictions[task].to_dict() for task in self.tasks},
            "visibility": _fine(self.visibility),
            **({} if self.quality is None else {"quality": self.quality.to_dict()}),
            **({} if self.decision is None else {"decision": self.decision.to_dict()}),
        }


@dataclass(frozen=True)
class ImageResult:
    """All faces of one image, best detection first: `for face in result`, `len(result)`, `result[0]`.

    width, height: the image's, in pixels. source: the path or name it came from, None for pixels. pages: of the file,
    of which the first was analyzed. decision: of the analyzer's policy about an image without a face.
    """

    width: int
    height: int
    faces: tuple[Face, ...]
    source: str | None = None
    pages: int = 1
    decision: AgeDecision | None = None

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Face:
        return self.faces[index]

    def __bool__(self) -> bool:
        """True also without a face, so that `if result` never means "no face" by accident."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """Plain values, schema oamface/1."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "width": self.width,
            "height": self.height,
            **({"pages": self.pages} if self.pages > 1 else {}),
            **({} if self.decision is None else {"decision": self.decision.to_dict()}),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def to_pandas(self) -> "pd.DataFrame":
        """One row a face, in the columns of `oamface bulk` without error, faces, landmarks and the maps of classes.

        width, height: the image's, in pixels. face: from 0. Columns of tasks that were not requested hold no values.
        An image without a face has no row, or, with a policy, one with its decision. Raises OamfaceError: pandas is not
        installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise OamfaceError("to_pandas needs the package pandas: pip install pandas") from error
        image = {"source": self.source, "width": self.width, "height": self.height}
        rows = [{**image, "face": number, **_columns(face)} for number, face in enumerate(self.faces)]
        if self.decision is not None:
            rows.append({**image, **decision_columns(self.decision)})
        # The same types whatever the rows hold, so that tables can be joined and written beside each other.
        return pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES)


@dataclass(frozen=True)
class Failure:
    """An image that could not be analyzed, and why. source: as in ImageResult."""

    source: str | None
    error: Exception

    def to_dict(self) -> dict[str, Any]:
        """Plain values, schema oamface/1."""
        error = {"type": type(self.error).__name__, "message": str(self.error)}
        return {"schema": SCHEMA, "source": self.source, "error": error}


BOX_COLUMNS = ("x", "y", "box_width", "box_height")
DECISION_COLUMNS = ("decision", "decision_probability", "reason")
_COLUMNS = (
    *(*BOX_COLUMNS, "score", "visibility", "detected"),
    *("age", "age_low", "age_high", "age_at_least"),
    *("gender", "gender_probability", "race", "race_probability", "mask", "mask_probability"),
    *("quality", "quality_reasons", *DECISION_COLUMNS),
)
_DTYPES = {
    **{"source": "string", "width": "Int64", "height": "Int64", "face": "Int64"},
    **dict.fromkeys(_COLUMNS, "float64"),
    **dict.fromkeys(("gender", "race", "mask", "decision"), "string"),
    **dict.fromkeys(("age_at_least", "quality_reasons", "reason"), "object"),
    "detected": "boolean",
}


def _columns(face: Face) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(_COLUMNS, (*face.box, face.score, face.visibility, face.detected), strict=False))
    for task in face.tasks:
        prediction = face.predictions[task]
        if isinstance(prediction, Age):
            row |= {"age": prediction.years, "age_low": prediction.low, "age_high": prediction.high}
            if prediction.thresholds:
                row["age_at_least"] = [(years, prediction.at_least(years)) for years in prediction.thresholds]
        else:
            row |= {task: prediction.label, f"{task}_probability": prediction.probability}
    if face.quality is not None:
        row |= {"quality": face.quality.score, "quality_reasons": list(face.quality.reasons)}
    return row | decision_columns(face.decision)


def decision_columns(decision: AgeDecision | None) -> dict[str, Any]:
    """A decision under DECISION_COLUMNS, as tables have it; nothing without one."""
    return {} if decision is None else dict(zip(DECISION_COLUMNS, decision.to_dict().values(), strict=True))


def _tenth(value: float) -> float:
    return round(float(value), 1)


def _fine(value: float) -> float:
    return round(float(value), 4)
