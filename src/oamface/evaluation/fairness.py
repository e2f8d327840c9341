"""Fairness: how metrics differ between groups of people, and whether a gap is more than chance."""

from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.evaluation.bootstrap import RESAMPLES, percentile_interval, resample_weights
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.predictions import PredictionTable, Subset
from oamface.evaluation.significance import holm

MIN_GROUP = 30  # faces of a group that is compared
PERMUTATIONS = 9999  # enough for a gap to stay significant after Holm's correction over all gaps
COVERAGE = "age_interval_coverage"
# Groups of years by their last year.
AGE_GROUPS = {"0-9": 9, "10-17": 17, "18-30": 30, "31-45": 45, "46-60": 60, "61-80": 80, "81 and over": 120}


def fairness(
    predictions: PredictionTable, conditions: tuple[str, ...] = (CLEAN, "masks"), *, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """The gaps of every data set, condition, attribute and figure, the largest of a figure first.

    attribute: age, gender, race, or race and gender; for the coverage of age intervals also decade. Each gap is as of
    `group_gap`, with p_holm, its p corrected for all gaps of the list.
    """
    gaps = []
    for data_set, condition, subset in predictions.subsets():
        if condition not in conditions:
            continue
        features = sensitive_features(subset)
        for figure, values in face_values(subset).items():
            extra = {"decade": _decades(subset)} if figure == COVERAGE else {}
            for attribute, groups in (features | extra).items():
                gap = group_gap(values, groups, worst_is_high=figure == "age_mae", resamples=resamples)
                if gap:
                    where = {"data_set": data_set, "condition": condition}
                    gaps.append({**where, "attribute": attribute, "figure": figure, **gap})
    for gap, corrected in zip(gaps, holm([gap["p"] for gap in gaps]), strict=True):
        gap["p_holm"] = corrected
    return sorted(gaps, key=lambda gap: (gap["data_set"], gap["condition"], gap["figure"], -gap["gap"]["value"]))


def sensitive_features(subset: Subset) -> dict[str, npt.NDArray[np.str_]]:
    """Attribute to the (N,) names of each face's group, "" where unknown."""
    features: dict[str, npt.NDArray[np.str_]] = {}
    ages = subset.rows["age_true"].to_numpy(float)
    if np.isfinite(ages).any():
        names, ends = list(AGE_GROUPS), list(AGE_GROUPS.values())
        features["age"] = np.array([names[np.searchsorted(ends, age)] if np.isfinite(age) else "" for age in ages])
    elif "age_group" in subset.classes:
        features["age"] = subset.rows["age_group_true"].to_numpy(str)
    for name in ("gender", "race"):
        if name in subset.classes:
            features[name] = subset.rows[f"{name}_true"].to_numpy(str)
    if {"gender", "race"} <= features.keys():
        pairs = zip(features["race"], features["gender"], strict=True)
        names = [f"{race}, {gender}" if race and gender else "" for race, gender in pairs]
        features["race and gender"] = np.array(names)
    return {name: groups for name, groups in features.items() if (groups != "").any()}


def _decades(subset: Subset) -> npt.NDArray[np.str_]:
    """(N,) the decade of the exact age, "" where unknown."""
    ages = subset.rows["age_true"].to_numpy(float)
    starts = np.where(np.isfinite(ages), ages // 10 * 10, -1).astype(int)
    return np.array([f"{start}-{start + 9}" if start >= 0 else "" for start in starts], str)


def face_values(subset: Subset) -> dict[str, npt.NDArray[np.float64]]:
    """Figure to the (N,) values that it is the mean of: years for age_mae, 0 or 1 for others; NaN where unknown."""
    values = {}
    valid, predicted, true = subset.ages()
    if valid.any():
        values["age_mae"] = np.where(valid, np.abs(predicted - true), np.nan)
        bounded, low, high = subset.age_bounds()
        if bounded.any():
            values[COVERAGE] = np.where(bounded, (low <= true) & (true <= high), np.nan)
    for task in ("age_group", "gender", "race", "mask"):
        correct = subset.correct(task)
        if np.isfinite(correct).any():
            values[f"{task}_accuracy"] = correct
    return values


def group_gap(
    values: npt.NDArray[np.floating],
    groups: npt.NDArray[np.str_],
    *,
    worst_is_high: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The mean of every group, worst first, and the gap between the worst and the best.

    values: (N,), NaN left out. groups: (N,) names, "" left out. Returns {"groups": [{"group", "value", "low", "high",
    "faces"}], "too_small": groups of fewer than MIN_GROUP faces and their size, "gap": a figure, "p": of a permutation
    test}; None with fewer than two groups to compare.
    """
    valid = np.isfinite(values) & (groups != "")
    names, counts = np.unique(groups[valid], return_counts=True)
    compared = names[counts >= MIN_GROUP]
    if len(compared) < 2:
        return None
    valid &= np.isin(groups, compared)
    values, group = values[valid], np.searchsorted(compared, groups[valid])
    sizes = np.bincount(group)
    means = np.bincount(group, values) / sizes
    observed = float(np.ptp(means))
    resampled = _resampled_means(values, group, resamples, seed)
    low, high = percentile_interval(np.nanmax(resampled, 1) - np.nanmin(resampled, 1))
    by_group = []
    for number, name in enumerate(map(str, compared)):
        ends = percentile_interval(resampled[:, number])
        figure = {"value": float(means[number]), "low": ends[0], "high": ends[1]}
        by_group.append({"group": name, **figure, "faces": int(sizes[number])})
    chance = np.ptp(_permuted_means(values, group, sizes, seed), axis=1)
    return {
        "groups": sorted(by_group, key=lambda item: item["value"], reverse=worst_is_high),
        "too_small": {str(name): int(count) for name, count in zip(names, counts, strict=True) if count < MIN_GROUP},
        "gap": {"value": observed, "low": low, "high": high},
        "p": float((1 + (chance >= observed - 1e-12).sum()) / (1 + PERMUTATIONS)),
    }


def _resampled_means(
    values: npt.NDArray[np.floating], group: npt.NDArray[np.integer], resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """(resamples, groups) means of the bootstrap, NaN where a group is empty."""
    member = np.eye(group.max() + 1)[group]
    blocks = [
        (weights @ (member * values[:, None]), weights @ member)
        for weights in resample_weights(len(values), resamples, seed)
    ]
    sums, sizes = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    return np.where(sizes > 0, sums / sizes.clip(1), np.nan)


def _permuted_means(
    values: npt.NDArray[np.floating], group: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer], seed: int
) -> npt.NDArray[np.float64]:
    """(PERMUTATIONS, groups) means when faces are assigned to groups at random."""
    rng = np.random.default_rng(seed)
    if np.isin(values, (0, 1)).all():  # the number of ones in each group follows the hypergeometric distribution
        return rng.multivariate_hypergeometric(sizes, int(values.sum()), PERMUTATIONS) / sizes
    sums = [np.bincount(group, rng.permutation(values), len(sizes)) for _ in range(PERMUTATIONS)]
    return np.stack(sums) / sizes
