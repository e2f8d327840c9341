"""Age thresholds in the terms of NIST's evaluation (Age Estimation and Verification): false accepts and false refuses.

A face is accepted at a threshold with a challenge age if it is estimated at the challenge age or more. Minors are the
people up to five years below the threshold, of whom most errors are; adults are those of 25 years and more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from oamface.evaluation.tables import rate_text

MINOR_SPAN = 5  # years below a threshold
ADULTS_FROM = 25  # years

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]


class Rate(NamedTuple):
    """A share of n faces, with its 95 % interval (Wilson, 1927). NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return rate_text(self)


def rate(events: BoolArray) -> Rate:
    """The share of True among (N,) events."""
    if not len(events):
        return Rate(np.nan, np.nan, np.nan, 0)
    test = binomtest(int(events.sum()), len(events))
    low, high = test.proportion_ci(0.95, "wilson")
    return Rate(test.statistic, low, high, len(events))


def minors(true: IntArray, threshold: int) -> BoolArray:
    """(N,) whether a person of `true` years is one of the MINOR_SPAN years below the threshold."""
    return (true >= threshold - MINOR_SPAN) & (true < threshold)


def false_accept(estimated: FloatArray, true: IntArray, threshold: int, challenge: int) -> Rate:
    """The share of minors that are estimated at the challenge age or more. estimated, true: (N,) years."""
    return rate(estimated[minors(true, threshold)] >= challenge)


def false_refuse(estimated: FloatArray, true: IntArray, threshold: int, challenge: int) -> Rate:
    """The share of adults, from ADULTS_FROM years or from the threshold on, that are estimated below the challenge."""
    return rate(estimated[true >= max(ADULTS_FROM, threshold)] < challenge)


class Ages(NamedTuple):
    """People: (N,) estimated and (N,) true years."""

    estimated: FloatArray
    true: IntArray


class OperatingPoint(NamedTuple):
    """A challenge age chosen for a false accept rate, and what it gives on other people.

    accepted: of minors; passed: of adults from ADULTS_FROM years on.
    """

    wanted: float
    challenge: int
    accepted: Rate
    passed: Rate


def operating_points(
    chosen: Ages, shown: Ages, threshold: int, wanted: Sequence[float] = (0.1, 0.05, 0.01, 0.001)
) -> list[OperatingPoint]:
    """One for each wanted rate that some challenge age up to 60 years reaches.

    chosen, shown: the people who the least such challenge is chosen on, and those it is measured on.
    """
    points = []
    for rate_wanted in wanted:
        for challenge in range(threshold, 61):
            if false_accept(*chosen, threshold, challenge).value <= rate_wanted:
                accepted = false_accept(*shown, threshold, challenge)
                passed = rate(shown.estimated[shown.true >= max(ADULTS_FROM, threshold)] >= challenge)
                points.append(OperatingPoint(rate_wanted, challenge, accepted, passed))
                break
    return points


class TradeOff(NamedTuple):
    """One point of a detection error trade-off curve."""

    challenge: int
    false_accept: float
    false_refuse: float


def trade_off(people: Ages, threshold: int, challenges: Sequence[int]) -> list[TradeOff]:
    """The curve of a threshold over the challenge ages."""
    return [
        TradeOff(
            challenge,
            false_accept(*people, threshold, challenge).value,
            false_refuse(*people, threshold, challenge).value,
        )
        for challenge in challenges
    ]


def reliability(probabilities: FloatArray, true: IntArray, threshold: int, bins: int = 10) -> list[tuple[float, Rate]]:
    """The mean of (N,) probabilities of being at least the threshold and the share who are, in bins of equal width."""
    number = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        (float(probabilities[number == at].mean()), rate(true[number == at] >= threshold))
        for at in range(bins)
        if (number == at).any()
    ]


class Referral(NamedTuple):
    """A policy that may refer. Rates of minors and of adults from ADULTS_FROM years on, at the age 18.

    referred, referred_adults: of all people, and of adults. accepted: of all minors. passed: of all adults, where a
    referred adult has not passed. passed_answered: of the adults who are not referred.
    """

    referred: Rate
    referred_adults: Rate
    accepted: Rate
    passed: Rate
    passed_answered: Rate


def referral(accept: BoolArray, refer: BoolArray, true: IntArray, threshold: int = 18) -> Referral:
    """What a policy does: (N,) whether it accepts and whether it refers people of `true` years."""
    young, old = minors(true, threshold), true >= max(ADULTS_FROM, threshold)
    return Referral(rate(refer), rate(refer[old]), rate(accept[young]), rate(accept[old]), rate(accept[old & ~refer]))


def passing_challenge(people: Ages, passed: float, threshold: int = 18) -> float:
    """The largest challenge, in years and parts of them, at which that share of adults is accepted."""
    estimated = np.sort(people.estimated[people.true >= max(ADULTS_FROM, threshold)])
    return float(estimated[min(len(estimated) - 1, round((1 - passed) * len(estimated)))])


def calibration_error(probabilities: FloatArray, true: IntArray, threshold: int, bins: int = 10) -> float:
    """The expected calibration error of (N,) probabilities of being at least the threshold, in bins of equal counts."""
    order = np.argsort(probabilities, kind="stable")
    events = true[order] >= threshold
    parts = zip(np.array_split(probabilities[order], bins), np.array_split(events, bins), strict=True)
    return float(sum(abs(p.mean() - e.mean()) * len(e) for p, e in parts if len(e)) / max(1, len(true)))
