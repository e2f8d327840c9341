"""Metrics as pure functions of predictions and ground truth.

Each takes arrays of N faces and, by name, weights (R, N): how often each of R bootstrap resamples holds each face; all
faces once when left out. Each returns metric name to (R,) values, NaN where a resample does not define the metric.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
MetricValues = dict[str, npt.NDArray[np.float64]]

BINS = 15  # of confidence, for calibration


def age_metrics(predicted: FloatArray, truth: FloatArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N,) predicted and true years: mae, bias (mean signed error), rmse, Pearson's r, shares within 5 and 10 years.

    r is NaN where either side is constant.
    """
    error = np.asarray(predicted, float) - truth
    x, y = predicted - np.mean(predicted), truth - np.mean(truth)
    columns = [np.abs(error), error, error**2, np.abs(error) <= 5, np.abs(error) <= 10, x, y, x * x, y * y, x * y]
    mae, bias, mse, within_5, within_10, mx, my, xx, yy, xy = _means(np.stack(columns, 1), weights).T
    spread = np.sqrt(np.maximum(xx - mx**2, 0) * np.maximum(yy - my**2, 0))
    return {
        "mae": mae,
        "bias": bias,
        "rmse": np.sqrt(mse),
        "r": _ratio(xy - mx * my, np.where(spread > 1e-9, spread, 0)),
        "within_5": within_5,
        "within_10": within_10,
    }


def threshold_metrics(predicted: FloatArray, truth: FloatArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N,) predicted and true years, in NIST's terms, at the threshold 18 with Challenge 25.

    false_accept: the share of those from 13 to 17 who are estimated at 25 or more. false_refuse: the share of those
    from 25 on who are estimated below. mae_18_30: the mean absolute error of those from 18 to 30. NaN without such.
    """
    minor, adult, young = (truth >= 13) & (truth < 18), truth >= 25, (truth >= 18) & (truth <= 30)
    passed = np.asarray(predicted) >= 25
    columns = [minor, minor & passed, adult, adult & ~passed, young, young * np.abs(predicted - truth)]
    minors, accepted, adults, refused, youths, error = _means(np.stack(columns, 1).astype(float), weights).T
    return {
        "false_accept": _ratio(accepted, minors),
        "false_refuse": _ratio(refused, adults),
        "mae_18_30": _ratio(error, youths),
    }


def interval_metrics(
    low: FloatArray, high: FloatArray, truth: FloatArray, *, weights: FloatArray | None = None
) -> MetricValues:
    """Of (N,) interval bounds and true years: coverage (share of truths inside) and mean width in years."""
    coverage, width = _means(np.stack([(low <= truth) & (truth <= high), high - low], 1), weights).T
    return {"coverage": coverage, "width": width}


def class_metrics(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N, K) probabilities and (N,) true classes: accuracy, and macro-averaged precision, recall, f1 and auc.

    Classes that are neither true nor predicted are left out of the averages. auc is one against the rest, NaN where
    only one class occurs.
    """
    classes = probabilities.shape[1]
    confusion = confusion_matrices(probabilities.argmax(1), truth, classes, weights=weights)
    hits, predicted, true = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2)
    present = (predicted + true) > 0
    by_class = {"precision": hits / predicted.clip(1), "recall": hits / true.clip(1)}
    by_class["f1"] = 2 * hits / (predicted + true).clip(1)
    areas = np.stack([auc(probabilities[:, number], truth == number, weights=weights) for number in range(classes)])
    defined = np.isfinite(areas)
    return {
        "accuracy": hits.sum(1) / confusion.sum((1, 2)),
        **{name: _ratio((values * present).sum(1), present.sum(1)) for name, values in by_class.items()},
        "auc": _ratio(np.where(defined, areas, 0).sum(0), defined.sum(0)),
    }


