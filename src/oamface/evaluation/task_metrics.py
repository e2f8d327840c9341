"""Metrics of every task, data set and condition, each with its confidence interval, from a table of predictions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap
from oamface.evaluation.conditions import CLEAN, CORRUPTED, OCCLUDED
from oamface.evaluation.metrics import BINS, confidence_bin, confusion_matrices
from oamface.evaluation.predictions import CLASSIFICATION_TASKS, PredictionTable, Subset

OVERALL_TASKS = ("gender", "race", "mask")  # overall accuracy is the mean of these
OCCLUSION_DROP_TASKS = OVERALL_TASKS[:2]  # of these, the ones that an occlusion can make harder
MIN_FACES = 10  # for any figure
DETAILS = ("_classes", "_calibration", "_selective")  # tables and curves, which only the benchmark keeps

TaskMetrics = dict[str, Any]  # task to metric to figure; docs/evaluation.md lists them


def compute_metrics(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, dict[str, TaskMetrics]]:
    """Data set to condition to metrics: all of them, or only `mean_metrics` for corrupted faces."""
    results: dict[str, dict[str, TaskMetrics]] = {}
    clean: Subset | None = None
    for data_set, condition, subset in predictions.subsets():
        clean = subset if condition == CLEAN else clean
        compute = mean_metrics if condition in CORRUPTED else all_metrics
        values = {"faces": len(subset), **compute(subset, resamples=resamples)}
        if condition in OCCLUDED and clean is not None:
            values["occlusion_drop"] = occlusion_drop(clean, subset, resamples=resamples)
            values["mask_or_none"] = mask_detection(clean, subset, resamples=resamples)
        results.setdefault(data_set, {})[condition] = values
    return results


def all_metrics(subset: Subset, *, resamples: int = RESAMPLES) -> TaskMetrics:
    """The metrics of every task with labels and predictions; {"not_enough_faces": n} for fewer than MIN_FACES."""
    boot = partial(bootstrap, resamples=resamples)
    values = _age_metrics(subset, resamples)
    for task in CLASSIFICATION_TASKS:
        values |= _classification_metrics(subset, task, resamples)
    overall = overall_accuracy(subset)
    overall = overall[np.isfinite(overall)]
    if len(overall) >= MIN_FACES:
        values["overall"] = boot(partial(metrics.means, names=["accuracy"]), overall[:, None])
    attention, area = (subset.rows[name].to_numpy(float) for name in ("attention_on_occlusion", "occluded_area"))
    if np.isfinite(attention).all() and area.sum() > 0:
        values["attention"] = boot(metrics.attention_leakage, attention, area)
    return values


def _age_metrics(subset: Subset, resamples: int) -> TaskMetrics:
    boot = partial(bootstrap, resamples=resamples)
    valid, predicted, true = subset.ages()
    if valid.sum() < MIN_FACES:
        return _not_enough("age", valid)
    values = {"age": boot(metrics.age_metrics, predicted[valid], true[valid])}
    if ((true[valid] >= 13) & (true[valid] < 18)).sum() >= MIN_FACES:
        values["age_threshold"] = boot(metrics.threshold_metrics, predicted[valid], true[valid])
    bounded, low, high = subset.age_bounds()
    if bounded.sum() >= MIN_FACES:
        values["age_interval"] = boot(metrics.interval_metrics, low[bounded], high[bounded], true[bounded])
        error = np.abs(predicted - true)[bounded]
        values["age_selective"] = boot(metrics.selective_metrics, (high - low)[bounded], error)
    return values


def _classification_metrics(subset: Subset, task: str, resamples: int) -> TaskMetrics:
    boot = partial(bootstrap, resamples=resamples)
    valid, probabilities, truth = subset.classifications(task)
    if valid.sum() < MIN_FACES:
        return _not_enough(task, valid)
    probabilities, truth = probabilities[valid], truth[valid]
    metric = metrics.binary_metrics if task == "mask" else metrics.class_metrics
    values: TaskMetrics = {
        task: boot(metric, probabilities, truth),
        f"{task}_classes": _by_class(probabilities, truth, subset.classes[task]),
    }
    if ((probabilities > 0) & (probabilities < 1)).any():
        calibration = boot(metrics.calibration_error, probabilities, truth, unbiased=True)
        values[f"{task}_calibration"] = {**calibration, "bins": _reliability_diagram(probabilities, truth)}
        wrong = probabilities.argmax(1) != truth
        values[f"{task}_selective"] = boot(metrics.selective_metrics, 1 - probabilities.max(1), wrong)
    else:
        values[task].pop("auc", None)  # labels without probabilities have no ROC curve
    return values


def mean_metrics(subset: Subset, *, resamples: int = RESAMPLES) -> TaskMetrics:
    """Only means over faces: mae and within_5 of age, accuracy of every other task."""
    values: TaskMetrics = {}
    valid, predicted, true = subset.ages()
    if valid.sum() >= MIN_FACES:
        error = np.abs(predicted - true)[valid]
        named = partial(metrics.means, names=["mae", "within_5"])
        values["age"] = bootstrap(named, np.stack([error, error <= 5], 1), resamples=resamples)
    else:
        values |= _not_enough("age", valid)
    for task in CLASSIFICATION_TASKS:
        correct = subset.correct(task)
        valid = np.isfinite(correct)
        if valid.sum() >= MIN_FACES:
            named = partial(metrics.means, names=["accuracy"])
            values[task] = bootstrap(named, correct[valid, None], resamples=resamples)
        else:
            values |= _not_enough(task, valid)
    return values


def occlusion_drop(clean: Subset, occluded: Subset, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """How much worse the same faces are predicted when occluded: years of mae, accuracy as a share of 1."""
    clean = clean.same_faces(occluded)
    valid_clean, predicted_clean, true = clean.ages()
    valid_occluded, predicted_occluded, _ = occluded.ages()
    more_error = np.abs(predicted_occluded - true) - np.abs(predicted_clean - true)
    drops = {"age_mae": np.where(valid_clean & valid_occluded, more_error, np.nan)}
    for task in ("age_group", "gender", "race"):
        drops[f"{task}_accuracy"] = clean.correct(task) - occluded.correct(task)
    overall = (overall_accuracy(subset, OCCLUSION_DROP_TASKS) for subset in (clean, occluded))
    drops["overall_accuracy"] = np.subtract(*overall)
    values: dict[str, Any] = {}
    for name, drop in drops.items():
        drop = drop[np.isfinite(drop)]
        if len(drop) >= MIN_FACES:
            values |= bootstrap(partial(metrics.means, names=[name]), drop[:, None], resamples=resamples)
    return values


def overall_accuracy(subset: Subset, tasks: Sequence[str] = OVERALL_TASKS) -> npt.NDArray[np.float64]:
    """(N,) share of the tasks that are predicted correctly; NaN where any label or prediction is missing."""
    return sum((subset.correct(task) for task in tasks), np.zeros(len(subset))) / len(tasks)


def mask_detection(clean: Subset, occluded: Subset, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Metrics of mask or none on clean and occluded faces together: recall and AUC need both classes."""
    both = [subset.classifications("mask") for subset in (clean, occluded)]
    valid, probabilities, truth = (np.concatenate(arrays) for arrays in zip(*both, strict=True))
    if valid.sum() < MIN_FACES:
        return {}
    return bootstrap(metrics.binary_metrics, probabilities[valid], truth[valid], resamples=resamples)


