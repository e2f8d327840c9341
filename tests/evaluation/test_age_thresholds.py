import numpy as np
import pytest

from oamface.evaluation.age_thresholds import (
    calibration_error,
    false_accept,
    false_refuse,
    operating_points,
    rate,
)

TRUE = np.array([10, 13, 14, 15, 16, 17, 18, 24, 25, 30, 60])
ESTIMATED = np.array([30.0, 12, 19, 18, 17, 26, 17, 20, 24, 17, 50])


def test_rate_has_wilson_interval() -> None:
    share = rate(np.array([True] * 5 + [False] * 95))
    assert (share.value, share.n) == (0.05, 100)
    assert share.low == pytest.approx(0.0215, abs=1e-3)
    assert share.high == pytest.approx(0.1118, abs=1e-3)
    assert rate(np.zeros(0, bool)).n == 0
    assert str(rate(np.zeros(0, bool))) == "-"


def test_false_accepts_are_of_the_five_years_below_the_threshold() -> None:
    assert false_accept(ESTIMATED, TRUE, 18, 18)[::3] == (3 / 5, 5)
    assert false_accept(ESTIMATED, TRUE, 18, 25).value == 1 / 5
    assert false_accept(ESTIMATED, TRUE, 16, 16)[::3] == (2 / 3, 3)  # 13, 14 and 15 years


def test_false_refuses_are_of_adults_of_25_and_more() -> None:
    assert false_refuse(ESTIMATED, TRUE, 18, 18)[::3] == (1 / 3, 3)
    assert false_refuse(ESTIMATED, TRUE, 18, 25).value == 2 / 3
    assert false_refuse(ESTIMATED, TRUE, 60, 60)[::3] == (1, 1)


def test_operating_points_are_the_least_challenges() -> None:
    points = operating_points(ESTIMATED, TRUE, 18, wanted=(0.5, 0.1))
    assert [(point.challenge, point.accept.value) for point in points] == [(19, 2 / 5), (27, 0)]
    assert not operating_points(np.full(11, 90.0), TRUE, 18, wanted=(0.1,))


def test_calibration_error_of_right_and_wrong_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    true = np.where(rng.random(20_000) < probabilities, 30, 10)
    assert calibration_error(probabilities, true, 18) < 0.02
    assert calibration_error(np.full(20_000, 0.9), true, 18) == pytest.approx(0.4, abs=0.02)
