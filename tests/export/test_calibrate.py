import numpy as np
import pytest
from scipy.special import softmax

from oamface.errors import DataError
from oamface.export.calibrate import fit_quantile, fit_temperature


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


def test_nine_of_ten_new_ages_lie_inside() -> None:
    rng, years = np.random.default_rng(2), np.arange(101)

    def faces(count):
        centre, truth = rng.uniform(20, 80, count), np.zeros(count)
        truth = np.clip(np.rint(centre + rng.normal(0, 8, count)), 0, 100).astype(int)
        return -0.5 * ((years - centre[:, None]) / 3) ** 2, np.eye(101, dtype=bool)[truth]

    logits, members = faces(3000)
    quantile = fit_quantile(logits, members)
    fresh, truth = faces(3000)
    ages = softmax(fresh, axis=1)
    mean = ages @ years
    reach = quantile * (np.sqrt(ages @ years**2 - mean**2) + 1)
    assert np.mean(np.abs(truth.argmax(1) - mean) <= reach) == pytest.approx(0.9, abs=0.025)


def test_too_few_exact_ages() -> None:
    members = np.zeros((8, 101), bool)
    members[:, 20:30] = True
    members[:3] = np.eye(101, dtype=bool)[40]
    with pytest.raises(DataError, match="hold 3"):
        fit_quantile(np.zeros((8, 101)), members)
