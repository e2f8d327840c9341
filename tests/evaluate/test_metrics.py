import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as reference

from oamface.evaluate import metrics


@pytest.mark.parametrize("seed", range(5))
def test_ages_as_sklearn_and_scipy_have_them(seed) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, 50)
    years = truth + rng.normal(0, 8, 50)
    measured = metrics.age_metrics(years, truth)
    assert measured["mae"] == pytest.approx(reference.mean_absolute_error(truth, years))
    assert measured["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, years))
    assert measured["r"] == pytest.approx(pearsonr(years, truth).statistic)
    assert measured["within_5"] == np.mean(np.abs(years - truth) <= 5)
    assert measured["within_5"] < measured["within_10"]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classes_as_sklearn_has_them(classes) -> None:
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 200)
    shares = rng.dirichlet(np.ones(classes), 200) + 0.3 * np.eye(classes)[truth]
    shares /= shares.sum(1, keepdims=True)
    answer, measured = shares.argmax(1), metrics.class_metrics(shares, truth)
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(truth, answer))
    assert measured["precision"] == pytest.approx(reference.precision_score(truth, answer, average="macro"))
    assert measured["recall"] == pytest.approx(reference.recall_score(truth, answer, average="macro"))
    assert measured["f1"] == pytest.approx(reference.f1_score(truth, answer, average="macro"))
    wanted = [reference.roc_auc_score(truth == name, shares[:, name]) for name in range(classes)]
    assert measured["auc"] == pytest.approx(np.mean(wanted))
    assert (metrics.confusion_matrix(answer, truth, classes) == reference.confusion_matrix(truth, answer)).all()


def test_classes_that_do_not_occur_are_left_out() -> None:
    shares = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert metrics.class_metrics(shares, np.array([0, 1]))["f1"] == 1
    alone = metrics.class_metrics(shares[:1], np.array([0]))
    assert alone["accuracy"] == 1
    assert np.isnan(alone["auc"])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_area_under_the_curve_with_ties(pairs) -> None:
    scores, positive = np.array([pair[0] for pair in pairs], float), np.array([pair[1] for pair in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(metrics.auc(scores, positive))
    else:
        assert metrics.auc(scores, positive) == pytest.approx(reference.roc_auc_score(positive, scores))


def test_intervals() -> None:
    low, high = np.array([10.0, 10, 10]), np.array([20.0, 20, 40])
    measured = metrics.interval_metrics(low, high, np.array([10.0, 21, 30]))
    assert measured == {"coverage": pytest.approx(2 / 3), "width": pytest.approx(50 / 3)}


def test_attention_on_covered() -> None:
    coverage = np.zeros((2, 4, 4))
    coverage[:, 2:] = 1
    assert metrics.attention_on_covered(np.ones((2, 4, 4)), coverage)["on_covered"] == pytest.approx(1)
    assert metrics.attention_on_covered(1 - coverage, coverage)["on_covered"] == 0
    assert metrics.attention_on_covered(coverage, coverage)["on_covered"] == pytest.approx(2)
    assert np.isnan(metrics.attention_on_covered(np.ones((2, 4, 4)), 0 * coverage)["on_covered"])


def test_a_constant_has_no_correlation() -> None:
    assert np.isnan(metrics.age_metrics(np.full(4, 30.0), np.arange(4.0))["r"])
