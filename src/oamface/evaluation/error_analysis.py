"""Error analysis: what a predictor gets wrong and for whom (the paper's Table 7)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap
from oamface.evaluation.conditions import CLEAN, OCCLUDED, TRAINING_OCCLUDED
from oamface.evaluation.fairness import AGE_GROUPS, MIN_GROUP, face_values, sensitive_features
from oamface.evaluation.predictions import PredictionTable

LISTED = 10  # groups, faces, and half of the confused pairs that are listed


def analyze_errors(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, list[dict[str, Any]]]:
    """Error tables, each a list of rows; of clean faces unless a row names a condition.

    age_bias: mean signed error in years by age. race_confusions: the pairs confused most. gender_errors: the groups
    with the highest error rate. mask_predictions: how often a mask is predicted, by occlusion style. worst_faces: the
    names of the faces with the largest errors.
    """
    return {
        "age_bias": _age_bias(predictions, resamples),
        "race_confusions": _race_confusions(predictions),
        "gender_errors": _gender_errors(predictions, resamples),
        "mask_predictions": _mask_predictions(predictions, resamples),
        "worst_faces": _worst_faces(predictions),
    }


def _age_bias(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set, condition, subset in predictions.subsets():
        valid, predicted, true = subset.ages()
        if condition not in (CLEAN, "masks") or not valid.any():
            continue
        groups = sensitive_features(subset)["age"]
        for group in AGE_GROUPS:
            inside = valid & (groups == group)
            if inside.sum() >= MIN_GROUP:
                error = (predicted - true)[inside]
                named = partial(metrics.means, names=["bias", "mae"])
                figures = bootstrap(named, np.stack([error, np.abs(error)], 1), resamples=resamples)
                where = {"data_set": data_set, "condition": condition, "age": group, "faces": int(inside.sum())}
                rows.append({**where, **figures})
    return rows


def _race_confusions(predictions: PredictionTable) -> list[dict[str, Any]]:
    rows = []
    for data_set in predictions.classes:
        subset = predictions.subset(data_set, CLEAN)
        valid, probabilities, truth = subset.classifications("race")
        if not valid.any():
            continue
        names = subset.classes["race"]
        confusion = metrics.confusion_matrices(probabilities[valid].argmax(1), truth[valid], len(names))[0]
        for true, predicted in zip(*np.nonzero(confusion), strict=True):
            if true != predicted:
                count, faces = int(confusion[true, predicted]), int(confusion[true].sum())
                pair = {"data_set": data_set, "true": names[true], "predicted": names[predicted]}
                rows.append({**pair, "count": count, "faces": faces, "share": count / faces})
    return sorted(rows, key=lambda row: -row["share"])[: 2 * LISTED]


def _gender_errors(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set in predictions.classes:
        subset = predictions.subset(data_set, CLEAN)
        correct, features = face_values(subset).get("gender_accuracy"), sensitive_features(subset)
        if correct is None or not {"age", "gender"} <= features.keys():
            continue
        groups = pd.Series(
            [f"{age}, {gender}" for age, gender in zip(features["age"], features["gender"], strict=True)]
        )
        for group in groups.unique():
            inside = (groups == group).to_numpy() & np.isfinite(correct) & (features["age"] != "")
            if inside.sum() >= MIN_GROUP:
                named = partial(metrics.means, names=["error_rate"])
                figures = bootstrap(named, 1 - correct[inside, None], resamples=resamples)
                rows.append({"data_set": data_set, "group": group, "faces": int(inside.sum()), **figures})
    return sorted(rows, key=lambda row: -row["error_rate"]["value"])[:LISTED]


def _mask_predictions(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set, condition, subset in predictions.subsets():
        valid, probabilities, truth = subset.classifications("mask")
        if condition not in OCCLUDED | TRAINING_OCCLUDED or not valid.any():
            continue
        styles = subset.rows["style"].to_numpy(str)
        for style in np.unique(styles[valid]):
            inside = valid & (styles == style)
            if inside.sum() >= MIN_GROUP:
                predicted = (probabilities[inside].argmax(1) == 1)[:, None]
                figures = bootstrap(partial(metrics.means, names=["mask_rate"]), predicted, resamples=resamples)
                where = {"data_set": data_set, "condition": condition, "style": str(style)}
                is_mask = bool(truth[inside].mean() > 0.5)
                rows.append({**where, "is_mask": is_mask, "faces": int(inside.sum()), **figures})
    return rows


def _worst_faces(predictions: PredictionTable) -> list[dict[str, Any]]:
    """The faces with the largest age error in years, and the wrong classes with the highest confidence."""
    rows: list[dict[str, Any]] = []
    for data_set in predictions.classes:
        subset = predictions.subset(data_set, CLEAN)
        names = subset.rows["face"].to_numpy(str)
        valid, years, true_years = subset.ages()
        errors = np.where(valid, np.abs(years - true_years), -1)
        for at in _largest(errors):
            ages = {"true": f"{true_years[at]:.0f}", "predicted": f"{years[at]:.0f}", "error": float(errors[at])}
            rows.append({"data_set": data_set, "face": names[at], "task": "age", **ages})
        for task in ("age_group", "gender", "race", "mask"):
            valid, probabilities, truth = subset.classifications(task)
            if not valid.any():
                continue
            classes, predicted = subset.classes[task], probabilities.argmax(1)
            errors = np.where(valid & (predicted != truth), probabilities.max(1), -1)
            for at in _largest(errors):
                labels = {"true": classes[truth[at]], "predicted": classes[predicted[at]], "error": float(errors[at])}
                rows.append({"data_set": data_set, "face": names[at], "task": task, **labels})
    return rows


def _largest(errors: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """Where the largest errors above 0 are, largest first."""
    return [int(at) for at in np.argsort(-errors)[:LISTED] if errors[at] > 0]
