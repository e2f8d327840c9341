"""The metrics, pure functions of what was answered and what is true. Knows neither models nor data sets.

Each takes arrays of N faces and, by name, weights (R, N): R resamples, how often each has every face; all faces once
when left out. Each returns its figures by name as (R,) arrays, NaN where a resample cannot say.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
Figures = dict[str, npt.NDArray[np.float64]]

BINS = 15  # of confidence, for calibration


def age_metrics(years: FloatArray, truth: FloatArray, *, weights: FloatArray | None = None) -> Figures:
    """(N,) years answered and true: mean absolute, signed and root mean square error, Pearson's r, shares within 5, 10.

    r is NaN where either side is constant.
    """
    away = np.asarray(years, float) - truth
    x, y = years - np.mean(years), truth - np.mean(truth)
    columns = [np.abs(away), away, away**2, np.abs(away) <= 5, np.abs(away) <= 10, x, y, x * x, y * y, x * y]
    mae, bias, square, five, ten, mx, my, xx, yy, xy = _means(np.stack(columns, 1), weights).T
    spread = np.sqrt(np.maximum(xx - mx**2, 0) * np.maximum(yy - my**2, 0))
    return {
        "mae": mae,
        "bias": bias,
        "rmse": np.sqrt(square),
        "r": _ratio(xy - mx * my, np.where(spread > 1e-9, spread, 0)),
        "within_5": five,
        "within_10": ten,
    }


def interval_metrics(
    low: FloatArray, high: FloatArray, truth: FloatArray, *, weights: FloatArray | None = None
) -> Figures:
    """(N,) bounds and true years: the share of truths inside, and the mean width in years."""
    coverage, width = _means(np.stack([(low <= truth) & (truth <= high), high - low], 1), weights).T
    return {"coverage": coverage, "width": width}


def class_metrics(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> Figures:
    """(N, K) probabilities and (N,) true classes: accuracy; precision, recall and F1, each the mean over classes; AUC.

    Classes that are neither true nor answered are left out of the means. AUC is the mean over classes of one against
    the rest, NaN where only one class occurs.
    """
    classes = probabilities.shape[1]
    confusion = confusion_matrices(probabilities.argmax(1), truth, classes, weights=weights)
    right, answered, true = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2)
    present = (answered + true) > 0
    parts = {"precision": right / answered.clip(1), "recall": right / true.clip(1)}
    parts["f1"] = 2 * right / (answered + true).clip(1)
    areas = np.stack([auc(probabilities[:, name], truth == name, weights=weights) for name in range(classes)])
    known = np.isfinite(areas)
    return {
        "accuracy": right.sum(1) / confusion.sum((1, 2)),
        **{name: _ratio((part * present).sum(1), present.sum(1)) for name, part in parts.items()},
        "auc": _ratio(np.where(known, areas, 0).sum(0), known.sum(0)),
    }


def binary_metrics(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> Figures:
    """(N, 2) probabilities, (N,) 0 or 1: accuracy and AUC; precision, recall and F1 of class 1."""
    confusion = confusion_matrices(probabilities.argmax(1), truth, 2, weights=weights)
    right, answered, true = confusion[:, 1, 1], confusion[:, :, 1].sum(1), confusion[:, 1].sum(1)
    return {
        "accuracy": (confusion[:, 0, 0] + right) / confusion.sum((1, 2)),
        "precision": _ratio(right, answered),
        "recall": _ratio(right, true),
        "f1": _ratio(2 * right, answered + true),
        "auc": auc(probabilities[:, 1], truth == 1, weights=weights),
    }


def confusion_matrices(
    answer: IntArray, truth: IntArray, classes: int, *, weights: FloatArray | None = None
) -> npt.NDArray[np.float64]:
    """(R, classes, classes) counts: rows are true, columns answered."""
    cells = np.eye(classes**2)[truth * classes + answer]
    return (_weights(len(truth), weights) @ cells).reshape(-1, classes, classes)


def auc(scores: FloatArray, positive: BoolArray, *, weights: FloatArray | None = None) -> npt.NDArray[np.float64]:
    """Area under the ROC curve: how often a positive scores above a negative (Mann-Whitney), ties half.

    NaN without both.
    """
    order = np.argsort(scores, kind="stable")
    ordered, counts = scores[order], _weights(len(scores), weights)[:, order]
    ours, rest = counts * positive[order], counts * ~positive[order]
    below = np.concatenate([np.zeros((len(rest), 1)), rest.cumsum(1)], 1)
    first, last = np.searchsorted(ordered, ordered, "left"), np.searchsorted(ordered, ordered, "right")
    wins = (ours * (below[:, first] + below[:, last]) / 2).sum(1)
    return _ratio(wins, ours.sum(1) * rest.sum(1))


def calibration_error(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> Figures:
    """(N, K) and (N,): expected calibration error, the mean over BINS of |right - sure|, weighted by their faces.

    Naeini, Cooper and Hauskrecht, 2015, of the answered class.
    """
    sure, right = probabilities.max(1), probabilities.argmax(1) == truth
    inside = np.eye(BINS)[confidence_bin(sure)]
    gaps = _weights(len(truth), weights) @ (inside * (right - sure)[:, None])
    return {"ece": np.abs(gaps).sum(1) / _weights(len(truth), weights).sum(1)}


def confidence_bin(sure: FloatArray) -> IntArray:
    """(N,) confidences in 0..1 to the number of their bin, 0 to BINS - 1, all of one width."""
    return np.minimum((sure * BINS).astype(int), BINS - 1)


def selective_metrics(unsure: FloatArray, loss: FloatArray, *, weights: FloatArray | None = None) -> Figures:
    """Mean loss of the surest 50, 80 and 90 % of faces, and the area under risk against coverage.

    unsure, loss: (N,). Predictions are withheld from the least sure on (El-Yaniv and Wiener, 2010).
    """
    order = np.argsort(unsure, kind="stable")
    counts = _weights(len(loss), weights)[:, order]
    kept, lost = counts.cumsum(1), (counts * loss[order]).cumsum(1)
    risk = lost / kept.clip(1)
    total = kept[:, -1:]
    figures = {"area": (risk * counts).sum(1) / total[:, 0]}
    for share in (50, 80, 90):
        place = (kept >= total * share / 100).argmax(1)
        figures[f"at_{share}"] = risk[np.arange(len(risk)), place]
    return figures


def attention_leakage(share: FloatArray, area: FloatArray, *, weights: FloatArray | None = None) -> Figures:
    """Share of the attention's weight that falls on what is covered, over the covered share of the area: 0 is ideal.

    share, area: (N,) in 0..1. 1 is what a blind map would give; NaN if all is bare.
    """
    on, covered = _means(np.stack([share, area], 1), weights).T
    return {"leakage": _ratio(on, covered)}


def means(table: FloatArray, names: list[str], *, weights: FloatArray | None = None) -> Figures:
    """The mean of every column of (N, K)."""
    return dict(zip(names, _means(table, weights).T, strict=True))


def _weights(count: int, weights: FloatArray | None) -> npt.NDArray[np.float64]:
    return np.ones((1, count)) if weights is None else weights.astype(np.float64, copy=False)


def _means(columns: FloatArray, weights: FloatArray | None) -> npt.NDArray[np.float64]:
    """(N, K) values to their means (R, K)."""
    counts = _weights(len(columns), weights)
    return (counts @ columns.astype(np.float64)) / counts.sum(1, keepdims=True)


def _ratio(over: FloatArray, under: FloatArray) -> npt.NDArray[np.float64]:
    """NaN where nothing is divided by."""
    return np.where(under > 0, over / np.where(under > 0, under, 1), np.nan)
