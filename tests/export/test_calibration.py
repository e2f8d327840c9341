from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError
from oamface.export.calibration import calibrate, fit_quantiles, fit_temperature, fit_thresholds, raise_quantiles
from oamface.labels import Label
from oamface.predictor import Predictions, Predictor


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fit_temperature_recovers_a_known_temperature(temperature) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    truth = np.array([rng.choice(5, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(logits * temperature, np.eye(5, dtype=bool)[truth]) == pytest.approx(temperature, rel=0.06)


def test_fit_temperature_ignores_unknown_labels() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4))
    unknown = np.ones((50, 4), bool)
    assert fit_temperature(logits, unknown) == 1
    candidates = np.zeros((50, 4), bool)
    candidates[:, :2] = True
    without = fit_temperature(logits, candidates)
    with_unknown = fit_temperature(np.tile(logits, (2, 1)), np.concatenate([candidates, unknown]))
    assert with_unknown == pytest.approx(without)


def random_ages(rng, count, *, shrinkage=0.0):
    """(N, 101) logits with an error that grows with age, and candidates. shrinkage: of the old towards 50."""
    true = rng.integers(0, 101, count)
    centre = np.clip(true + rng.normal(0, 2 + true / 12) - shrinkage * np.maximum(true - 50, 0), 0, 100)
    return -0.5 * ((np.arange(101) - centre[:, None]) / 5) ** 2, np.eye(101, dtype=bool)[true]


def covered(logits, candidates, quantiles):
    """(N,) whether the true age lies in the interval."""
    attention = np.ones((len(logits), 2, 2), np.float32)
    low, high = Predictions({"age": softmax(logits, axis=1).astype(np.float32)}, attention).age_bounds(quantiles)
    true = candidates.argmax(1)
    return (low <= true) & (true <= high)


@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_age_intervals_cover_90_percent_in_every_decade(shrinkage) -> None:
    rng = np.random.default_rng(2)
    quantiles = fit_quantiles(*random_ages(rng, 6000, shrinkage=shrinkage))
    logits, candidates = random_ages(rng, 12000, shrinkage=shrinkage)
    inside, decades = covered(logits, candidates, quantiles), candidates.argmax(1) // 10
    coverage = [inside[decades == decade].mean() for decade in range(10)]
    assert min(coverage) > 0.85
    assert max(coverage) < 0.95


def test_quantiles_from_age_ranges_are_close_to_those_from_exact_ages() -> None:
    rng = np.random.default_rng(3)
    logits, exact = random_ages(rng, 4000)
    ranges = (np.arange(101) // 10) == exact.argmax(1)[:, None] // 10
    assert 0.5 < np.median(fit_quantiles(logits, ranges) / fit_quantiles(logits, exact)) < 1.3


def test_fit_quantiles_rejects_too_few_known_ages() -> None:
    candidates = np.ones((50, 101), bool)
    candidates[:3] = np.eye(101, dtype=bool)[40]
    with pytest.raises(DataError, match="take 9 faces of known age, the stores hold 3"):
        fit_quantiles(np.zeros((50, 101)), candidates)
    candidates[:9] = np.eye(101, dtype=bool)[40]
    assert fit_quantiles(np.zeros((50, 101)), candidates).shape == (101,)


def test_thresholds_stay_near_the_prior_with_few_faces() -> None:
    logits, candidates = random_ages(np.random.default_rng(6), 4)
    prior = [(1.5, 0.8, 0.3)] * 51
    near, far = (fit_thresholds(logits, candidates, prior=each) for each in (prior, None))
    assert np.abs(near - prior).max() < 1
    assert np.abs(near - prior).mean() < np.abs(far - prior).mean()


def test_calibration_of_the_start_is_kept_where_faces_are_few(tmp_path) -> None:
    """Sixty calibration faces of 30 years with a gender: enough for the ages around 30 and for the gender alone."""
    store = Store.open(write_store(tmp_path / "store", splits={"calibrate": 60}, ages=(30, 30)))
    labels = [replace(label, race=Label().race, mask=Label().mask) for label in store.labels]
    start = {
        "temperatures": {"age": 1.0, "gender": 7.0, "race": 7.0, "mask": 7.0},
        "intervals": {"level": 0.9, "quantiles": [9.0] * 101, "undetected": [9.0] * 101},
        "at_least": [[1.0, 1.0, 0.0]] * 51,
    }
    fitted = calibrate(Predictor("oam-small"), [replace(store, labels=labels)], start=start)
    assert fitted["kept"] == {"tasks": ["race", "mask"], "ages": 80}
    assert fitted["temperatures"]["race"] == fitted["temperatures"]["mask"] == 7.0 != fitted["temperatures"]["gender"]
    kept = [value == 9.0 for value in fitted["intervals"]["quantiles"]]
    assert not any(kept[20:41]) and all(kept[:20]) and all(kept[41:])
    none = calibrate(Predictor("oam-small"), [replace(store, splits=["train"] * 60)], start=start)
    assert none == {**start, "kept": {"tasks": ["gender", "race", "mask"], "ages": 101}}


def test_raised_quantiles_cover_harder_faces() -> None:
    rng = np.random.default_rng(4)
    quantiles = fit_quantiles(*random_ages(rng, 4000))
    logits, candidates = random_ages(rng, 4060, shrinkage=0.8)
    raised = raise_quantiles(quantiles, logits[:60], candidates[:60])
    assert covered(logits[60:], candidates[60:], quantiles).mean() < 0.8
    assert 0.85 < covered(logits[60:], candidates[60:], raised).mean() < 0.97
    assert (raised >= quantiles).all()


def test_quantiles_are_not_raised_for_easy_unknown_or_no_faces() -> None:
    rng = np.random.default_rng(5)
    quantiles = fit_quantiles(*random_ages(rng, 4000)) + 5
    logits, candidates = random_ages(rng, 50)
    for some_logits, some_candidates in (
        (logits, candidates),
        (logits, np.ones_like(candidates)),
        (logits[:0], candidates[:0]),
    ):
        assert (raise_quantiles(quantiles, some_logits, some_candidates) == quantiles).all()
