"""Confidence intervals for any metric: the percentile bootstrap over faces (Efron, 1979)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.evaluation.metrics import MetricValues

RESAMPLES = 1000
LEVEL = 0.95
_BLOCK = 100  # resamples computed at once: their weights stay in the processor's cache

Estimate = dict[str, float]  # value, low, high: a measured value and its 95 % interval


def bootstrap(
    metric: Callable[..., MetricValues],
    *arrays: npt.NDArray[Any],
    resamples: int = RESAMPLES,
    seed: int = 0,
    unbiased: bool = False,
) -> dict[str, Estimate]:
    """Metric name to its value and confidence interval for `metric(*arrays)`; {} for no faces.

    metric: as in oamface.evaluation.metrics. arrays: faces along the first axis, resampled jointly. A metric that is
    NaN for the given faces is left out; so are resamples in which it is NaN. unbiased: for metrics of at least 0 that
    chance raises, such as a calibration error; the bias that resampling shows is subtracted (Efron and Tibshirani,
    1993, chapter 10), from the interval twice, since resampling adds to the bias of the given faces.
    """
    count = len(arrays[0])
    if not count:
        return {}
    values = metric(*arrays)
    resampled = [metric(*arrays, weights=weights) for weights in resample_weights(count, resamples, seed)]
    figures = {}
    for name, value in values.items():
        if np.isfinite(value[0]):
            samples = np.concatenate([block[name] for block in resampled])
            figures[name] = _figure(float(value[0]), samples[np.isfinite(samples)], unbiased=unbiased)
    return figures


def _figure(value: float, samples: npt.NDArray[np.floating], *, unbiased: bool) -> Estimate:
    low, high = percentile_interval(samples)
    if unbiased:
        bias = float(samples.mean()) - value
        value, low, high = (max(0.0, figure) for figure in (value - bias, low - 2 * bias, high - 2 * bias))
    return {"value": value, "low": low, "high": high}


def describe_interval(resamples: int) -> dict[str, Any]:
    """How the intervals were computed, for result files."""
    return {"level": LEVEL, "resamples": resamples, "method": "percentile bootstrap over faces"}


def resample_weights(count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Blocks (R, count) of all resamples: how often each of `count` faces was drawn."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        rows = rng.integers(0, count, (min(_BLOCK, resamples - start), count))
        yield np.stack([np.bincount(row, minlength=count) for row in rows]).astype(np.float64)


def percentile_interval(resampled: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Lower and upper percentile at LEVEL of the values of all resamples, NaN left out."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled[np.isfinite(resampled)], (tail, 1 - tail))
    return float(low), float(high)
