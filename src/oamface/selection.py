"""Selects a model for this machine: the most accurate one that predicts a face within a time budget."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from oamface.benchmark import ROUNDS, Call, Timing, multiply_adds, person_crop, time_calls
from oamface.errors import ModelError, OptionError
from oamface.predictor import Predictor
from oamface.weights import WEIGHTS

CONDITIONS = ("clean", "masks")  # faces as they are, and under masks that training never draws


@dataclass(frozen=True)
class Candidate:
    """A model on this machine.

    timing: of one aligned face, from crop to predictions. accuracy: see `mean_accuracy`. multiply_adds: for one face;
    None for OpenVINO's files.
    """

    weights: str
    timing: Timing
    accuracy: float
    multiply_adds: int | None


def select_model(
    budget_ms: float,
    weights: Sequence[str] = WEIGHTS,
    *,
    device: str = "auto",
    threads: int = 1,
    rounds: int = ROUNDS,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Candidate | None, list[Candidate]]:
    """The most accurate candidate whose median time is within `budget_ms` (None if none is), and all, fastest first.

    All are timed in turns in one run. Raises OptionError (the budget), DeviceError, ModelError (no model or file, or
    models that were measured on no data set in common).
    """
    if not 0 < budget_ms < math.inf:
        raise OptionError(f"a budget of {budget_ms:g} ms: expected more than 0")
    predictors = {name: Predictor(name, device=device, threads=threads) for name in weights}
    accuracies = mean_accuracy(predictors)
    crop = person_crop()
    calls: dict[str, Call] = {name: partial(predictor.predict, [crop]) for name, predictor in predictors.items()}
    times = time_calls(calls, rounds=rounds, on_round=on_round)
    candidates = [
        Candidate(name, times[name], accuracies[name], multiply_adds(predictor.path))
        for name, predictor in predictors.items()
    ]
    within = [candidate for candidate in candidates if candidate.timing.median <= budget_ms]
    best = max(within, key=lambda candidate: candidate.accuracy, default=None)
    return best, sorted(candidates, key=lambda candidate: candidate.timing.median)


def mean_accuracy(predictors: dict[str, Predictor]) -> dict[str, float]:
    """By name: the mean accuracy (0..1) of gender, race and mask under CONDITIONS, over the data sets that all have.

    Read from the figures inside the model files. Raises ModelError: no model, or no data set in common.
    """
    if not predictors:
        raise ModelError("no model to select from: name one or more")
    measured = {}
    for name, predictor in predictors.items():
        figures = predictor.description["figures"] or {"data_sets": {}}
        measured[name] = {
            (data_set, condition): values["conditions"][condition]["overall"]["accuracy"]["value"]
            for data_set, values in figures["data_sets"].items()
            for condition in CONDITIONS
            if "overall" in values["conditions"].get(condition, {})
        }
    shared = set.intersection(*(set(values) for values in measured.values()))
    if not shared:
        raise ModelError(f"{', '.join(predictors)}: measured on no data set in common, so they cannot be compared")
    return {name: float(np.mean([values[key] for key in sorted(shared)])) for name, values in measured.items()}
