"""Intervals for any metric: the percentile bootstrap over faces (Efron, 1979)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.evaluation.metrics import Figures

RESAMPLES = 1000
LEVEL = 0.95
_TOGETHER = 100  # resamples at once: their weights stay in the processor's cache

Figure = dict[str, float]  # value, low, high


def bootstrap(
    metric: Callable[..., Figures], *arrays: npt.NDArray[Any], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Every figure of `metric(*arrays)` with its interval; faces are the arrays' first axis, drawn jointly.

    metric: as in oamface.evaluation.metrics. A figure that is NaN for the faces at hand is left out, and so are resamples
    in which it is. No faces at all give {}.
    """
    count = len(arrays[0])
    if not count:
        return {}
    values = metric(*arrays)
    drawn = [metric(*arrays, weights=weights) for weights in resampled(count, resamples, seed)]
    figures = {}
    for name, value in values.items():
        if np.isfinite(value[0]):
            low, high = interval(np.concatenate([part[name] for part in drawn]))
            figures[name] = {"value": float(value[0]), "low": low, "high": high}
    return figures


def described(resamples: int) -> dict[str, Any]:
    """How the intervals were made, for result files."""
    return {"level": LEVEL, "resamples": resamples, "method": "percentile bootstrap over faces"}


def resampled(count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each of `count` faces is in each resample: blocks (R, count) of all resamples."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _TOGETHER):
        rows = rng.integers(0, count, (min(_TOGETHER, resamples - start), count))
        yield np.stack([np.bincount(row, minlength=count) for row in rows]).astype(np.float64)


def interval(drawn: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The percentile interval at LEVEL of what resamples gave, NaN left out."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn[np.isfinite(drawn)], (tail, 1 - tail))
    return float(low), float(high)
