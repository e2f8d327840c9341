import numpy as np
import pytest

from helpers.predictions import random_table
from oamface.evaluation.error_analysis import analyze_errors
from oamface.evaluation.predictions import PredictionTable


@pytest.fixture(scope="module")
def errors() -> dict:
    """Of a predictor that is 10 years too high for the young, confuses Black with White and takes scarves for masks."""
    predictions = random_table(count=400, conditions=("clean", "accessories"))
    rows = predictions.table.copy()
    young = rows.age_true.between(18, 30)
    rows.loc[young, "age"] = rows.age_true[young] + 10
    rows.loc[rows.race_true == "Black", ["race=White", "race=Black", "race=Indian"]] = [0.8, 0.1, 0.1]
    rows.loc[rows.condition == "accessories", ["mask=none", "mask=incorrect or worn"]] = [0.0, 1.0]
    rows.loc[rows.condition == "accessories", "mask_true"] = "none"
    rows["style"] = np.where(rows.condition == "accessories", "scarf", "")
    return analyze_errors(PredictionTable(rows, predictions.classes, {}, {}), resamples=30)


def test_age_bias_by_age_group(errors) -> None:
    row = next(row for row in errors["age_bias"] if row["age"] == "18-30")
    assert row["bias"]["value"] == row["mae"]["value"] == pytest.approx(10)


def test_most_confused_pair_of_races_comes_first(errors) -> None:
    first = errors["race_confusions"][0]
    assert (first["true"], first["predicted"], first["share"]) == ("Black", "White", 1)
    assert first["count"] == first["faces"]


def test_mask_rate_of_an_occlusion_that_is_no_mask(errors) -> None:
    (row,) = errors["mask_predictions"]
    assert (row["style"], row["is_mask"], row["mask_rate"]["value"]) == ("scarf", False, 1)


def test_worst_faces_by_age_and_race(errors) -> None:
    ages = [row for row in errors["worst_faces"] if row["task"] == "age"]
    assert ages[0]["error"] == max(row["error"] for row in ages)
    races = [row for row in errors["worst_faces"] if row["task"] == "race"]
    assert races
    assert all(row["true"] != row["predicted"] for row in races)


def test_groups_with_the_highest_gender_error_come_first(errors) -> None:
    rates = [row["error_rate"]["value"] for row in errors["gender_errors"]]
    assert len(rates) > 1
    assert rates == sorted(rates, reverse=True)