def binary_metrics(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N, 2) probabilities and (N,) 0 or 1: accuracy and auc; precision, recall and f1 of class 1."""
    confusion = confusion_matrices(probabilities.argmax(1), truth, 2, weights=weights)
    hits, predicted, true = confusion[:, 1, 1], confusion[:, :, 1].sum(1), confusion[:, 1].sum(1)
    return {
        "accuracy": (confusion[:, 0, 0] + hits) / confusion.sum((1, 2)),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
        "f1": _ratio(2 * hits, predicted + true),
        "auc": auc(probabilities[:, 1], truth == 1, weights=weights),
    }


def confusion_matrices(
    predicted: IntArray, truth: IntArray, classes: int, *, weights: FloatArray | None = None
) -> npt.NDArray[np.float64]:
    """(R, classes, classes) counts of (N,) predicted and true classes: rows are true, columns predicted."""
    cells = np.eye(classes**2)[truth * classes + predicted]
    return (_counts(len(truth), weights) @ cells).reshape(-1, classes, classes)


def auc(scores: FloatArray, positive: BoolArray, *, weights: FloatArray | None = None) -> npt.NDArray[np.float64]:
    """(R,) area under the ROC curve of (N,) scores, by the Mann-Whitney statistic, ties counted half.

    NaN without both positives and negatives.
    """
    order = np.argsort(scores, kind="stable")
    ordered, counts = scores[order], _counts(len(scores), weights)[:, order]
    positives, negatives = counts * positive[order], counts * ~positive[order]
    below = np.concatenate([np.zeros((len(negatives), 1)), negatives.cumsum(1)], 1)
    first, last = np.searchsorted(ordered, ordered, "left"), np.searchsorted(ordered, ordered, "right")
    wins = (positives * (below[:, first] + below[:, last]) / 2).sum(1)
    return _ratio(wins, positives.sum(1) * negatives.sum(1))


def calibration_error(probabilities: FloatArray, truth: IntArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N, K) probabilities and (N,) true classes: ece, the expected calibration error of the predicted class.

    Mean over BINS of |accuracy - confidence|, weighted by faces (Naeini, Cooper and Hauskrecht, 2015).
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    in_bin = np.eye(BINS)[confidence_bin(confidence)]
    gaps = _counts(len(truth), weights) @ (in_bin * (correct - confidence)[:, None])
    return {"ece": np.abs(gaps).sum(1) / _counts(len(truth), weights).sum(1)}


def confidence_bin(confidence: FloatArray) -> IntArray:
    """(N,) confidences in 0..1 to bin numbers 0..BINS - 1; bins of equal width."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def selective_metrics(uncertainty: FloatArray, loss: FloatArray, *, weights: FloatArray | None = None) -> MetricValues:
    """Of (N,) uncertainty and loss: the area under the risk-coverage curve, and the risk at 50, 80 and 90 % coverage.

    Risk is the mean loss of the faces kept when the most uncertain are rejected (El-Yaniv and Wiener, 2010).
    """
    order = np.argsort(uncertainty, kind="stable")
    counts = _counts(len(loss), weights)[:, order]
    kept, lost = counts.cumsum(1), (counts * loss[order]).cumsum(1)
    risk = lost / kept.clip(1)
    total = kept[:, -1:]
    values = {"area": (risk * counts).sum(1) / total[:, 0]}
    for percent in (50, 80, 90):
        place = (kept >= total * percent / 100).argmax(1)
        values[f"at_{percent}"] = risk[np.arange(len(risk)), place]
    return values


def attention_leakage(
    attention_on_occlusion: FloatArray, occluded_area: FloatArray, *, weights: FloatArray | None = None
) -> MetricValues:
    """leakage: the share of attention on occluded pixels, divided by their share of the crop; (N,) each, in 0..1.

    0 is ideal, 1 is uniform attention; NaN where nothing is occluded.
    """
    attention, area = _means(np.stack([attention_on_occlusion, occluded_area], 1), weights).T
    return {"leakage": _ratio(attention, area)}


def means(table: FloatArray, names: list[str], *, weights: FloatArray | None = None) -> MetricValues:
    """The mean of every column of (N, K)."""
    return dict(zip(names, _means(table, weights).T, strict=True))


def _counts(count: int, weights: FloatArray | None) -> npt.NDArray[np.float64]:
    """(R, N): how often each face counts; once without weights."""
    return np.ones((1, count)) if weights is None else weights.astype(np.float64, copy=False)


def _means(columns: FloatArray, weights: FloatArray | None) -> npt.NDArray[np.float64]:
    """(N, K) values to their means (R, K)."""
    counts = _counts(len(columns), weights)
    return (counts @ columns.astype(np.float64)) / counts.sum(1, keepdims=True)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> npt.NDArray[np.float64]:
    """NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
