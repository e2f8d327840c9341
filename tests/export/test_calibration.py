import numpy as np
import pytest
from scipy.special import softmax

from oamface.errors import DataError
from oamface.export.calibration import fit_quantiles, fit_temperature, widened
from oamface.predictor import Predictions


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found(temperature) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    truth = np.array([rng.choice(5, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(logits * temperature, np.eye(5, dtype=bool)[truth]) == pytest.approx(temperature, rel=0.06)


def test_sets_and_unknown_labels() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4))
    assert fit_temperature(logits, np.ones((50, 4), bool)) == 1
    known = np.zeros((50, 4), bool)
    known[:, :2] = True
    alone = fit_temperature(logits, known)
    silent = fit_temperature(np.tile(logits, (2, 1)), np.concatenate([known, np.ones((50, 4), bool)]))
    assert silent == pytest.approx(alone)


def faces(rng, count, *, pull=0.0):
    """Predictions whose error grows with age; pull: of the old towards the middle."""
    true = rng.integers(0, 101, count)
    centre = np.clip(true + rng.normal(0, 2 + true / 12) - pull * np.maximum(true - 50, 0), 0, 100)
    return -0.5 * ((np.arange(101) - centre[:, None]) / 5) ** 2, np.eye(101, dtype=bool)[true]


@pytest.mark.parametrize("pull", [0.0, 0.2])
def test_nine_of_ten_new_ages_lie_inside_at_every_age(pull) -> None:
    rng = np.random.default_rng(2)
    quantiles = fit_quantiles(*faces(rng, 6000, pull=pull))
    logits, members = faces(rng, 12000, pull=pull)
    answers = Predictions({"age": softmax(logits, axis=1).astype(np.float32)}, np.ones((len(logits), 2, 2), np.float32))
    low, high = answers.age_bounds(quantiles)
    true = members.argmax(1)
    held = (low <= true) & (true <= high)
    by_decade = [held[true // 10 == decade].mean() for decade in range(10)]
    assert min(by_decade) > 0.85
    assert max(by_decade) < 0.95


def test_ranges_stand_for_the_years_that_the_answers_tell() -> None:
    rng = np.random.default_rng(3)
    logits, exact = faces(rng, 4000)
    decade = exact.argmax(1) // 10
    ranges = (np.arange(101) // 10) == decade[:, None]
    drawn, known = fit_quantiles(logits, ranges), fit_quantiles(logits, exact)
    assert 0.5 < np.median(drawn / known) < 1.3


def test_too_few_ages() -> None:
    members = np.ones((50, 101), bool)
    members[:3] = np.eye(101, dtype=bool)[40]
    with pytest.raises(DataError, match="hold 3"):
        fit_quantiles(np.zeros((50, 101)), members)


def test_widened_quantiles_hold_for_a_few_harder_faces() -> None:
    rng = np.random.default_rng(4)
    quantiles = fit_quantiles(*faces(rng, 4000))
    logits, members = faces(rng, 4060, pull=0.8)
    wide = widened(quantiles, logits[:60], members[:60])
    answers = Predictions({"age": softmax(logits[60:], axis=1).astype(np.float32)}, np.ones((4000, 2, 2), np.float32))
    true = members[60:].argmax(1)
    held = [(low <= true) & (true <= high) for low, high in map(answers.age_bounds, (quantiles, wide))]
    assert held[0].mean() < 0.8
    assert 0.85 < held[1].mean() < 0.97
    assert (wide >= quantiles).all()


def test_nothing_is_widened_for_easy_unknown_or_no_faces() -> None:
    rng = np.random.default_rng(5)
    quantiles = fit_quantiles(*faces(rng, 4000)) + 5
    logits, members = faces(rng, 50)
    for few, known in ((logits, members), (logits, np.ones_like(members)), (logits[:0], members[:0])):
        assert (widened(quantiles, few, known) == quantiles).all()
