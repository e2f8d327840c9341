"""Fits the quality score on faces that were never trained on, and shows that it orders the errors of test faces.

Faces of the stores are good images of one size, so most of what goes wrong in practice is drawn: each face is also
taken with one to three degradations of random strength.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import isotonic_regression, minimize

from oamface.age_thresholds import calibrated_tails
from oamface.alignment import template
from oamface.datasets.store import Store
from oamface.evaluation.corruptions import expose
from oamface.images import RGBImage
from oamface.occlusion import STYLES, occlude
from oamface.predictor import Predictor, age_std
from oamface.quality import MEASURES, assess, measure, widening

Condition = Literal["natural", "degraded", "masked"]
FloatArray = npt.NDArray[np.float64]
BATCH = 256  # faces degraded and predicted at once; bounds memory
LEVEL = 0.9  # coverage of the age intervals
# Where the curves bend, from the better to the worse side. The light alone adds nothing once the contrast is known.
KNOTS: dict[str, tuple[float, ...]] = {
    "eye_distance": (32, 22, 16, 12, 9, 7, 5),
    "sharpness": (0.3, 0.12, 0.06, 0.03, 0.015, 0.008, 0.003),
    "contrast": (0.4, 0.3, 0.2, 0.15, 0.1, 0.05),
    "glare": (0.01, 0.1, 0.2, 0.4, 0.6, 0.8),
    "turn": (0.1, 0.2, 0.3, 0.4, 0.5),
    "visibility": (0.97, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2),
}
_CROP_EYES = float(np.linalg.norm(template()[1] - template()[0]))  # pixels between the eyes of a crop
_PENALTY = 0.002  # on squared steps of the curves


def _shrink(crop: RGBImage, side: int) -> RGBImage:
    """At side x side pixels, as a small face is enlarged for the network."""
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    enlarged: RGBImage = cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_LINEAR)
    return enlarged


def _blur(crop: RGBImage, rng: np.random.Generator) -> RGBImage:
    """With a Gaussian of 0.7 to 6 pixels."""
    blurred: RGBImage = cv2.GaussianBlur(crop, (0, 0), float(np.exp(rng.uniform(np.log(0.7), np.log(6)))))
    return blurred


def degrade(
    crop: RGBImage, landmarks: npt.ArrayLike, styles: Sequence[str], rng: np.random.Generator
) -> tuple[RGBImage, float]:
    """A crop with one to three of: small, blurred, too dark or overexposed, occluded; and how far it was shrunk."""
    kinds = set(rng.choice(["small", "blurred", "exposed", "occluded"], rng.integers(1, 4), replace=False))
    scale = 1.0
    if "occluded" in kinds:
        crop = occlude(crop, np.asarray(landmarks), str(rng.choice(list(styles))), rng).image
    if "exposed" in kinds:
        stops = float(rng.uniform(-7, -1) if rng.random() < 0.5 else rng.uniform(0.5, 4))
        crop = np.rint(255 * expose(crop / 255.0, stops, rng)).astype(np.uint8)
    if "blurred" in kinds:
        crop = _blur(crop, rng)
    if "small" in kinds:
        side = round(float(np.exp(rng.uniform(np.log(14), np.log(100)))))
        crop, scale = _shrink(crop, side), side / crop.shape[0]
    return crop, scale


def predict_faces(
    predictor: Predictor, stores: Sequence[Store], split: str, condition: Condition, *, seed: int = 0
) -> pd.DataFrame:
    """One row a face: its labels, its estimate and the MEASURES of its quality.

    data_set; gender, race: classes, "" where unknown; age: the label, NaN where it is a range, from first to last
    years. years: estimated. reach: the error in units of the interval for good images, NaN for a range. at_least:
    (101,) calibrated. The eyes of a face count as far apart as in its crop, since a store does not know the original
    image.
    """
    held_out = split == "test"
    styles = [name for name, style in STYLES.items() if style.held_out == held_out]
    if condition == "masked":
        styles = [name for name in styles if STYLES[name].is_mask]
    tables = []
    for store in stores:
        rows = [row for row, name in enumerate(store.splits) if name == split]
        for start in range(0, len(rows), BATCH):
            tables.append(_predict_batch(predictor, store, rows[start : start + BATCH], condition, styles, seed))
    return pd.concat(tables, ignore_index=True)


def _predict_batch(
    predictor: Predictor, store: Store, rows: Sequence[int], condition: Condition, styles: Sequence[str], seed: int
) -> pd.DataFrame:
    crops, measures = [], []
    for row in rows:
        crop, landmarks, scale = np.array(store.crops[row]), store.landmarks[row], 1.0
        rng = np.random.default_rng((seed, row))
        if condition == "degraded":
            crop, scale = degrade(crop, landmarks, styles, rng)
        elif condition == "masked":
            crop = occlude(crop, landmarks, str(rng.choice(list(styles))), rng).image
        values = measure(crop, landmarks)
        values[0] = _CROP_EYES * scale
        crops.append(crop)
        measures.append(values)
    predictions = predictor.predict(crops)
    table = pd.DataFrame(np.column_stack([measures, predictions.visibility()]), columns=list(MEASURES))
    ages, labels = predictions.probabilities["age"], [store.labels[row] for row in rows]
    true = np.array([label.age[0] if label.age[0] == label.age[1] else np.nan for label in labels])
    limits = predictor.quantiles[np.nan_to_num(true).astype(int)] * (age_std(ages) + 1)
    return table.assign(
        data_set=store.data_set,
        condition=condition,
        gender=["/".join(sorted(label.gender)) if len(label.gender) == 1 else "" for label in labels],
        race=["/".join(sorted(label.race)) if len(label.race) < 4 else "" for label in labels],
        age=true,
        first=[label.age[0] for label in labels],
        last=[label.age[1] for label in labels],
        years=predictions.years.astype(float),
        reach=np.abs(predictions.years - true) / limits,
        at_least=list(calibrated_tails(ages, predictor.at_least)),
    )


def with_quality(faces: pd.DataFrame) -> pd.DataFrame:
    """The faces with score, reasons and covered: whether the age lies in the interval, widened by the score."""
    quality = [assess(row) for row in faces[list(MEASURES)].to_numpy()]
    scores = np.array([one.score for one in quality])
    return faces.assign(
        score=scores, reasons=[list(one.reasons) for one in quality], covered=faces.reach <= widening(scores)
    )


def errors(faces: pd.DataFrame) -> FloatArray:
    """(N,) years between estimate and label; how far outside it where the label is a range."""
    end = faces["last"] + (faces["last"] > faces["first"])
    return np.maximum(0, np.maximum(faces["first"] - faces.years, faces.years - end)).to_numpy(float)


def relative_errors(faces: pd.DataFrame, reference: pd.DataFrame) -> FloatArray:
    """(N,) errors divided by the mean error of reference faces of the same age, so that age itself plays no part."""
    edges = [0, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 55, 62, 70, 80, 121]
    known = reference.assign(error=errors(reference))
    ranges, exact = known[known.age.isna()], known[known.age.notna()]
    expected = faces["first"].map(ranges.groupby("first").error.mean()).to_numpy(float)
    if len(exact):
        groups = exact.groupby(pd.cut(exact.age, edges, right=False), observed=True)[["age", "error"]].mean()
        expected = np.where(faces.age.isna(), expected, np.interp(faces.age, groups.age, groups.error))
    return errors(faces) / expected


def fit_curves(measures: pd.DataFrame, errors: npt.ArrayLike) -> dict[str, Any]:
    """The curves of `oamface.quality`, from (N, MEASURES) and (N,) relative errors.

    The expected error is exp(b + the sum of the curves), each of which can only rise to the worse side: the likelihood
    of exponentially distributed errors, by L-BFGS-B.
    """
    steps, targets = _steps(measures), np.asarray(errors, float)

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        log_error = weights[0] + steps @ weights[1:]
        ratio = targets * np.exp(-log_error)
        slope = (1 - ratio) / len(targets)
        gradient = np.concatenate([[slope.sum()], slope @ steps + 2 * _PENALTY * weights[1:]])
        return float((ratio + log_error).mean() + _PENALTY * (weights[1:] ** 2).sum()), gradient

    bounds = [(None, None)] + [(0, None)] * steps.shape[1]
    weights = minimize(loss, np.zeros(steps.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B").x[1:]
    curves = {}
    for name, knots in KNOTS.items():
        own, weights = weights[: len(knots) - 1], weights[len(knots) - 1 :]
        points = sorted(zip(knots, np.concatenate([[0], own.cumsum()]), strict=True))
        at, penalty = zip(*points, strict=True)
        curves[name] = {"at": list(at), "penalty": [round(float(value), 4) for value in penalty]}
    return curves


def _steps(measures: pd.DataFrame) -> FloatArray:
    """(N, steps): how far each measure has gone from one knot to the next, 0..1."""
    columns = [
        (np.clip(measures[name].to_numpy(float), min(first, second), max(first, second)) - first) / (second - first)
        for name, knots in KNOTS.items()
        for first, second in pairwise(knots)
    ]
    return np.column_stack(columns)


def fit_widening(scores: FloatArray, reach: FloatArray, *, bins: int = 12) -> dict[str, list[float]]:
    """By how much intervals have to be wider to hold LEVEL of the ages, by score; falling, and at least 1."""
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    at = [float(scores[part].mean()) for part in parts]
    wanted = np.array([float(np.quantile(reach[part], LEVEL)) for part in parts])
    falling = isotonic_regression(wanted, increasing=False).x
    factor = np.maximum(falling, 1)
    table: dict[str, list[float]] = {"at": [], "factor": []}
    for score, value in zip(at, factor, strict=True):
        if not table["at"] or round(score, 3) > table["at"][-1]:
            table["at"].append(round(score, 3))
            table["factor"].append(round(float(value), 3))
    return table


class Fifth(NamedTuple):
    """A fifth of the faces by score, worst first. error, relative, coverage: value, low and high of a 95 % interval.

    coverage: of age intervals, NaN where labels are ranges.
    """

    score: float
    n: int
    error: tuple[float, float, float]
    relative: tuple[float, float, float]
    coverage: tuple[float, float, float]


def fifths(faces: pd.DataFrame, relative: FloatArray, *, resamples: int = 1000) -> list[Fifth]:
    """Mean absolute error in years, relative error and coverage of the intervals in fifths of the faces by score."""
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(faces)), faces.score))  # equal scores in random order
    error, covered = errors(faces), np.where(faces.age.isna(), np.nan, faces.covered.astype(float))
    parts = []
    for part in np.array_split(order, 5):
        estimates = [_with_interval(values[part], rng, resamples) for values in (error, relative, covered)]
        parts.append(Fifth(float(faces.score.to_numpy()[part].mean()), len(part), *estimates))
    return parts


def _with_interval(values: FloatArray, rng: np.random.Generator, resamples: int) -> tuple[float, float, float]:
    """The mean and its 95 % percentile bootstrap interval over faces."""
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
