"""From raw predictions to figures: every metric with its interval, per data set and condition."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap
from oamface.evaluation.conditions import CLEAN, COVERED, DAMAGED
from oamface.evaluation.metrics import BINS, confidence_bin, confusion_matrices
from oamface.evaluation.predictions import CLASSED, Part, PredictionTable

OVERALL = ("gender", "race", "mask")  # classes that every face has; what "overall accuracy" is the mean of
DROP_TASKS = OVERALL[:2]  # of those, what can be lost by covering a face
LEAST = 10  # faces from which a figure is given at all

Sheet = dict[str, Any]  # docs/benchmark.md has what it holds


def measure(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, dict[str, Sheet]]:
    """Data set to condition to its sheet; under damage only `mean_figures`, elsewhere all metrics."""
    sheets: dict[str, dict[str, Sheet]] = {}
    bare: Part | None = None
    for data_set, condition, part in predictions.parts():
        bare = part if condition == CLEAN else bare
        if condition in DAMAGED:
            sheet = {"faces": len(part), **mean_figures(part, resamples=resamples)}
        else:
            sheet = {"faces": len(part), **all_figures(part, resamples=resamples)}
            if condition != CLEAN and bare is not None and condition in COVERED:
                sheet["occlusion_drop"] = occlusion_drop(bare, part, resamples=resamples)
                sheet["mask_or_none"] = mask_or_none(bare, part, resamples=resamples)
        sheets.setdefault(data_set, {})[condition] = sheet
    return sheets


def all_figures(part: Part, *, resamples: int = RESAMPLES) -> Sheet:
    """The metrics of every task that is known and answered; {"not_enough_faces": n} for one with fewer than LEAST."""
    boot = partial(bootstrap, resamples=resamples)
    sheet: Sheet = {}
    known, said, true = part.years()
    if enough(sheet, "age", known):
        sheet["age"] = boot(metrics.age_metrics, said[known], true[known])
        bounded, low, high = part.bounds()
        if bounded.sum() >= LEAST:
            arrays = low[bounded], high[bounded], true[bounded]
            sheet["age_interval"] = boot(metrics.interval_metrics, *arrays)
            away = np.abs(said - true)[bounded]
            sheet["age_selective"] = boot(metrics.selective_metrics, (high - low)[bounded], away)
    for name in CLASSED:
        known, shares, truth = part.answers(name)
        if not enough(sheet, name, known):
            continue
        shares, truth = shares[known], truth[known]
        metric = metrics.binary_metrics if name == "mask" else metrics.class_metrics
        sheet[name] = boot(metric, shares, truth)
        sheet[f"{name}_classes"] = _by_class(shares, truth, part.classes[name])
        if probabilistic(shares):
            sheet[f"{name}_calibration"] = {
                **boot(metrics.calibration_error, shares, truth),
                "bins": _reliability(shares, truth),
            }
            wrong = shares.argmax(1) != truth
            sheet[f"{name}_selective"] = boot(metrics.selective_metrics, 1 - shares.max(1), wrong)
        else:
            sheet[name].pop("auc", None)  # labels have no order to take an area under
    right = overall(part)
    if np.isfinite(right).sum() >= LEAST:
        named = partial(metrics.means, names=["accuracy"])
        sheet["overall"] = boot(named, right[np.isfinite(right), None])
    share, area = (part.rows[column].to_numpy(float) for column in ("leakage", "covered"))
    if np.isfinite(share).all() and area.sum() > 0:
        sheet["attention"] = boot(metrics.attention_leakage, share, area)
    return sheet


def mean_figures(part: Part, *, resamples: int = RESAMPLES) -> Sheet:
    """Only what is a mean over faces: age mae and within_5, every other task's accuracy."""
    sheet: Sheet = {}
    known, said, true = part.years()
    if enough(sheet, "age", known):
        away = np.abs(said - true)[known]
        table = np.stack([away, away <= 5], 1)
        sheet["age"] = bootstrap(partial(metrics.means, names=["mae", "within_5"]), table, resamples=resamples)
    for name in CLASSED:
        known, shares, truth = part.answers(name)
        if enough(sheet, name, known):
            right = (shares[known].argmax(1) == truth[known])[:, None]
            sheet[name] = bootstrap(partial(metrics.means, names=["accuracy"]), right, resamples=resamples)
    return sheet


