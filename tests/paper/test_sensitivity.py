import numpy as np
import pytest

from oamface.analyzer import Analyzer
from oamface.paper.sensitivity import FACTORS, markdown, measure_sensitivity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def measured(head_model, progress):
    factors = [factor for factor in FACTORS if factor.name in ("age", "mask", "surroundings")]
    return measure_sensitivity(
        Analyzer(), head_model, count=3, factors=factors, workers=2, on_progress=lambda *done: progress.append(done)
    )


def test_every_level_is_measured_on_the_same_people(measured, progress) -> None:
    assert measured["people"] == 3
    counts = {name: len(levels) for name, levels in measured["factors"].items()}
    assert counts == {"age": 6, "mask": 7, "surroundings": 5}
    assert progress[-1] == (3 * 18, 3 * 18)


def test_nothing_changes_at_baseline(measured) -> None:
    for levels in measured["factors"].values():
        baseline = next(iter(levels.values()))
        assert baseline["detected"]["value"] == 1
        assert baseline["age_shift"]["value"] == 0
        assert baseline["gender_flips"] == {"value": 0, "low": 0, "high": 0}


def test_factor_changes_prediction_of_its_own_task(measured) -> None:
    factors = measured["factors"]
    predicted = [factors["age"][f"{age} years"]["age_bias"]["value"] + age for age in (20, 40, 60, 75)]
    assert predicted[0] < predicted[2] < predicted[3]
    assert factors["mask"]["surgical"]["mask_flips"]["value"] > 0.6
    assert factors["surroundings"]["park"]["mask_flips"]["value"] < 0.5
    for estimate in factors["age"]["20 years"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert np.isfinite(estimate["value"])


def test_markdown_has_a_row_for_every_level(measured) -> None:
    text = markdown(measured)
    assert "## mask" in text
    assert "| surgical, on the chin |" in text
    assert text.count("\n|") == 3 * 2 + 18
