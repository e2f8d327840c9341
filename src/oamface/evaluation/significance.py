"""Whether one predictor is better than another on the same faces: paired tests, effect sizes, Holm's correction."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, wilcoxon

from oamface.errors import ResultError
from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap
from oamface.evaluation.predictions import PredictionTable, Subset
from oamface.evaluation.task_metrics import MIN_FACES


def paired_tests(
    one: PredictionTable, other: PredictionTable, conditions: Sequence[str], *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """A test of every figure that two predictors share, face by face.

    Each row has the figure of `one` and of `other`; improvement of `one` with its interval, in years of error or as a
    share of faces, above 0 where `one` is better; p of McNemar's exact test (classes) or Wilcoxon's signed-rank test
    (years); p_holm, corrected for all rows; and the effect size, cohens_h of the accuracies or cohens_d of the paired
    differences in years. Raises ResultError: another protocol or other faces.
    """
    check_comparable(one.about, other.about)
    rows = []
    for data_set in one.classes:
        for condition in conditions:
            left, right = one.subset(data_set, condition), other.subset(data_set, condition)
            if not len(left) or not len(right):
                continue
            if list(left.rows["face"]) != list(right.rows["face"]):
                raise ResultError(f"{data_set}, {condition}: the two tables do not hold the same faces")
            where = {"data_set": data_set, "condition": condition}
            rows += [{**where, **row} for row in _subset_tests(left, right, resamples)]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows


def _subset_tests(left: Subset, right: Subset, resamples: int) -> list[dict[str, Any]]:
    rows = []
    valid, predicted, true = left.ages()
    right_valid, right_predicted, _ = right.ages()
    valid &= right_valid
    if valid.sum() >= MIN_FACES:
        one, other = np.abs(predicted - true)[valid], np.abs(right_predicted - true)[valid]
        difference = other - one
        p = float(wilcoxon(difference).pvalue) if difference.any() else 1.0
        std = float(difference.std(ddof=1))
        effect = float(difference.mean() / std) if std > 0 else 0.0
        rows.append(_row("age_mae", one, other, difference, p, {"cohens_d": effect}, resamples))
    for task in ("age_group", "gender", "race", "mask"):
        if left.classes.get(task) != right.classes.get(task):
            continue  # evaluated in other classes, as a peer with coarser ones
        correct = np.stack([left.correct(task), right.correct(task)])
        one, other = correct[:, np.isfinite(correct).all(0)]
        if len(one) < MIN_FACES:
            continue
        wins, losses = int((one > other).sum()), int((other > one).sum())
        p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
        effect = float(2 * np.arcsin(np.sqrt(one.mean())) - 2 * np.arcsin(np.sqrt(other.mean())))
        rows.append(_row(f"{task}_accuracy", one, other, one - other, p, {"cohens_h": effect}, resamples))
    return rows


def _row(
    figure: str,
    one: npt.NDArray[Any],
    other: npt.NDArray[Any],
    difference: npt.NDArray[np.floating],
    p: float,
    effect: dict[str, float],
    resamples: int,
) -> dict[str, Any]:
    improvement = bootstrap(partial(metrics.means, names=["improvement"]), difference[:, None], resamples=resamples)
    figures = {"one": float(one.mean()), "other": float(other.mean()), "faces": len(difference)}
    return {"figure": figure, **figures, **improvement, "p": p, **effect}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for multiple tests (Holm, 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    corrected, highest = np.zeros(len(p_values)), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return [float(value) for value in corrected]


def check_comparable(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises ResultError: two results of different protocols or different faces. one, other: PredictionTable.about."""
    for key, what in (("protocol", "different protocols"), ("stores", "different faces")):
        if one.get(key) != other.get(key):
            names = [about.get("predictor", {}).get("name", "?") for about in (one, other)]
            raise ResultError(
                f"{names[0]} and {names[1]} were evaluated with {what}"
                f" ({_brief(one.get(key))} against {_brief(other.get(key))}); evaluate both on the same stores"
            )


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "version" in value:
        return f"version {value['version']}, {str(value.get('digest', ''))[:12]}"
    text = str(value)
    return text if len(text) < 90 else text[:87] + "..."
