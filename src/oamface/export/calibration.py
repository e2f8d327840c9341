"""How sure the answers may sound: temperatures and age intervals, fitted on faces that training never saw."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from oamface.errors import DataError
from oamface.predictor import age_deviation

LEVEL = 0.9  # of the age intervals
NEAREST, WITHIN = 150, 3  # faces, years: what a year's quantile is taken over

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def fit_temperature(logits: FloatArray, members: BoolArray) -> float:
    """The divisor of the logits (N, C) that makes the labels' sets (N, C) most probable (Guo et al., 2017).

    1 when no label says anything. Within 0.2 to 5.
    """
    known = ~members.all(1)
    if not known.any():
        return 1.0
    logits, members = logits[known].astype(np.float64), members[known]

    def surprise(exponent: float) -> float:
        scores = log_softmax(logits / np.exp(exponent), axis=1)
        return -float(logsumexp(scores, axis=1, b=members).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(np.log(0.2), np.log(5)), method="bounded").x))


def fit_quantiles(logits: FloatArray, members: BoolArray, *, level: float = LEVEL) -> FloatArray:
    """(101,): how many of (deviation + 1) the answer lies off, at most, in `level` of the faces of each true year.

    logits, members: (N, 101). Label-conditional split conformal prediction (Vovk, 2012) with normalised scores (Lei et
    al., 2018): each year's quantile is that of the faces nearest to it in age, at least NEAREST of them and all within
    WITHIN years, so that the intervals hold at every age and not only on average. Where fewer than NEAREST ages are
    exact, each range stands for a year drawn from the answer's own distribution inside it.
    Raises DataError: fewer faces of known age than the level needs.
    """
    exact = members.sum(1) == 1
    if exact.sum() < NEAREST:
        exact = ~members.all(1)
    least = int(np.ceil(level / (1 - level)))
    if exact.sum() < least:
        raise DataError(f"age intervals at {level:.0%} take {least} faces of known age, the stores hold {exact.sum()}")
    true, scores = (values[exact] for values in _true_and_scores(logits, members))
    years = np.arange(logits.shape[1])
    quantiles = np.empty(len(years), np.float32)
    for year in years:
        away = np.abs(true - year)
        near = scores[away <= max(WITHIN, np.sort(away)[:NEAREST][-1])]
        quantiles[year] = _quantile(near, level)
    return quantiles


def widened(quantiles: FloatArray, logits: FloatArray, members: BoolArray, *, level: float = LEVEL) -> FloatArray:
    """(101,): quantiles, none below that of these faces all together, so that intervals hold for `level` of them too.

    For faces too few to have quantiles of their own for every year. logits, members: (N, 101), N may be 0; with fewer
    than fit_quantiles takes, the worst face counts.
    """
    known = ~members.all(1)
    if not known.any():
        return quantiles
    _, scores = _true_and_scores(logits[known], members[known])
    return np.maximum(quantiles, _quantile(scores, level)).astype(np.float32)


def _true_and_scores(logits: FloatArray, members: BoolArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """(N,) each: the true year, drawn inside a range, and how many of (deviation + 1) the answer lies off it."""
    ages = softmax(logits, axis=1).astype(np.float32)
    sums = (np.where(members, ages, 0).astype(np.float64) + 1e-12 * members).cumsum(1)
    drawn = np.random.default_rng(0).random(len(ages)) * sums[:, -1]
    true = (sums < drawn[:, None]).sum(1)
    return true, np.abs(ages @ np.arange(ages.shape[1]) - true) / (age_deviation(ages) + 1)


def _quantile(scores: FloatArray, level: float) -> float:
    """The score that `level` of further faces stay below, as far as so many faces can tell."""
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * level)))
    return float(np.sort(scores)[rank - 1])
