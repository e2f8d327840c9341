"""Calibration on faces that were never trained on: temperatures for probabilities, quantiles for age intervals."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from oamface.age_thresholds import FIRST, LAST, log_odds_terms, tails
from oamface.datasets.store import UNDETECTED, Store
from oamface.errors import DataError
from oamface.evaluation.conditions import CLEAN, CONDITIONS, Condition, apply_condition, select_rows
from oamface.evaluation.inference import BATCH
from oamface.labels import MASKS, TASKS, candidate_mask
from oamface.occlusion import STYLES
from oamface.predictor import Predictor, age_std

LEVEL = 0.9  # coverage of the age intervals
_BETA_PENALTY = 5.0  # faces' worth of the prior belief about a threshold's parameters
MIN_FACES, NEAR = 50, 10  # labelled faces that replace the calibration of a model's start, and years around an age
MIN_NEIGHBOURS, MAX_DISTANCE = 150, 3  # faces and years that the quantile of one year is taken over
TRAINING_STYLES = Condition(tuple(name for name, style in STYLES.items() if not style.held_out))
CALIBRATION_CONDITIONS = (CONDITIONS[CLEAN], TRAINING_STYLES)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[str, int, int], None]  # what is being done, faces done, all


def calibrate(
    predictor: Predictor,
    stores: Sequence[Store],
    on_progress: Progress = lambda what, done, total: None,
    *,
    start: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """{"temperatures", "intervals", "at_least"} as in a model file's description, fitted on the calibration split.

    predictor: with temperatures of 1. Every face is taken clean and occluded by a style of training. "intervals" has
    quantiles for undetected faces where the stores were prepared with such.
    start: the description of the model that was fine-tuned. Its calibration is kept where there are fewer than
    MIN_FACES labelled faces, for a task or within NEAR years of an age, and "kept" then names the tasks and counts the
    ages: {"tasks", "ages"}. Raises DataError: too few faces, and no start.
    """
    tasks, ages = ([], np.zeros(len(TASKS["age"]), bool)) if start is None else _too_few(stores)
    kept = {"kept": {"tasks": tasks, "ages": int(ages.sum())}} if tasks or ages.any() else {}
    if start is not None and ages.all() and len(tasks) == len(TASKS) - 1:
        return {"temperatures": start["temperatures"], **_age_calibration(start), **kept}
    logits, candidates = _predict_logits(predictor, stores, on_progress)
    # The age keeps a temperature of 1: flatter distributions would pull their mean, the estimate, to middle age.
    temperatures = {
        task: 1.0 if task == "age" else fit_temperature(logits[task], candidates[task])
        for task in TASKS
        if task not in tasks
    }
    if start is not None:
        temperatures |= {task: start["temperatures"][task] for task in tasks}
        if ages.all():
            return {"temperatures": temperatures, **_age_calibration(start), **kept}
    quantiles = {"quantiles": fit_quantiles(logits["age"], candidates["age"])}
    if any(store.undetected for store in stores):
        quantiles[UNDETECTED] = _fit_undetected(predictor, stores, on_progress)
    prior = None
    if start is not None:
        prior = start.get("at_least") or None
        for name, table in quantiles.items():
            quantiles[name] = np.where(ages, start["intervals"].get(name, table), table)
    at_least = fit_thresholds(logits["age"], candidates["age"], prior=prior)
    tables = {name: [round(float(value), 4) for value in table] for name, table in quantiles.items()}
    parameters = [[round(float(value), 5) for value in row] for row in at_least]
    intervals = {"level": LEVEL, **tables}
    return {"temperatures": temperatures, "intervals": intervals, "at_least": parameters, **kept}


def _age_calibration(description: dict[str, Any]) -> dict[str, Any]:
    return {"intervals": description["intervals"], "at_least": description.get("at_least", [])}


def _too_few(stores: Sequence[Store]) -> tuple[list[str], BoolArray]:
    """The tasks other than age, and which ages (101,), that the stores have too few calibration faces for."""
    labels = [store.labels[row] for store in stores for row in select_rows(store, "calibrate", CONDITIONS[CLEAN])]
    known = {task: ~candidate_mask(labels, task).all(1) for task in TASKS}
    middle = np.array([sum(label.age) / 2 for label in labels])[known["age"]]
    near = np.abs(middle[:, None] - np.arange(len(TASKS["age"]))) <= NEAR
    return [task for task in TASKS if task != "age" and known[task].sum() < MIN_FACES], near.sum(0) < MIN_FACES


def _fit_undetected(predictor: Predictor, stores: Sequence[Store], on_progress: Progress) -> FloatArray:
    """(101,) quantiles for faces that were not detected.

    Fitted on crops of the calibration split cut as if nothing had been detected, then raised to cover the few faces
    that really were not detected, which are harder.
    """
    undetected = [store.undetected for store in stores if store.undetected is not None]
    logits, candidates = _predict_logits(predictor, undetected, on_progress)
    quantiles = fit_quantiles(logits["age"], candidates["age"])
    rows = [(store, row) for store in undetected for row in select_rows(store, UNDETECTED, CONDITIONS[CLEAN])]
    predictions = predictor.predict([np.array(store.crops[row]) for store, row in rows])
    ages = np.log(predictions.probabilities["age"].clip(1e-12))
    return raise_quantiles(quantiles, ages, candidate_mask([store.labels[row] for store, row in rows], "age"))


def _predict_logits(
    predictor: Predictor, stores: Sequence[Store], on_progress: Progress
) -> tuple[dict[str, FloatArray], dict[str, BoolArray]]:
    """Every task's logits and candidate classes, (N, classes) each, of clean and occluded calibration faces."""
    faces = [
        (store, row, condition)
        for store in stores
        for condition in CALIBRATION_CONDITIONS
        for row in select_rows(store, "calibrate", condition)
    ]
    if not faces:
        raise DataError("the stores hold no face of the calibration split")
    candidates = {task: candidate_mask([store.labels[row] for store, row, _ in faces], task) for task in TASKS}
    probabilities: dict[str, list[FloatArray]] = {task: [] for task in TASKS}
    for start in range(0, len(faces), BATCH):
        images = [apply_condition(*face) for face in faces[start : start + BATCH]]
        predictions = predictor.predict([occluded.image for occluded in images])
        for task in TASKS:
            probabilities[task].append(predictions.probabilities[task])
        for at, occluded in enumerate(images, start):
            if faces[at][2].styles:
                candidates["mask"][at] = [name == occluded.mask for name in MASKS]
        on_progress("calibrate", min(start + BATCH, len(faces)), len(faces))
    # A softmax at temperature 1 keeps the logits up to a constant, which does not matter for a temperature.
    return {task: np.log(np.concatenate(probabilities[task]).clip(1e-12)) for task in TASKS}, candidates


