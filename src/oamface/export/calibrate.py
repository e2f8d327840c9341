"""How sure the answers may sound: temperatures and age intervals, fitted on faces that training never saw."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from oamface.engine import age_deviation
from oamface.errors import DataError

LEVEL = 0.9  # of the age intervals

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


def fit_quantile(logits: FloatArray, members: BoolArray, *, level: float = LEVEL) -> float:
    """How many of (deviation + 1) an age interval has to reach so that `level` of the exactly known ages lie inside.

    logits, members: (N, 101). Split conformal prediction with normalised scores (Lei et al., 2018).
    Raises DataError: fewer exact ages than the level needs.
    """
    exact = members.sum(1) == 1
    least = int(np.ceil(level / (1 - level)))
    if exact.sum() < least:
        raise DataError(f"age intervals at {level:.0%} take {least} faces of exact age, the stores hold {exact.sum()}")
    ages = softmax(logits[exact], axis=1).astype(np.float32)
    away = np.abs(ages @ np.arange(ages.shape[1]) - members[exact].argmax(1))
    scores = away / (age_deviation(ages) + 1)
    rank = min(1.0, np.ceil((len(scores) + 1) * level) / len(scores))
    return float(np.quantile(scores, rank, method="higher"))
