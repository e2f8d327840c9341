"""Which model file to take on this machine: the most accurate whose answer for one face comes within a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from oamface.benchmark import ROUNDS, Timing, Work, multiply_adds, person_crop, timed
from oamface.errors import ModelError
from oamface.predictor import Predictor
from oamface.weights import WEIGHTS

CONDITIONS = ("clean", "masks")  # bare faces, and those under masks that training never drew


@dataclass(frozen=True)
class Candidate:
    """A model file on this machine.

    timing: of one aligned face, from crop to answers. accuracy: see `accuracy`. multiply_adds: of one face; None for
    OpenVINO's files.
    """

    weights: str
    timing: Timing
    accuracy: float
    multiply_adds: int | None


def fit(
    budget_ms: float,
    weights: Sequence[str] = WEIGHTS,
    *,
    threads: int = 1,
    rounds: int = ROUNDS,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Candidate | None, list[Candidate]]:
    """The most accurate candidate whose median time is within `budget_ms`, and all of them, fastest first.

    All are timed in turns in one run. Raises ModelError: a file that is none, or figures that cannot be compared.
    """
    if not 0 < budget_ms < math.inf:
        raise ModelError(f"a budget of {budget_ms:g} ms: give more than 0")
    predictors = {name: Predictor(name, threads=threads) for name in weights}
    shares = accuracy(predictors)
    crop = person_crop()
    works: dict[str, Work] = {name: partial(predictor.predict, [crop]) for name, predictor in predictors.items()}
    times = timed(works, rounds=rounds, on_round=on_round)
    candidates = [
        Candidate(name, times[name], shares[name], multiply_adds(predictor.path))
        for name, predictor in predictors.items()
    ]
    within = [candidate for candidate in candidates if candidate.timing.median <= budget_ms]
    best = max(within, key=lambda candidate: candidate.accuracy, default=None)
    return best, sorted(candidates, key=lambda candidate: candidate.timing.median)


def accuracy(predictors: dict[str, Predictor]) -> dict[str, float]:
    """By name: the mean accuracy of gender, race and mask, bare and under held-out masks, over the data sets that all
    files were measured on. Raises ModelError: there is none."""
    sheets = {}
    for name, predictor in predictors.items():
        figures = predictor.description["figures"] or {"data_sets": {}}
        sheets[name] = {
            (data_set, condition): measured["conditions"][condition]["overall"]["accuracy"]["value"]
            for data_set, measured in figures["data_sets"].items()
            for condition in CONDITIONS
            if "overall" in measured["conditions"].get(condition, {})
        }
    shared = set.intersection(*(set(sheet) for sheet in sheets.values()))
    if not shared:
        raise ModelError(f"{', '.join(predictors)}: were measured on no data set in common, so none can be called best")
    return {name: float(np.mean([sheet[key] for key in sorted(shared)])) for name, sheet in sheets.items()}
