"""The metrics, pure functions of what was answered and what is true. Knows neither models nor data sets."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]


def age_metrics(years: FloatArray, truth: FloatArray) -> dict[str, float]:
    """(N,) years answered and true: mean absolute and root mean square error, Pearson's r, shares within 5 and 10.

    r is NaN where either side is constant.
    """
    away = np.abs(years - truth)
    return {
        "mae": float(away.mean()),
        "rmse": float(np.sqrt((away**2).mean())),
        "r": _correlation(years, truth),
        "within_5": float((away <= 5).mean()),
        "within_10": float((away <= 10).mean()),
    }


def interval_metrics(low: FloatArray, high: FloatArray, truth: FloatArray) -> dict[str, float]:
    """(N,) bounds and true years: the share of truths inside, and the mean width in years."""
    inside = (low <= truth) & (truth <= high)
    return {"coverage": float(inside.mean()), "width": float((high - low).mean())}


def class_metrics(probabilities: FloatArray, truth: IntArray) -> dict[str, float]:
    """(N, K) probabilities and (N,) true classes: accuracy; precision, recall and F1, each the mean over classes; AUC.

    Classes that are neither true nor answered are left out of the means. AUC is the mean over classes of one against
    the rest, NaN where only one class occurs.
    """
    classes = probabilities.shape[1]
    answer = probabilities.argmax(1)
    confusion = confusion_matrix(answer, truth, classes)
    right, answered, true = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    present = (answered + true) > 0
    precision, recall = right / np.maximum(answered, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(answered + true, 1)
    areas = [auc(probabilities[:, name], truth == name) for name in range(classes) if 0 < true[name] < len(truth)]
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "precision": float(precision[present].mean()),
        "recall": float(recall[present].mean()),
        "f1": float(f1[present].mean()),
        "auc": float(np.mean(areas)) if areas else float("nan"),
    }


def confusion_matrix(answer: IntArray, truth: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """(classes, classes) counts: rows are true, columns answered."""
    return np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)


def auc(scores: FloatArray, positive: BoolArray) -> float:
    """Area under the ROC curve: how often a positive scores above a negative (Mann-Whitney). NaN without both."""
    count = int(positive.sum())
    rest = len(positive) - count
    if not count or not rest:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest))


def attention_on_covered(attention: FloatArray, coverage: FloatArray) -> dict[str, float]:
    """Share of the attention's weight that falls on what is covered, over the covered share of the area: 0 is ideal.

    attention, coverage: (N, h, w) in 0..1 over the same grid. 1 is what a blind map would give; NaN if all is bare.
    """
    weight = attention.sum((1, 2)).clip(1e-9)
    share = ((attention * coverage).sum((1, 2)) / weight).mean()
    area = coverage.mean()
    return {"on_covered": float(share / area) if area > 0 else float("nan")}


def _correlation(one: FloatArray, other: FloatArray) -> float:
    one, other = one - one.mean(), other - other.mean()
    length = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / length) if length > 0 else float("nan")
