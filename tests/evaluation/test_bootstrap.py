import numpy as np
import pytest

from oamface.evaluation import metrics
from oamface.evaluation.bootstrap import bootstrap


def mean(values, *, weights=None):
    return metrics.means(values[:, None], ["mean"], weights=weights)


def test_interval_of_a_mean_agrees_with_normal_theory() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    figure = bootstrap(mean, values, resamples=2000)["mean"]
    half_width = 1.96 * values.std() / 20
    assert figure["value"] == pytest.approx(values.mean())
    assert figure["low"] == pytest.approx(values.mean() - half_width, abs=0.03)
    assert figure["high"] == pytest.approx(values.mean() + half_width, abs=0.03)


def test_intervals_cover_the_true_value_in_95_percent() -> None:
    rng = np.random.default_rng(1)
    covered = [
        figure["low"] <= 0.8 <= figure["high"]
        for figure in (bootstrap(mean, rng.random(200) < 0.8, resamples=300)["mean"] for _ in range(200))
    ]
    assert 0.89 < np.mean(covered) < 0.99


def test_unbiased_interval_of_a_calibration_error_covers_the_true_one() -> None:
    rng, error, covered = np.random.default_rng(3), 0.03, []
    for _ in range(40):
        confidence = rng.uniform(0.6, 0.96, 800)
        truth = (rng.random(800) > confidence - error).astype(int)  # class 0 is right a little less often than said
        probabilities = np.stack([confidence, 1 - confidence], 1)
        figures = bootstrap(metrics.calibration_error, probabilities, truth, resamples=200, unbiased=True)
        figure = figures["ece"]
        assert figure["low"] <= figure["value"] <= figure["high"]
        covered.append(figure["low"] <= error <= figure["high"])
    assert np.mean(covered) >= 0.85


def test_arrays_are_resampled_jointly() -> None:
    values = np.arange(50.0)
    figure = bootstrap(lambda a, b, *, weights=None: mean(a - b, weights=weights), values, values)["mean"]
    assert figure == {"value": 0, "low": 0, "high": 0}


def test_interval_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(2).random(30)
    assert bootstrap(mean, values) == bootstrap(mean, values)
    assert bootstrap(mean, values, seed=1) != bootstrap(mean, values)


def test_no_faces_and_undefined_metrics_give_no_figure() -> None:
    assert bootstrap(mean, np.zeros(0)) == {}
    assert bootstrap(lambda values, *, weights=None: {"undefined": np.full(1, np.nan)}, np.ones(3)) == {}
