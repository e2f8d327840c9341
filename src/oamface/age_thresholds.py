"""The probability of looking at least so old, calibrated, for every age."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from oamface.errors import OptionError
from oamface.labels import AGES

FIRST, LAST = 10, 60  # thresholds whose probabilities are calibrated; others are sums of the distribution

FloatArray = npt.NDArray[np.float32]


def tails(ages: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, 101) distributions over the years to (N, 101): the probability of every year or more."""
    sums = np.asarray(ages, np.float64)[:, ::-1].cumsum(1)[:, ::-1]
    return np.clip(sums, 0.0, 1.0)


def calibrated_tails(ages: npt.ArrayLike, parameters: npt.ArrayLike) -> FloatArray:
    """(N, 101) as of `tails`, calibrated from FIRST to LAST years; never rising with the years.

    parameters: (LAST - FIRST + 1, 3), a, b and c of the beta calibration of every threshold (Kull et al., 2017): the
    log odds become a log p - b log (1 - p) + c. Empty: nothing is calibrated.
    """
    probabilities = tails(ages)
    table = np.asarray(parameters, np.float64).reshape(-1, 3)
    if len(table):
        years = slice(FIRST, LAST + 1)
        a, b, c = table.T
        log_p, log_q = log_odds_terms(probabilities[:, years])
        probabilities[:, years] = 1 / (1 + np.exp(-(a * log_p - b * log_q + c)))
    return np.minimum.accumulate(probabilities, axis=1).astype(np.float32)


def log_odds_terms(probabilities: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """log p and log (1 - p), p kept away from 0 and 1."""
    clipped = probabilities.clip(1e-6, 1 - 1e-6)
    return np.log(clipped), np.log1p(-clipped)


def parse_thresholds(texts: Sequence[str]) -> tuple[int, ...]:
    """Thresholds from texts with years between commas, as options give them. Raises OptionError: other texts."""
    names = [name.strip() for text in texts for name in text.split(",")]
    if not all(name.isascii() and name.isdigit() and len(name) <= 3 for name in names):
        given = ",".join(texts)[:40]
        raise OptionError(f"at_least {given!r}: expected whole numbers of years, separated by commas, such as 18,21")
    return check_thresholds([int(name) for name in names])


def check_thresholds(years: Iterable[int] | None) -> tuple[int, ...]:
    """Thresholds in ascending order, each once; None is none. Raises OptionError: not whole numbers from 0 to 100."""
    try:
        listed = () if years is None else tuple(years)
    except TypeError:
        raise OptionError(f"at_least {years!r}: expected a list of years, such as [18, 21]") from None
    for year in listed:
        if not isinstance(year, int | np.integer) or isinstance(year, bool) or not 0 <= year <= AGES[-1]:
            raise OptionError(f"at_least {year!r}: expected a whole number from 0 to {AGES[-1]} years")
    return tuple(sorted({int(year) for year in listed}))
