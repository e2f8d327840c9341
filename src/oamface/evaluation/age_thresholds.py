"""Age thresholds in the terms of NIST's evaluation (Age Estimation and Verification): false accepts and false refuses.

A face is accepted at a threshold with a challenge age if it is estimated at the challenge age or more. Minors are the
people up to five years below the threshold, of whom most errors are; adults are those of 25 years and more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

MINOR_SPAN = 5  # years below a threshold
ADULTS_FROM = 25  # years

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


class Rate(NamedTuple):
    """A share of n faces, with its 95 % interval (Wilson, 1927). NaN where n is 0."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n})" if self.n else "-"


def rate(events: npt.NDArray[np.bool_]) -> Rate:
    """The share of True among (N,) events."""
    count = len(events)
    if not count:
        return Rate(np.nan, np.nan, np.nan, 0)
    share, z = float(np.mean(events)), float(norm.ppf(0.975))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Rate(share, max(0.0, centre - reach), min(1.0, centre + reach), count)


def minors(true: IntArray, threshold: int) -> npt.NDArray[np.bool_]:
    """(N,) whether a person of `true` years is one of the MINOR_SPAN years below the threshold."""
    return (true >= threshold - MINOR_SPAN) & (true < threshold)


def false_accept(estimated: FloatArray, true: IntArray, threshold: int, challenge: int) -> Rate:
    """The share of minors that are estimated at the challenge age or more. estimated, true: (N,) years."""
    return rate(estimated[minors(true, threshold)] >= challenge)


def false_refuse(estimated: FloatArray, true: IntArray, threshold: int, challenge: int) -> Rate:
    """The share of adults, from ADULTS_FROM years or from the threshold on, that are estimated below the challenge."""
    return rate(estimated[true >= max(ADULTS_FROM, threshold)] < challenge)


class OperatingPoint(NamedTuple):
    """The least challenge age whose false accept rate is at most `wanted`, and what it costs."""

    wanted: float
    challenge: int
    accept: Rate
    refuse: Rate


def operating_points(
    estimated: FloatArray, true: IntArray, threshold: int, wanted: Sequence[float] = (0.1, 0.05, 0.01, 0.001)
) -> list[OperatingPoint]:
    """One for each wanted rate that some challenge age up to 60 years reaches."""
    points = []
    for rate_wanted in wanted:
        for challenge in range(threshold, 61):
            accept = false_accept(estimated, true, threshold, challenge)
            if accept.value <= rate_wanted:
                refuse = false_refuse(estimated, true, threshold, challenge)
                points.append(OperatingPoint(rate_wanted, challenge, accept, refuse))
                break
    return points


def calibration_error(probabilities: FloatArray, true: IntArray, threshold: int, bins: int = 10) -> float:
    """The expected calibration error of (N,) probabilities of being at least the threshold, in bins of equal counts."""
    order = np.argsort(probabilities, kind="stable")
    events = true[order] >= threshold
    parts = zip(np.array_split(probabilities[order], bins), np.array_split(events, bins), strict=True)
    return float(sum(abs(p.mean() - e.mean()) * len(e) for p, e in parts if len(e)) / max(1, len(true)))
