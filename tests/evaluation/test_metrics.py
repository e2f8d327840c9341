import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics as reference

from oamface.evaluation import metrics


@pytest.mark.parametrize("seed", range(5))
def test_age_metrics_agree_with_sklearn_and_scipy(seed) -> None:
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
def test_class_metrics_agree_with_sklearn(classes) -> None:
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 200)
    probabilities = rng.dirichlet(np.ones(classes), 200) + 0.3 * np.eye(classes)[truth]
    probabilities /= probabilities.sum(1, keepdims=True)
    predicted, measured = probabilities.argmax(1), metrics.class_metrics(probabilities, truth)
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert measured["precision"] == pytest.approx(reference.precision_score(truth, predicted, average="macro"))
    assert measured["recall"] == pytest.approx(reference.recall_score(truth, predicted, average="macro"))
    assert measured["f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    expected = [reference.roc_auc_score(truth == name, probabilities[:, name]) for name in range(classes)]
    assert measured["auc"] == pytest.approx(np.mean(expected))
    assert (
        metrics.confusion_matrices(predicted, truth, classes)[0] == reference.confusion_matrix(truth, predicted)
    ).all()


def test_class_metrics_leave_out_absent_classes() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert metrics.class_metrics(probabilities, np.array([0, 1]))["f1"] == 1
    single = metrics.class_metrics(probabilities[:1], np.array([0]))
    assert single["accuracy"] == 1
    assert np.isnan(single["auc"])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_auc_with_ties_agrees_with_sklearn(pairs) -> None:
    scores, positive = np.array([pair[0] for pair in pairs], float), np.array([pair[1] for pair in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(metrics.auc(scores, positive))
    else:
        assert metrics.auc(scores, positive) == pytest.approx(reference.roc_auc_score(positive, scores))


def test_interval_metrics_by_hand() -> None:
    low, high = np.array([10.0, 10, 10]), np.array([20.0, 20, 40])
    measured = metrics.interval_metrics(low, high, np.array([10.0, 21, 30]))
    assert measured == {"coverage": pytest.approx(2 / 3), "width": pytest.approx(50 / 3)}


def test_attention_leakage_by_hand() -> None:
    half = np.full(2, 0.5)
    assert metrics.attention_leakage(half, half)["leakage"] == pytest.approx(1)
    assert metrics.attention_leakage(0 * half, half)["leakage"] == 0
    assert metrics.attention_leakage(2 * half, half)["leakage"] == pytest.approx(2)
    assert np.isnan(metrics.attention_leakage(0 * half, 0 * half)["leakage"])


@pytest.mark.parametrize(
    ("metric", "arrays"),
    [
        (metrics.age_metrics, ("years", "truth")),
        (metrics.class_metrics, ("probabilities", "classes")),
        (metrics.binary_metrics, ("pairs", "binary")),
        (metrics.calibration_error, ("probabilities", "classes")),
        (metrics.interval_metrics, ("low", "years", "truth")),
        (metrics.selective_metrics, ("uncertainty", "years")),
    ],
)
def test_weights_are_equivalent_to_repeating_faces(metric, arrays) -> None:
    rng = np.random.default_rng(0)
    values = {"years": rng.uniform(0, 90, 40), "truth": rng.integers(0, 90, 40).astype(float)}
    values |= {
        "probabilities": rng.dirichlet(np.ones(4), 40),
        "classes": rng.integers(0, 4, 40),
        "low": values["years"] - 9,
    }
    values |= {"pairs": rng.dirichlet(np.ones(2), 40), "binary": rng.integers(0, 2, 40), "uncertainty": rng.random(40)}
    counts = rng.integers(0, 4, 40)
    weighted = metric(*(values[name] for name in arrays), weights=counts[None])
    repeated = metric(*(np.repeat(values[name], counts, axis=0) for name in arrays))
    for name, value in weighted.items():
        # The risk changes between two copies of a face, but not within one face of weight two.
        assert value == pytest.approx(repeated[name], rel=2e-2 if metric is metrics.selective_metrics else 1e-9), name


def test_calibration_error_and_selective_metrics_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    truth = np.array([0, 0, 0, 1])
    assert metrics.calibration_error(probabilities, truth)["ece"] == pytest.approx(0.1)
    selective = metrics.selective_metrics(1 - probabilities.max(1), probabilities.argmax(1) != truth)
    assert (selective["at_50"], selective["at_80"]) == (0, pytest.approx(0.25))
    assert selective["area"] == pytest.approx(1 / 16)


def test_correlation_of_a_constant_is_nan() -> None:
    assert np.isnan(metrics.age_metrics(np.full(4, 30.0), np.arange(4.0))["r"])