def fit_temperature(logits: FloatArray, candidates: BoolArray) -> float:
    """The temperature, 0.2 to 5, that maximises the likelihood of the candidate classes (Guo et al., 2017).

    logits, candidates: (N, C). 1 when every label is unknown (all classes are candidates).
    """
    labelled = ~candidates.all(1)
    if not labelled.any():
        return 1.0
    logits, candidates = logits[labelled].astype(np.float64), candidates[labelled]

    def nll(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(logsumexp(scores, axis=1, b=candidates).mean())

    return float(np.exp(minimize_scalar(nll, bounds=(np.log(0.2), np.log(5)), method="bounded").x))


def fit_quantiles(logits: FloatArray, candidates: BoolArray, *, level: float = LEVEL) -> FloatArray:
    """(101,): for each true year, the `level` quantile of the prediction's error in units of its std + 1.

    logits, candidates: (N, 101). Label-conditional split conformal prediction (Vovk, 2012) with normalised scores (Lei
    et al., 2018): the quantile of a year is over the faces nearest in age, at least MIN_NEIGHBOURS and all within
    MAX_DISTANCE years, so that intervals cover at every age and not only on average. With fewer than MIN_NEIGHBOURS
    exact ages, age ranges are used too, each as a year sampled from the predicted distribution inside it.
    Raises DataError: fewer faces of known age than the level needs.
    """
    usable = candidates.sum(1) == 1
    if usable.sum() < MIN_NEIGHBOURS:
        usable = ~candidates.all(1)
    needed = int(np.ceil(round(level / (1 - level), 9)))  # 0.9 / (1 - 0.9) is a little more than 9
    if usable.sum() < needed:
        raise DataError(
            f"age intervals at {level:.0%} take {needed} faces of known age, the stores hold {usable.sum()}"
        )
    true, scores = _conformity_scores(logits, candidates)
    true, scores = true[usable], scores[usable]
    quantiles = np.empty(logits.shape[1], np.float32)
    for year in range(logits.shape[1]):
        distance = np.abs(true - year)
        near = scores[distance <= max(MAX_DISTANCE, np.sort(distance)[:MIN_NEIGHBOURS][-1])]
        quantiles[year] = _conformal_quantile(near, level)
    return quantiles


def fit_thresholds(
    logits: FloatArray, candidates: BoolArray, *, prior: Sequence[Sequence[float]] | None = None
) -> npt.NDArray[np.float64]:
    """(LAST - FIRST + 1, 3): the beta calibration (Kull et al., 2017) of every age threshold, see `calibrated_tails`.

    logits, candidates: (N, 101). A range counts on both sides of a threshold inside it, by the predicted distribution.
    With few faces the parameters stay near the prior's, or near 1, 1, 0, which change nothing.
    Raises DataError: no face of known age.
    """
    labelled = ~candidates.all(1)
    if not labelled.any():
        raise DataError("age thresholds take faces of known age")
    ages = softmax(logits[labelled].astype(np.float64), axis=1)
    predicted = tails(ages)[:, FIRST : LAST + 1]
    inside = ages * candidates[labelled] + 1e-12 * candidates[labelled]
    true = tails(inside / inside.sum(1, keepdims=True))[:, FIRST : LAST + 1]
    expected = [(1.0, 1.0, 0.0)] * (LAST - FIRST + 1) if prior is None else prior
    return np.array([_fit_beta(predicted[:, at], true[:, at], row) for at, row in enumerate(expected)])


def _fit_beta(
    predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64], prior: Sequence[float]
) -> npt.NDArray[np.float64]:
    """a, b and c of one threshold. predicted, true: (N,) in 0..1. prior: a, b and c that are believed beforehand."""
    log_p, log_q = log_odds_terms(predicted)

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        a, b, c = parameters
        odds = a * log_p - b * log_q + c
        penalty = _BETA_PENALTY / len(true) * float(((parameters - prior) ** 2).sum())
        return float(np.mean(np.logaddexp(0, odds) - true * odds)) + penalty

    bounds = [(0, None), (0, None), (None, None)]
    fitted: npt.NDArray[np.float64] = minimize(loss, prior, bounds=bounds, method="L-BFGS-B").x
    return fitted


