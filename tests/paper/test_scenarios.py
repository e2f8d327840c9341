import zlib

import numpy as np
import pytest

from helpers.predictions import random_table
from oamface.evaluation.predictions import PredictionTable
from oamface.paper.scenarios import SCENARIOS, scenarios


@pytest.fixture(scope="module")
def results() -> dict:
    return scenarios(random_table(count=300), resamples=20)["utkface"]


def test_all_scenarios_are_measured(results) -> None:
    assert tuple(results) == SCENARIOS
    assert results["all masked"]["faces"] == results["none masked"]["faces"] == results["mixed"]["faces"] == 300


def test_mixed_masks_half_of_the_faces() -> None:
    predictions = random_table(count=300)
    always_masked = predictions.table.assign(**{"mask=none": 0.0, "mask=incorrect or worn": 1.0})
    table = PredictionTable(always_masked, predictions.classes, {}, {})
    mixed = scenarios(table, resamples=20)["utkface"]["mixed"]
    masked = np.mean([zlib.crc32(f"{number}.png".encode()) % 2 == 1 for number in range(300)])
    assert mixed["mask"]["accuracy"]["value"] == pytest.approx(masked)


def test_young_and_senior_select_by_age(results) -> None:
    ages = random_table(count=300).subset("utkface", "clean").rows["age_true"]
    assert results["young, mixed"]["faces"] == ages.between(18, 30).sum()
    assert results["senior, mixed"]["faces"] == ages.between(61, 100).sum()


def test_scenarios_need_enough_faces_and_masks() -> None:
    assert scenarios(random_table(count=4))["utkface"]["mixed"] == {"not_enough_faces": 4}
    assert scenarios(random_table(conditions=("clean",))) == {}
