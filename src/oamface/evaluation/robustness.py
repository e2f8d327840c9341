"""Corruption errors relative to a baseline, and their mean over kinds (Hendrycks and Dietterich, 2019)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.evaluation.bootstrap import RESAMPLES, Estimate, percentile_interval, resample_weights
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.corruptions import CORRUPTIONS, IMAGENET_C, STRENGTHS
from oamface.evaluation.predictions import PredictionTable, Subset

TASKS = ("age", "age_group", "gender", "race")
FloatArray = npt.NDArray[np.float64]


def corruption_errors(
    model: PredictionTable, baseline: PredictionTable, *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """A row for every data set and task that was predicted under all corruptions, with bootstrap intervals over faces.

    Keys: data_set, task, faces; clean, corrupted: the model's mean error on clean faces and over IMAGENET_C's kinds and
    strengths (shares of faces, for age mean absolute years); baseline_clean, baseline_corrupted; ce: kind to the
    corruption error, the model's error summed over strengths divided by the baseline's; mce: its mean over IMAGENET_C.
    `ce` has low_light too, which is not in the mean. The relative mCE is left out: some kinds hardly raise a face
    network's errors, and it divides by how much they do.
    """
    rows = []
    for data_set, classes in model.classes.items():
        for task in TASKS:
            if task == "age" or task in classes:
                errors = [_errors(predictions, data_set, task) for predictions in (model, baseline)]
                if all(table is not None for table in errors):
                    both = np.stack([table for table in errors if table is not None], 1)
                    both = both[np.isfinite(both).all((1, 2))]
                    if len(both):
                        figures = _figures(both, resamples)
                        rows.append({"data_set": data_set, "task": task, "faces": len(both), **figures})
    return rows


def _errors(predictions: PredictionTable, data_set: str, task: str) -> FloatArray | None:
    """(faces, 1 + corruptions x strengths) errors, of clean faces first; None where a condition is missing."""
    names = [f"{name}_{strength}" for name in CORRUPTIONS for strength in STRENGTHS]
    subsets = [predictions.subset(data_set, name) for name in names]
    if not all(len(subset) for subset in subsets):
        return None
    clean = predictions.subset(data_set, CLEAN).same_faces(subsets[0])
    return np.stack([_error(subset.same_faces(clean), task) for subset in (clean, *subsets)], 1)


def _error(subset: Subset, task: str) -> FloatArray:
    """(N,) years or 0 and 1; NaN without label or prediction."""
    if task == "age":
        valid, predicted, true = subset.ages()
        return np.where(valid, np.abs(predicted - true), np.nan)
    return 1 - subset.correct(task)


def _figures(errors: FloatArray, resamples: int) -> dict[str, Any]:
    """errors: (faces, 2, 1 + corruptions x strengths), of the model and the baseline."""
    faces = len(errors)
    weights = [np.ones((1, faces)), *resample_weights(faces, resamples, 0)]
    means = np.concatenate([np.tensordot(block, errors, 1) / faces for block in weights])
    clean, corrupted = means[..., 0], means[..., 1:].reshape(len(means), 2, len(CORRUPTIONS), len(STRENGTHS)).mean(3)
    ce = corrupted[:, 0] / corrupted[:, 1]
    named = [list(CORRUPTIONS).index(name) for name in IMAGENET_C]
    overall = corrupted[..., named].mean(2)
    return {
        "clean": _figure(clean[:, 0]),
        "corrupted": _figure(overall[:, 0]),
        "baseline_clean": _figure(clean[:, 1]),
        "baseline_corrupted": _figure(overall[:, 1]),
        "ce": {name: _figure(ce[:, number]) for number, name in enumerate(CORRUPTIONS)},
        "mce": _figure(ce[:, named].mean(1)),
    }


def _figure(values: FloatArray) -> Estimate:
    """values: of the faces as they are, then of every resample."""
    low, high = percentile_interval(values[1:])
    return {"value": float(values[0]), "low": low, "high": high}