def occlusion_drop(bare: Part, covered: Part, *, resamples: int = RESAMPLES) -> Sheet:
    """What covering the same faces costs: years of mean error, and points of accuracy as shares of 1."""
    bare = bare.like(covered)
    losses: Sheet = {}
    known, before, true = bare.years()
    also, after, _ = covered.years()
    known &= also
    if known.sum() >= LEAST:
        gap = (np.abs(after - true) - np.abs(before - true))[known, None]
        losses |= bootstrap(partial(metrics.means, names=["age_mae"]), gap, resamples=resamples)
    gaps = {name: bare.right(name) - covered.right(name) for name in ("age_group", "gender", "race")}
    gaps["overall"] = overall(bare, DROP_TASKS) - overall(covered, DROP_TASKS)
    for name, gap in gaps.items():
        known = np.isfinite(gap)
        if known.sum() >= LEAST:
            named = partial(metrics.means, names=[f"{name}_accuracy"])
            losses |= bootstrap(named, gap[known, None], resamples=resamples)
    return losses


def overall(part: Part, tasks: Sequence[str] = OVERALL) -> npt.NDArray[np.float64]:
    """(N,) share of the tasks that a face's answers get right; NaN unless all are known and answered."""
    return sum((part.right(name) for name in tasks), np.zeros(len(part))) / len(tasks)


def mask_or_none(bare: Part, covered: Part, *, resamples: int = RESAMPLES) -> Sheet:
    """Bare and covered faces together: is there a mask? Precision, recall and AUC need both kinds."""
    sides = [bare.answers("mask"), covered.answers("mask")]
    known, shares, truth = (np.concatenate(pair) for pair in zip(*sides, strict=True))
    if known.sum() < LEAST:
        return {}
    return bootstrap(metrics.binary_metrics, shares[known], truth[known], resamples=resamples)


def enough(sheet: Sheet, name: str, known: npt.NDArray[np.bool_]) -> bool:
    """Whether a task has faces to speak of; a sheet says so where there are some, but too few."""
    if 0 < known.sum() < LEAST:
        sheet[name] = {"not_enough_faces": int(known.sum())}
    return bool(known.sum() >= LEAST)


def probabilistic(shares: npt.NDArray[np.floating]) -> bool:
    """Whether answers are probabilities, not labels alone."""
    return bool(((shares > 0) & (shares < 1)).any())


def _by_class(shares: npt.NDArray[np.floating], truth: npt.NDArray[np.integer], names: list[str]) -> dict[str, Any]:
    """Precision, recall, F1 and faces of every class, and the confusion matrix: rows true, columns answered."""
    answer, numbers = shares.argmax(1), list(range(len(names)))
    columns = precision_recall_fscore_support(truth, answer, labels=numbers, zero_division=0)
    rows = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "faces": int(n)}
        for name, p, r, f, n in zip(names, *columns, strict=True)
    }
    confusion = confusion_matrices(answer, truth, len(names))[0].astype(int)
    return {"names": names, "by_class": rows, "confusion": confusion.tolist()}


def _reliability(shares: npt.NDArray[np.floating], truth: npt.NDArray[np.integer]) -> list[dict[str, float]]:
    """For every bin of confidence that holds faces: how many, how sure, how often right."""
    sure, right = shares.max(1), shares.argmax(1) == truth
    place = confidence_bin(sure)
    return [
        {
            "faces": int((place == number).sum()),
            "sure": float(sure[place == number].mean()),
            "right": float(right[place == number].mean()),
        }
        for number in range(BINS)
        if (place == number).any()
    ]
