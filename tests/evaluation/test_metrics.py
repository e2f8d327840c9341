import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as reference

from oamface.evaluation import metrics


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
    assert (metrics.confusion_matrices(answer, truth, classes)[0] == reference.confusion_matrix(truth, answer)).all()


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


def test_attention_leakage() -> None:
    half = np.full(2, 0.5)
    assert metrics.attention_leakage(half, half)["leakage"] == pytest.approx(1)
    assert metrics.attention_leakage(0 * half, half)["leakage"] == 0
    assert metrics.attention_leakage(2 * half, half)["leakage"] == pytest.approx(2)
    assert np.isnan(metrics.attention_leakage(0 * half, 0 * half)["leakage"])


@pytest.mark.parametrize(
    ("metric", "arrays"),
    [
        (metrics.age_metrics, ("years", "truth")),
        (metrics.class_metrics, ("shares", "classes")),
        (metrics.binary_metrics, ("pairs", "binary")),
        (metrics.calibration_error, ("shares", "classes")),
        (metrics.interval_metrics, ("low", "years", "truth")),
        (metrics.selective_metrics, ("unsure", "years")),
    ],
)
def test_weights_count_faces_as_often_as_repeating_them(metric, arrays) -> None:
    rng = np.random.default_rng(0)
    values = {"years": rng.uniform(0, 90, 40), "truth": rng.integers(0, 90, 40).astype(float)}
    values |= {"shares": rng.dirichlet(np.ones(4), 40), "classes": rng.integers(0, 4, 40), "low": values["years"] - 9}
    values |= {"pairs": rng.dirichlet(np.ones(2), 40), "binary": rng.integers(0, 2, 40), "unsure": rng.random(40)}
    counts = rng.integers(0, 4, 40)
    weighted = metric(*(values[name] for name in arrays), weights=counts[None])
    repeated = metric(*(np.repeat(values[name], counts, axis=0) for name in arrays))
    for name, value in weighted.items():
        # Between two copies of a face the risk moves a little; with weights it does not.
        assert value == pytest.approx(repeated[name], rel=2e-2 if metric is metrics.selective_metrics else 1e-9), name


def test_calibration_and_selection_by_hand() -> None:
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    truth = np.array([0, 0, 0, 1])
    assert metrics.calibration_error(shares, truth)["ece"] == pytest.approx(0.1)
    chosen = metrics.selective_metrics(1 - shares.max(1), shares.argmax(1) != truth)
    assert (chosen["at_50"], chosen["at_80"]) == (0, pytest.approx(0.25))
    assert chosen["area"] == pytest.approx(1 / 16)


def test_a_constant_has_no_correlation() -> None:
    assert np.isnan(metrics.age_metrics(np.full(4, 30.0), np.arange(4.0))["r"])
