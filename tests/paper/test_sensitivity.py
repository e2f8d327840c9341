import numpy as np
import pytest

from oamface.analyzer import Analyzer
from oamface.paper.sensitivity import FACTORS, counterfactual, markdown


@pytest.fixture(scope="module")
def measured(shapes):
    chosen = [factor for factor in FACTORS if factor.name in ("age", "mask", "surroundings")]
    done = []
    figures = counterfactual(
        Analyzer(), shapes, count=6, factors=chosen, workers=2, on_progress=lambda *what: done.append(what)
    )
    return figures, done


def test_every_level_of_every_factor_is_measured_on_the_same_people(measured) -> None:
    figures, done = measured
    assert figures["people"] == 6
    assert {name: len(levels) for name, levels in figures["factors"].items()} == {
        "age": 6,
        "mask": 7,
        "surroundings": 5,
    }
    assert done[-1] == (6 * 18, 6 * 18)


def test_at_the_base_nothing_has_changed(measured) -> None:
    for levels in measured[0]["factors"].values():
        base = next(iter(levels.values()))
        assert base["found"]["value"] == 1
        assert base["age_moved"]["value"] == 0
        assert base["gender_changed"] == {"value": 0, "low": 0, "high": 0}


def test_what_is_changed_moves_its_own_answer(measured) -> None:
    factors = measured[0]["factors"]
    errors = [factors["age"][f"{age} years"]["age_error"]["value"] + age for age in (20, 40, 60, 75)]
    assert errors[0] < errors[2] < errors[3]
    assert factors["mask"]["surgical"]["mask_changed"]["value"] > 0.6
    assert factors["surroundings"]["park"]["mask_changed"]["value"] < 0.5
    for figure in factors["age"]["20 years"].values():
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert np.isfinite(figure["value"])


def test_the_tables_name_everything(measured) -> None:
    text = markdown(measured[0], "oam")
    assert "## mask" in text
    assert "| surgical, on the chin |" in text
    assert text.count("\n|") == 3 * 2 + 18