def _not_enough(task: str, valid: npt.NDArray[np.bool_]) -> TaskMetrics:
    """What stands for the metrics of a task with too few faces; nothing where there is none."""
    return {task: {"not_enough_faces": int(valid.sum())}} if valid.any() else {}


def _by_class(
    probabilities: npt.NDArray[np.floating], truth: npt.NDArray[np.integer], names: list[str]
) -> dict[str, Any]:
    """Precision, recall, F1 and faces of every class, and the confusion matrix: rows true, columns predicted."""
    predicted, numbers = probabilities.argmax(1), list(range(len(names)))
    columns = precision_recall_fscore_support(truth, predicted, labels=numbers, zero_division=0)
    by_class = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "faces": int(n)}
        for name, p, r, f, n in zip(names, *columns, strict=True)
    }
    confusion = confusion_matrices(predicted, truth, len(names))[0].astype(int)
    return {"names": names, "by_class": by_class, "confusion": confusion.tolist()}


def _reliability_diagram(
    probabilities: npt.NDArray[np.floating], truth: npt.NDArray[np.integer]
) -> list[dict[str, float]]:
    """Faces, mean confidence and accuracy of every bin of confidence that is not empty."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    bins = confidence_bin(confidence)
    return [
        {
            "faces": int((bins == number).sum()),
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(correct[bins == number].mean()),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]
