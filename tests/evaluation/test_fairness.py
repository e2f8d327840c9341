import numpy as np
import pytest

from helpers.predictions import table
from oamface.evaluation import fairness as groups
from oamface.evaluation.fairness import LEAST, attributes, fairness, gap
from oamface.evaluation.predictions import PredictionTable

NAMES = np.repeat(["a", "b", "c"], 100)


def test_a_gap_that_is_there_is_found_and_worst_comes_first() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(300) < np.repeat([0.9, 0.6, 0.8], 100)).astype(float)
    found = gap(values, NAMES, resamples=300)
    assert [group["group"] for group in found["groups"]] == ["b", "c", "a"]
    assert found["gap"]["value"] == pytest.approx(values[:100].mean() - values[100:200].mean())
    assert found["gap"]["low"] < found["gap"]["value"] < found["gap"]["high"]
    assert found["p"] < 0.001
    assert all(group["low"] <= group["value"] <= group["high"] for group in found["groups"])


def test_years_are_worst_where_they_are_most() -> None:
    rng = np.random.default_rng(0)
    found = gap(rng.gamma(2, np.repeat([1.0, 4.0, 2.0], 100)), NAMES, worst_is_high=True, resamples=100)
    assert [group["group"] for group in found["groups"]] == ["b", "c", "a"]
    assert found["p"] < 0.01


@pytest.mark.parametrize("kind", ["shares", "years"])
def test_where_all_are_alike_small_p_are_as_rare_as_they_should_be(kind, monkeypatch) -> None:
    monkeypatch.setattr(groups, "PERMUTATIONS", 499)
    rng = np.random.default_rng(1)
    draw = (lambda: rng.integers(0, 2, 120).astype(float)) if kind == "shares" else (lambda: rng.gamma(2, 2, 120))
    small = [gap(draw(), np.repeat(["a", "b", "c"], 40), resamples=2)["p"] < 0.1 for _ in range(40)]
    assert np.mean(small) < 0.25


def test_small_groups_are_counted_and_not_compared() -> None:
    names = np.array(["a"] * 50 + ["b"] * 50 + ["c"] * (LEAST - 1) + [""] * 5)
    found = gap(np.ones(len(names)), names, resamples=10)
    assert found["too_small"] == {"c": LEAST - 1}
    assert (found["gap"]["value"], found["p"]) == (0, 1)
    assert gap(np.ones(60), np.array(["a"] * 60)) is None
    assert gap(np.full(60, np.nan), np.repeat(["a", "b"], 30)) is None
    assert gap(np.ones(0), np.array([], str)) is None


def test_every_attribute_and_their_intersection() -> None:
    found = attributes(table().part("utkface", "clean"))
    assert set(found) == {"age", "gender", "race", "race and gender"}
    assert set(found["gender"]) == {"male", "female"}
    assert "Black, female" in found["race and gender"]
    ages = table().part("utkface", "clean").rows["age_true"]
    assert set(found["age"][(ages >= 18) & (ages <= 30)]) == {"18-30"}
    assert set(found["age"][ages > 80]) == {"81 and over"}


def test_gaps_of_a_whole_table_are_corrected_together() -> None:
    said = table(count=300)
    rows = said.table.copy()
    men = (rows.gender_true == "male") & (rows.condition == "clean")
    rows.loc[men, ["race=White", "race=Black", "race=Indian"]] = [0.2, 0.2, 0.6]
    found = fairness(PredictionTable(rows, said.classes, {}, {}), resamples=50)
    worst = next(
        row
        for row in found
        if (row["condition"], row["figure"], row["attribute"]) == ("clean", "race_accuracy", "gender")
    )
    assert worst["groups"][0]["group"] == "male"
    assert worst["p_holm"] < 0.05
    assert all(row["p_holm"] >= row["p"] for row in found)
    chance = [row for row in found if row["attribute"] == "gender" and row["figure"] == "mask_accuracy"]
    assert all(row["p_holm"] > 0.05 for row in chance)


def test_age_intervals_are_looked_at_by_decade() -> None:
    said = table(count=600)
    rows = said.table.copy()
    rows["age_low"], rows["age_high"] = rows.age_true - 2, rows.age_true + 2
    rows.loc[(rows.age_true >= 30) & (rows.age_true < 40), "age_high"] = rows.age_true - 1
    found = fairness(PredictionTable(rows, said.classes, {}, {}), conditions=("clean",), resamples=20)
    decades = next(row for row in found if row["attribute"] == "decade" and row["data_set"] == "utkface")
    assert decades["figure"] == "age_interval_coverage"
    assert {group["group"]: group["value"] for group in decades["groups"]}["30-39"] == 0
    assert all(group["value"] == 1 for group in decades["groups"][1:])
    assert not any(row["attribute"] == "decade" and row["figure"] != "age_interval_coverage" for row in found)
