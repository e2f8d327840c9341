import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.age_thresholds import FIRST, LAST, calibrated_tails, check_thresholds, tails
from oamface.errors import OptionError

COUNT = LAST - FIRST + 1


def distributions(count: int = 5) -> np.ndarray:
    values = np.random.default_rng(0).random((count, 101)) ** 8
    return values / values.sum(1, keepdims=True)


def test_tails_are_sums_from_each_year_on() -> None:
    ages = distributions()
    assert tails(ages)[:, 0] == pytest.approx(1)
    assert tails(ages)[:, 18] == pytest.approx(ages[:, 18:].sum(1))
    assert tails(ages)[:, 100] == pytest.approx(ages[:, 100])


def test_neutral_parameters_change_nothing() -> None:
    ages = distributions()
    for parameters in (np.tile([1.0, 1.0, 0.0], (COUNT, 1)), np.empty((0, 3))):
        assert calibrated_tails(ages, parameters) == pytest.approx(tails(ages), abs=1e-5)


def test_parameters_move_the_thresholds_that_they_are_for() -> None:
    ages, parameters = distributions(), np.tile([1.0, 1.0, 0.0], (COUNT, 1))
    parameters[18 - FIRST, 2] = -2.0
    changed = calibrated_tails(ages, parameters)
    odds = tails(ages)[:, 18] / (1 - tails(ages)[:, 18])
    assert changed[:, 18] / (1 - changed[:, 18]) == pytest.approx(odds * np.exp(-2), rel=1e-4)
    assert changed[:, 17] == pytest.approx(tails(ages)[:, 17], abs=1e-5)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(-5, 5)), min_size=COUNT, max_size=COUNT))
def test_the_probability_never_rises_with_the_years(parameters) -> None:
    probabilities = calibrated_tails(distributions(), parameters)
    assert (np.diff(probabilities, axis=1) <= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_check_thresholds_sorts_and_rejects() -> None:
    assert check_thresholds([21, 18, 21]) == (18, 21)
    assert check_thresholds(None) == check_thresholds([]) == ()
    for number in (18, np.array(18)):
        with pytest.raises(OptionError, match="expected a list of years"):
            check_thresholds(number)
    for wrong in (-1, 101, 18.0, "18", True):
        with pytest.raises(OptionError, match="whole number from 0 to 100"):
            check_thresholds([wrong])
