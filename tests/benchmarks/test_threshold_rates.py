import numpy as np
import pytest
from threshold_rates import (
    Ages,
    calibration_error,
    false_accept,
    false_refuse,
    operating_points,
    passing_challenge,
    rate,
    referral,
    reliability,
    trade_off,
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


def test_operating_points_are_the_least_challenges_shown_on_others() -> None:
    chosen, others = Ages(ESTIMATED, TRUE), Ages(np.array([19.0, 10, 40, 18]), np.array([17, 13, 30, 50]))
    points = operating_points(chosen, chosen, 18, wanted=(0.5, 0.1))
    assert [(point.challenge, point.accepted.value, point.passed.value) for point in points] == [
        (19, 2 / 5, 2 / 3),
        (27, 0, 1 / 3),
    ]
    (point,) = operating_points(chosen, others, 18, wanted=(0.5,))
    assert (point.challenge, point.accepted[::3], point.passed[::3]) == (19, (1 / 2, 2), (1 / 2, 2))
    people = Ages(np.full(11, 90.0), TRUE)
    assert not operating_points(people, people, 18, wanted=(0.1,))


def test_trade_off_falls_and_rises_with_the_challenge() -> None:
    curve = trade_off(Ages(ESTIMATED, TRUE), 18, range(18, 31))
    assert [point.challenge for point in curve] == list(range(18, 31))
    assert (np.diff([point.false_accept for point in curve]) <= 0).all()
    assert (np.diff([point.false_refuse for point in curve]) >= 0).all()


def test_reliability_compares_probabilities_with_shares() -> None:
    probabilities = np.array([0.05, 0.05, 0.95, 1.0])
    low, high = reliability(probabilities, np.array([10, 20, 20, 30]), 18)
    assert (low[0], low[1].value, low[1].n) == (pytest.approx(0.05), 0.5, 2)
    assert (high[0], high[1].value) == (pytest.approx(0.975), 1)


def test_referral_counts_the_referred_as_not_passed() -> None:
    true = np.array([15, 16, 30, 40, 50])
    accept, refer = np.array([True, False, True, False, False]), np.array([False, True, False, True, False])
    found = referral(accept, refer, true)
    assert [one.value for one in found] == [2 / 5, 1 / 3, 1 / 2, 1 / 3, 1 / 2]


def test_passing_challenge_passes_that_share_of_adults() -> None:
    people = Ages(np.arange(20.0, 120), np.full(100, 40))
    for share in (1.0, 0.9, 0.5):
        assert (people.estimated >= passing_challenge(people, share)).mean() == share


def test_calibration_error_of_right_and_wrong_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    true = np.where(rng.random(20_000) < probabilities, 30, 10)
    assert calibration_error(probabilities, true, 18) < 0.02
    assert calibration_error(np.full(20_000, 0.9), true, 18) == pytest.approx(0.4, abs=0.02)
