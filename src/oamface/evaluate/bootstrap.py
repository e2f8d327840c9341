"""Intervals for any metric: the percentile bootstrap over faces (Efron, 1979)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEVEL = 0.95

Figure = dict[str, float]  # value, low, high


def bootstrap(
    metric: Callable[..., dict[str, float]], *arrays: npt.NDArray[Any], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Every figure of `metric(*arrays)` with its interval; faces are the arrays' first axis, drawn jointly.

    What is NaN stays out of the interval; a figure that always is NaN has NaN bounds. No faces at all give {}.
    """
    count = len(arrays[0])
    if not count:
        return {}
    values = metric(*arrays)
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(resamples):
        rows = rng.integers(0, count, count)
        for name, value in metric(*(array[rows] for array in arrays)).items():
            draws[name].append(value)
    tail = (1 - LEVEL) / 2
    figures = {}
    for name, value in values.items():
        known = np.array(draws[name])[np.isfinite(draws[name])]
        low, high = np.quantile(known, (tail, 1 - tail)) if len(known) else (np.nan, np.nan)
        figures[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return figures