def raise_quantiles(
    quantiles: FloatArray, logits: FloatArray, candidates: BoolArray, *, level: float = LEVEL
) -> FloatArray:
    """(101,): the quantiles, none below that of these faces together, so that intervals cover `level` of them too.

    For faces too few to have quantiles of their own for every year. logits, candidates: (N, 101), N from 0.
    """
    labelled = ~candidates.all(1)
    if not labelled.any():
        return quantiles
    _, scores = _conformity_scores(logits[labelled], candidates[labelled])
    return np.maximum(quantiles, _conformal_quantile(scores, level)).astype(np.float32)


def _conformity_scores(logits: FloatArray, candidates: BoolArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """(N,) true years, sampled inside a range, and (N,) errors of the predicted mean in units of its std + 1."""
    ages = softmax(logits, axis=1).astype(np.float32)
    cumulative = (np.where(candidates, ages, 0).astype(np.float64) + 1e-12 * candidates).cumsum(1)
    sampled = np.random.default_rng(0).random(len(ages)) * cumulative[:, -1]
    true = (cumulative < sampled[:, None]).sum(1)
    return true, np.abs(ages @ np.arange(ages.shape[1]) - true) / (age_std(ages) + 1)


def _conformal_quantile(scores: FloatArray, level: float) -> float:
    """The score that `level` of further faces stay below; the largest score where there are too few to tell."""
    rank = min(len(scores), int(np.ceil((len(scores) + 1) * level)))
    return float(np.sort(scores)[rank - 1])
