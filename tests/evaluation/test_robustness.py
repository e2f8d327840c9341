import numpy as np
import pandas as pd
import pytest

from helpers.predictions import random_table
from oamface.evaluation.conditions import CLEAN, CORRUPTED
from oamface.evaluation.corruptions import CORRUPTIONS, IMAGENET_C, STRENGTHS
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.robustness import corruption_errors

CLASSES = {"gender": ["male", "female"]}


@pytest.fixture(scope="module")
def tables() -> list[PredictionTable]:
    conditions = (CLEAN, *CORRUPTED)
    return [
        random_table(seed=seed, count=60, accuracy=accuracy, conditions=conditions, classes=CLASSES)
        for seed, accuracy in ((1, 0.8), (2, 0.4))
    ]


def test_errors_are_those_of_the_definition(tables) -> None:
    rows = corruption_errors(*tables, resamples=20)
    assert [(row["data_set"], row["task"], row["faces"]) for row in rows] == [
        ("utkface", "age", 60),
        ("utkface", "gender", 60),
    ]
    wrong = [
        {
            name: np.mean(
                [1 - table.subset("utkface", f"{name}_{strength}").correct("gender").mean() for strength in STRENGTHS]
            )
            for name in CORRUPTIONS
        }
        for table in tables
    ]
    clean = 1 - tables[0].subset("utkface", CLEAN).correct("gender").mean()
    gender = rows[1]
    assert gender["clean"]["value"] == pytest.approx(clean)
    for name in CORRUPTIONS:
        assert gender["ce"][name]["value"] == pytest.approx(wrong[0][name] / wrong[1][name])
    assert gender["mce"]["value"] == pytest.approx(np.mean([wrong[0][name] / wrong[1][name] for name in IMAGENET_C]))
    assert gender["mce"]["low"] < gender["mce"]["value"] < gender["mce"]["high"] < 1


def test_a_model_relative_to_itself_is_one(tables) -> None:
    for row in corruption_errors(tables[0], tables[0], resamples=20):
        assert row["mce"] == {"value": 1, "low": 1, "high": 1}


def test_tasks_need_all_corruptions(tables) -> None:
    table = tables[0].table
    without = PredictionTable(table[table.condition != "fog_3"], tables[0].classes, {}, {})
    assert corruption_errors(without, without) == []


def test_faces_are_matched_by_name(tables) -> None:
    shuffled = pd.concat([tables[0].table.sample(frac=1, random_state=0)], ignore_index=True)
    same = PredictionTable(shuffled, tables[0].classes, {}, {})
    one, other = (corruption_errors(table, tables[1], resamples=5)[1]["mce"]["value"] for table in (same, tables[0]))
    assert one == pytest.approx(other)
