import numpy as np
import pytest

from helpers.predictions import table
from oamface.evaluation.error_analysis import mistakes
from oamface.evaluation.predictions import PredictionTable


@pytest.fixture(scope="module")
def found() -> dict:
    """Of a predictor that takes the young for 10 years older, Black people for White, and every cover for a mask."""
    said = table(count=400, conditions=("clean", "accessories"))
    rows = said.table.copy()
    young = rows.age_true.between(18, 30)
    rows.loc[young, "age"] = rows.age_true[young] + 10
    rows.loc[rows.race_true == "Black", ["race=White", "race=Black", "race=Indian"]] = [0.8, 0.1, 0.1]
    rows.loc[rows.condition == "accessories", ["mask=none", "mask=incorrect or worn"]] = [0.0, 1.0]
    rows.loc[rows.condition == "accessories", "mask_true"] = "none"
    rows["style"] = np.where(rows.condition == "accessories", "scarf", "")
    return mistakes(PredictionTable(rows, said.classes, {}, {}), resamples=30)


def test_the_young_are_taken_for_older(found) -> None:
    row = next(row for row in found["age_bias"] if row["age"] == "18-30")
    assert row["bias"]["value"] == row["mae"]["value"] == pytest.approx(10)


def test_the_most_confused_pair_comes_first(found) -> None:
    first = found["race_pairs"][0]
    assert (first["true"], first["answered"], first["share"]) == ("Black", "White", 1)
    assert first["count"] == first["faces"]


def test_scarves_are_said_to_be_masks(found) -> None:
    (row,) = found["masks"]
    assert (row["style"], row["is_mask"], row["said_masked"]["value"]) == ("scarf", False, 1)


def test_the_worst_faces_are_named(found) -> None:
    ages = [row for row in found["worst"] if row["task"] == "age"]
    assert ages[0]["size"] == max(row["size"] for row in ages)
    races = [row for row in found["worst"] if row["task"] == "race"]
    assert all(row["true"] != row["answered"] for row in races)


def test_groups_in_which_gender_is_missed(found) -> None:
    shares = [row["wrong"]["value"] for row in found["gender_groups"]]
    assert shares == sorted(shares, reverse=True)
