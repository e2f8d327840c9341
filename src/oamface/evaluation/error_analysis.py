"""Error analysis: what a predictor gets wrong, found from its predictions (the paper's Table 7)."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import RESAMPLES, bootstrap
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.fairness import BANDS, LEAST, attributes, per_face
from oamface.evaluation.predictions import PredictionTable

MOST = 10  # confused pairs, groups and faces that are listed
_STYLED = ("masks", "masks_worn_wrongly", "objects", "transparent_masks", "accessories")


def mistakes(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """age_bias: signed error in years by age, per data set and condition. race_pairs: the most confused, with shares.

    gender_groups: where perceived gender is missed most. masks: for every thing that is drawn, how often the answer is
    "masked". worst: the names of the faces with the largest errors. All bare unless a condition is named.
    """
    return {
        "age_bias": _age_bias(predictions, resamples),
        "race_pairs": _race_pairs(predictions),
        "gender_groups": _gender_groups(predictions, resamples),
        "masks": _masks(predictions, resamples),
        "worst": _worst(predictions),
    }


def _age_bias(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set, condition, part in predictions.parts():
        known, said, true = part.years()
        if condition not in (CLEAN, "masks") or not known.any():
            continue
        bands = attributes(part)["age"]
        for band in BANDS:
            inside = known & (bands == band)
            if inside.sum() >= LEAST:
                away = (said - true)[inside]
                table = np.stack([away, np.abs(away)], 1)
                figures = bootstrap(partial(metrics.means, names=["bias", "mae"]), table, resamples=resamples)
                where = {"data_set": data_set, "condition": condition, "age": band, "faces": int(inside.sum())}
                rows.append({**where, **figures})
    return rows


def _race_pairs(predictions: PredictionTable) -> list[dict[str, Any]]:
    rows = []
    for data_set in predictions.classes:
        part = predictions.part(data_set, CLEAN)
        known, shares, truth = part.answers("race")
        if not known.any():
            continue
        names = part.classes["race"]
        confusion = metrics.confusion_matrices(shares[known].argmax(1), truth[known], len(names))[0]
        for true, answered in zip(*np.nonzero(confusion), strict=True):
            if true != answered:
                count, faces = int(confusion[true, answered]), int(confusion[true].sum())
                pair = {"data_set": data_set, "true": names[true], "answered": names[answered]}
                rows.append({**pair, "count": count, "faces": faces, "share": count / faces})
    return sorted(rows, key=lambda row: -row["share"])[: 2 * MOST]


def _gender_groups(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set in predictions.classes:
        part = predictions.part(data_set, CLEAN)
        right, groups = per_face(part).get("gender_accuracy"), attributes(part)
        if right is None or not {"age", "gender"} <= groups.keys():
            continue
        pairs = pd.Series([f"{age}, {gender}" for age, gender in zip(groups["age"], groups["gender"], strict=True)])
        for pair in pairs.unique():
            inside = (pairs == pair).to_numpy() & np.isfinite(right) & (groups["age"] != "")
            if inside.sum() >= LEAST:
                wrong = bootstrap(partial(metrics.means, names=["wrong"]), 1 - right[inside, None], resamples=resamples)
                rows.append({"data_set": data_set, "group": pair, "faces": int(inside.sum()), **wrong})
    return sorted(rows, key=lambda row: -row["wrong"]["value"])[:MOST]


def _masks(predictions: PredictionTable, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for data_set, condition, part in predictions.parts():
        known, shares, truth = part.answers("mask")
        if condition not in _STYLED or not known.any():
            continue
        styles = part.rows["style"].to_numpy(str)
        for style in np.unique(styles[known]):
            inside = known & (styles == style)
            if inside.sum() >= LEAST:
                said = (shares[inside].argmax(1) == 1)[:, None]
                figures = bootstrap(partial(metrics.means, names=["said_masked"]), said, resamples=resamples)
                where = {"data_set": data_set, "condition": condition, "style": str(style)}
                is_mask = bool(truth[inside].mean() > 0.5)
                rows.append({**where, "is_mask": is_mask, "faces": int(inside.sum()), **figures})
    return rows


def _worst(predictions: PredictionTable) -> list[dict[str, Any]]:
    """The faces with the largest error in years, and those whose class was missed with the most confidence."""
    rows = []
    for data_set in predictions.classes:
        part = predictions.part(data_set, CLEAN)
        faces = part.rows["face"].to_numpy(str)
        known, said, true = part.years()
        away = np.where(known, np.abs(said - true), -1)
        for at in np.argsort(-away)[:MOST]:
            if away[at] > 0:
                rows.append(_face(data_set, faces[at], "age", f"{true[at]:.0f}", f"{said[at]:.0f}", away[at]))
        for name in ("age_group", "gender", "race", "mask"):
            known, shares, truth = part.answers(name)
            if not known.any():
                continue
            sure = np.where(known & (shares.argmax(1) != truth), shares.max(1), -1)
            for at in np.argsort(-sure)[:MOST]:
                if sure[at] > 0:
                    labels = part.classes[name]
                    answered = labels[int(shares[at].argmax())]
                    rows.append(_face(data_set, faces[at], name, labels[truth[at]], answered, sure[at]))
    return rows


def _face(data_set: str, face: str, task: str, true: str, answered: str, size: float) -> dict[str, Any]:
    return {"data_set": data_set, "face": face, "task": task, "true": true, "answered": answered, "size": float(size)}
