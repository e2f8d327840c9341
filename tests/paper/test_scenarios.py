import zlib

import numpy as np
import pytest

from helpers.predictions import table
from oamface.evaluation.predictions import PredictionTable
from oamface.paper.scenarios import SCENARIOS, scenarios


@pytest.fixture(scope="module")
def found() -> dict:
    return scenarios(table(count=300), resamples=20)["utkface"]


def test_all_five_are_there(found) -> None:
    assert tuple(found) == SCENARIOS
    assert found["all masked"]["faces"] == found["none masked"]["faces"] == found["mixed"]["faces"] == 300


def test_mixed_shows_each_face_once_half_of_them_masked() -> None:
    said = table(count=300)
    always = said.table.copy()
    always["mask=none"], always["mask=incorrect or worn"] = 1.0, 0.0
    mixed = scenarios(PredictionTable(always, said.classes, {}, {}), resamples=20)["utkface"]["mixed"]
    bare = np.mean([zlib.crc32(f"{number}.png".encode()) % 2 == 0 for number in range(300)])
    assert mixed["mask"]["accuracy"]["value"] == pytest.approx(bare)


def test_young_and_senior_are_of_their_years(found) -> None:
    ages = table(count=300).part("utkface", "clean").rows["age_true"]
    assert found["young, mixed"]["faces"] == ages.between(18, 30).sum()
    assert found["senior, mixed"]["faces"] == ages.between(61, 100).sum()


def test_too_few_faces_are_said() -> None:
    assert scenarios(table(count=4))["utkface"]["mixed"] == {"not_enough_faces": 4}
    assert scenarios(table(conditions=("clean",))) == {}
