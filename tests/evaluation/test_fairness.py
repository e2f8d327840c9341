import numpy as np
import pytest

from helpers.predictions import random_table
from oamface.evaluation import fairness as fairness_module
from oamface.evaluation.fairness import MIN_GROUP, fairness, group_gap, sensitive_features
from oamface.evaluation.predictions import PredictionTable

GROUPS = np.repeat(["a", "b", "c"], 100)


def test_group_gap_finds_a_real_gap_and_sorts_worst_first() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(300) < np.repeat([0.9, 0.6, 0.8], 100)).astype(float)
    result = group_gap(values, GROUPS, resamples=300)
    assert [group["group"] for group in result["groups"]] == ["b", "c", "a"]
    assert result["gap"]["value"] == pytest.approx(values[:100].mean() - values[100:200].mean())
    assert result["gap"]["low"] < result["gap"]["value"] < result["gap"]["high"]
    assert result["p"] < 0.001
    assert all(group["low"] <= group["value"] <= group["high"] for group in result["groups"])


def test_group_gap_of_errors_sorts_highest_first() -> None:
    rng = np.random.default_rng(0)
    result = group_gap(rng.gamma(2, np.repeat([1.0, 4.0, 2.0], 100)), GROUPS, worst_is_high=True, resamples=100)
    assert [group["group"] for group in result["groups"]] == ["b", "c", "a"]
    assert result["p"] < 0.01


@pytest.mark.parametrize("kind", ["binary", "years"])
def test_group_gap_rarely_finds_a_gap_where_there_is_none(kind, monkeypatch) -> None:
    monkeypatch.setattr(fairness_module, "PERMUTATIONS", 499)
    rng = np.random.default_rng(1)
    draw = (lambda: rng.integers(0, 2, 120).astype(float)) if kind == "binary" else (lambda: rng.gamma(2, 2, 120))
    significant = [group_gap(draw(), np.repeat(["a", "b", "c"], 40), resamples=2)["p"] < 0.1 for _ in range(40)]
    assert np.mean(significant) < 0.25


def test_group_gap_only_counts_small_groups() -> None:
    names = np.array(["a"] * 50 + ["b"] * 50 + ["c"] * (MIN_GROUP - 1) + [""] * 5)
    result = group_gap(np.ones(len(names)), names, resamples=10)
    assert result["too_small"] == {"c": MIN_GROUP - 1}
    assert (result["gap"]["value"], result["p"]) == (0, 1)


def test_group_gap_needs_two_groups_with_values() -> None:
    assert group_gap(np.ones(60), np.array(["a"] * 60)) is None
    assert group_gap(np.full(60, np.nan), np.repeat(["a", "b"], 30)) is None
    assert group_gap(np.ones(0), np.array([], str)) is None


def test_sensitive_features_include_the_intersection_of_race_and_gender() -> None:
    subset = random_table().subset("utkface", "clean")
    features = sensitive_features(subset)
    assert set(features) == {"age", "gender", "race", "race and gender"}
    assert set(features["gender"]) == {"male", "female"}
    assert "Black, female" in features["race and gender"]
    ages = subset.rows["age_true"]
    assert set(features["age"][(ages >= 18) & (ages <= 30)]) == {"18-30"}
    assert set(features["age"][ages > 80]) == {"81 and over"}


def test_fairness_corrects_p_for_all_gaps() -> None:
    predictions = random_table(count=300)
    rows = predictions.table.copy()
    men = (rows.gender_true == "male") & (rows.condition == "clean")
    rows.loc[men, ["race=White", "race=Black", "race=Indian"]] = [0.2, 0.2, 0.6]
    gaps = fairness(PredictionTable(rows, predictions.classes, {}, {}), resamples=50)
    by_key = {(gap["condition"], gap["figure"], gap["attribute"]): gap for gap in gaps}
    worst = by_key["clean", "race_accuracy", "gender"]
    assert worst["groups"][0]["group"] == "male"
    assert worst["p_holm"] < 0.05
    assert all(gap["p_holm"] >= gap["p"] for gap in gaps)
    assert all(by_key[condition, "mask_accuracy", "gender"]["p_holm"] > 0.05 for condition in ("clean", "masks"))


def test_coverage_of_age_intervals_is_compared_by_decade() -> None:
    predictions = random_table(count=600)
    rows = predictions.table.copy()
    rows["age_low"], rows["age_high"] = rows.age_true - 2, rows.age_true + 2
    rows.loc[(rows.age_true >= 30) & (rows.age_true < 40), "age_high"] = rows.age_true - 1
    gaps = fairness(PredictionTable(rows, predictions.classes, {}, {}), conditions=("clean",), resamples=20)
    (decades,) = (gap for gap in gaps if gap["attribute"] == "decade")
    assert decades["figure"] == "age_interval_coverage"
    assert {group["group"]: group["value"] for group in decades["groups"]}["30-39"] == 0
    assert all(group["value"] == 1 for group in decades["groups"][1:])
