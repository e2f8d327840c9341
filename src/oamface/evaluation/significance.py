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
from oamface.evaluation.measure import LEAST
from oamface.evaluation.predictions import Part, PredictionTable


def paired(
    one: PredictionTable, other: PredictionTable, conditions: Sequence[str], *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """Every figure on which two predictors can be compared, face by face; better > 0 where `one` is the better.

    Of each: the figure of both, `better` with its interval (years of error, share of right answers), p (exact McNemar
    test of right answers, Wilcoxon's signed ranks of years), p_holm corrected for all rows here, and the effect size
    (Cohen's d of the paired differences for years, Cohen's h of the two shares). Raises ResultError: another protocol
    or other faces.
    """
    comparable(one.about, other.about)
    found = []
    for data_set in one.classes:
        for condition in conditions:
            left, right = one.part(data_set, condition), other.part(data_set, condition)
            if not len(left) or not len(right):
                continue
            if list(left.rows["face"]) != list(right.rows["face"]):
                raise ResultError(f"{data_set}, {condition}: the two tables do not hold the same faces")
            where = {"data_set": data_set, "condition": condition}
            found += [{**where, **row} for row in _rows(left, right, resamples)]
    for row, corrected in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = corrected
    return found


def _rows(left: Part, right: Part, resamples: int) -> list[dict[str, Any]]:
    rows = []
    known, said, true = left.years()
    also, others, _ = right.years()
    known &= also
    if known.sum() >= LEAST:
        mine, theirs = np.abs(said - true)[known], np.abs(others - true)[known]
        gap = theirs - mine
        p = float(wilcoxon(gap).pvalue) if gap.any() else 1.0
        spread = float(gap.std(ddof=1))
        effect = float(gap.mean() / spread) if spread > 0 else 0.0
        rows.append(_row("age_mae", mine, theirs, gap, p, {"cohens_d": effect}, resamples))
    for name in ("age_group", "gender", "race", "mask"):
        if left.classes.get(name) != right.classes.get(name):
            continue  # asked in other classes, as a peer's coarser ones
        sides = np.stack([left.right(name), right.right(name)])
        mine, theirs = sides[:, np.isfinite(sides).all(0)]
        if len(mine) < LEAST:
            continue
        won, lost = int((mine > theirs).sum()), int((theirs > mine).sum())
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        effect = float(2 * np.arcsin(np.sqrt(mine.mean())) - 2 * np.arcsin(np.sqrt(theirs.mean())))
        rows.append(_row(f"{name}_accuracy", mine, theirs, mine - theirs, p, {"cohens_h": effect}, resamples))
    return rows


def _row(
    figure: str,
    mine: npt.NDArray[Any],
    theirs: npt.NDArray[Any],
    gap: npt.NDArray[np.floating],
    p: float,
    effect: dict[str, float],
    resamples: int,
) -> dict[str, Any]:
    better = bootstrap(partial(metrics.means, names=["better"]), gap[:, None], resamples=resamples)["better"]
    figures = {"one": float(mine.mean()), "other": float(theirs.mean()), "faces": len(gap)}
    return {"figure": figure, **figures, "better": better, "p": p, **effect}


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p corrected for all of them together (Holm, 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    corrected, highest = np.zeros(len(p_values)), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return [float(value) for value in corrected]


def comparable(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises ResultError unless both were made by the same protocol on the same faces."""
    for key, what in (("protocol", "another protocol"), ("stores", "other faces")):
        if one.get(key) != other.get(key):
            names = [about.get("predictor", {}).get("name", "?") for about in (one, other)]
            raise ResultError(
                f"{names[0]} and {names[1]} were measured by {what}"
                f" ({_brief(one.get(key))} against {_brief(other.get(key))}); measure both alike, on the same stores"
            )


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "version" in value:
        return f"version {value['version']}, {str(value.get('digest', ''))[:12]}"
    text = str(value)
    return text if len(text) < 90 else text[:87] + "..."
