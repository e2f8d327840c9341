"""Fairness: how figures differ between groups of people, and whether a gap is more than chance."""

from collections.abc import Mapping
from typing import Any

import fairlearn.metrics
import numpy as np
import numpy.typing as npt
import pandas as pd

from oamface.evaluation.bootstrap import RESAMPLES, interval, resampled
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.predictions import Part, PredictionTable
from oamface.evaluation.significance import holm

LEAST = 30  # faces of a group that is compared
PERMUTATIONS = 9999  # so many that Holm's correction over all gaps can still find one
COVERAGE = "age_interval_coverage"
BANDS = {"0-9": 9, "10-17": 17, "18-30": 30, "31-45": 45, "46-60": 60, "61-80": 80, "81 and over": 120}


def fairness(
    predictions: PredictionTable, conditions: tuple[str, ...] = (CLEAN, "masks"), *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """One entry for every data set, condition, attribute and figure, worst gap first within a figure.

    attribute: age, gender, race, or gender and race together; for the coverage of age intervals also decade. Each entry
    has the groups' figures, worst first, the gap between the worst and the best with its interval, p of a permutation
    test that the gap is chance, and p_holm, corrected for all gaps here. Groups with fewer than LEAST faces are only
    counted.
    """
    found = []
    for data_set, condition, part in predictions.parts():
        if condition in conditions:
            known, decades = attributes(part), _decades(part)
            for figure, values in per_face(part).items():
                asked = {**known, "decade": decades} if figure == COVERAGE else known
                for attribute, groups in asked.items():
                    entry = gap(values, groups, worst_is_high=figure == "age_mae", resamples=resamples)
                    if entry:
                        where = {"data_set": data_set, "condition": condition}
                        found.append({**where, "attribute": attribute, "figure": figure, **entry})
    for entry, corrected in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = corrected
    return sorted(
        found, key=lambda entry: (entry["data_set"], entry["condition"], entry["figure"], -entry["gap"]["value"])
    )


def attributes(part: Part) -> dict[str, npt.NDArray[np.str_]]:
    """Attribute to (N,) names of groups, "" where the label does not say."""
    columns: dict[str, npt.NDArray[np.str_]] = {}
    ages = part.rows["age_true"].to_numpy(float)
    if np.isfinite(ages).any():
        names, ends = list(BANDS), list(BANDS.values())
        bands = [names[np.searchsorted(ends, age)] if np.isfinite(age) else "" for age in ages]
        columns["age"] = np.array(bands)
    elif "age_group" in part.classes:
        columns["age"] = part.rows["age_group_true"].to_numpy(str)
    for name in ("gender", "race"):
        if name in part.classes:
            columns[name] = part.rows[f"{name}_true"].to_numpy(str)
    if {"gender", "race"} <= columns.keys():
        pairs = zip(columns["race"], columns["gender"], strict=True)
        columns["race and gender"] = np.array(
            [f"{race}, {gender}" if race and gender else "" for race, gender in pairs]
        )
    return {name: groups for name, groups in columns.items() if (groups != "").any()}


def _decades(part: Part) -> npt.NDArray[np.str_]:
    """(N,) the decade of the exact age, "" where it is unknown."""
    ages = part.rows["age_true"].to_numpy(float)
    starts = np.where(np.isfinite(ages), ages // 10 * 10, -1).astype(int)
    return np.array([f"{start}-{start + 9}" if start >= 0 else "" for start in starts], str)


def per_face(part: Part) -> dict[str, npt.NDArray[np.float64]]:
    """Figure to (N,) values whose mean it is, NaN where unknown: age_mae in years, the others 1 where right."""
    values = {}
    known, said, true = part.years()
    if known.any():
        values["age_mae"] = np.where(known, np.abs(said - true), np.nan)
        bounded, low, high = part.bounds()
        if bounded.any():
            values[COVERAGE] = np.where(bounded, (low <= true) & (true <= high), np.nan)
    for name in ("age_group", "gender", "race", "mask"):
        right = part.right(name)
        if np.isfinite(right).any():
            values[f"{name}_accuracy"] = right
    return values


def gap(
    values: npt.NDArray[np.floating],
    groups: npt.NDArray[np.str_],
    *,
    worst_is_high: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The groups' means, worst first, and the gap between the outer two: see `fairness`.

    values: (N,), NaN left out. groups: (N,) names, "" left out. None with fewer than two groups of LEAST faces.
    """
    known = np.isfinite(values) & (groups != "")
    names, counts = np.unique(groups[known], return_counts=True)
    compared = names[counts >= LEAST]
    if len(compared) < 2:
        return None
    known &= np.isin(groups, compared)
    faces, place = values[known], np.searchsorted(compared, groups[known])
    frame = fairlearn.metrics.MetricFrame(
        metrics=lambda truth, value: float(np.mean(value)),
        y_true=np.zeros(len(faces)),
        y_pred=faces,
        sensitive_features=pd.Series(compared[place], name="group"),
    )
    means: Mapping[str, float] = frame.by_group.to_dict()
    member = np.eye(len(compared))[place]
    sums, counted = [], []
    for weights in resampled(len(faces), resamples, seed):
        sums.append(weights @ (member * faces[:, None]))
        counted.append(weights @ member)
    size = np.concatenate(counted)
    drawn = np.where(size > 0, np.concatenate(sums) / size.clip(1), np.nan)
    low, high = interval(np.nanmax(drawn, 1) - np.nanmin(drawn, 1))
    observed, sizes = float(frame.difference(method="between_groups")), np.bincount(place)
    chance = np.ptp(_shuffled(faces, place, sizes, seed), axis=1)
    order = sorted(range(len(compared)), key=lambda at: means[str(compared[at])], reverse=worst_is_high)
    figures = []
    for at in order:
        ends = interval(drawn[:, at])
        name = str(compared[at])
        figures.append({"group": name, "value": means[name], "low": ends[0], "high": ends[1], "faces": int(sizes[at])})
    return {
        "groups": figures,
        "too_small": {str(name): int(count) for name, count in zip(names, counts, strict=True) if count < LEAST},
        "gap": {"value": observed, "low": low, "high": high},
        "p": float((1 + (chance >= observed - 1e-12).sum()) / (1 + PERMUTATIONS)),
    }


def _shuffled(
    faces: npt.NDArray[np.floating], place: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer], seed: int
) -> npt.NDArray[np.float64]:
    """(PERMUTATIONS, groups) means when the groups' names are dealt out anew."""
    rng = np.random.default_rng(seed)
    if np.isin(faces, (0, 1)).all():  # how many right ones each group gets: an urn, no need to shuffle
        return rng.multivariate_hypergeometric(sizes, int(faces.sum()), PERMUTATIONS) / sizes
    dealt = [np.bincount(place, rng.permutation(faces), len(sizes)) for _ in range(PERMUTATIONS)]
    return np.stack(dealt) / sizes
