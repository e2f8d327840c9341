"""The model zoo: what the models that come with the package are, and how good they were measured to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oamface.predictor import Predictor
from oamface.weights import WEIGHTS

# Of each data set, what one looks for first.
_HEADLINES = {
    "utkface": (("age", "mae"), ("gender", "accuracy"), ("race", "accuracy")),
    "fairface": (("gender", "accuracy"), ("race", "accuracy"), ("age_group", "accuracy")),
    "masks": (("mask", "accuracy"),),
}
RESEARCH_SETS = {"utkface": "UTKFace", "aaf": "All-Age-Faces"}  # training sets whose licence allows research only
OPEN_SETS = {"fairface", "masks", "synth"}  # training sets that are known to allow commercial use


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval. years, or shares of 0..1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelInfo:
    """One of the package's own models. size: of the file in bytes. precision: of the stored weights.

    licence: "research only" where a training set asks for that, "commercial use" where all are known to allow it, else
    "unknown". figures: on clean faces of the test splits, by "data set/task/metric".
    """

    name: str
    file: Path
    size: int
    precision: str
    licence: str
    parameters: int
    figures: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        figures = {name: vars(figure) for name, figure in self.figures.items()}
        return {**vars(self), "file": str(self.file), "figures": figures}


def list_models() -> list[ModelInfo]:
    """Every model that comes with the package, the default first."""
    return [_info(name) for name in WEIGHTS]


def is_research_only(training: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a training set's licence allows research only. training: the runs in a model file's metadata."""
    return any(RESEARCH_SETS.keys() & run["data"].keys() for run in training)


def _licence(training: Sequence[Mapping[str, Any]]) -> str:
    if is_research_only(training):
        return "research only"
    return "commercial use" if all(run["data"].keys() <= OPEN_SETS for run in training) else "unknown"


def _info(name: str) -> ModelInfo:
    predictor = Predictor(name, device="cpu", threads=1)
    description = predictor.description
    measured = description["figures"]["data_sets"]
    figures = {
        f"{data_set}/{task}/{metric}": Figure(**measured[data_set]["conditions"]["clean"][task][metric])
        for data_set, headlines in _HEADLINES.items()
        for task, metric in headlines
    }
    return ModelInfo(
        name,
        predictor.path,
        predictor.path.stat().st_size,
        description.get("stored", "float16"),
        _licence(description["training"]),
        description["parameters"],
        figures,
    )


def teacher_names(recipe: dict[str, Any]) -> list[str]:
    """The checkpoints or model files that a run's recipe distils; older recipes name one `teacher`."""
    names = [teacher["checkpoint"] for teacher in recipe.get("teachers", ())]
    return names or [name for name in [recipe.get("teacher", "")] if name]
