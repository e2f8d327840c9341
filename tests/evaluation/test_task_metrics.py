"""Every headline figure is recomputed here from the raw prediction file, by other code than the package's."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as reference

from helpers.predictions import CLASSES, random_table
from oamface.evaluation.metrics import calibration_error
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.task_metrics import MIN_FACES, compute_metrics


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("raw") / "x.parquet"
    random_table(count=200).write(path)
    return pd.read_parquet(path)


@pytest.fixture(scope="module")
def results() -> dict:
    """Condition to metrics."""
    return compute_metrics(random_table(count=200), resamples=100)["utkface"]


def clean_metrics(predictions: PredictionTable, **columns) -> dict:
    """Metrics of clean faces, with some columns of the table replaced."""
    table = PredictionTable(predictions.table.assign(**columns), predictions.classes, {}, {})
    return compute_metrics(table, resamples=20)["utkface"]["clean"]


@pytest.mark.parametrize("condition", ["clean", "masks"])
def test_age_metrics_follow_from_the_raw_file(rows, results, condition) -> None:
    subset, values = rows[rows.condition == condition], results[condition]
    error = subset.age - subset.age_true
    expected = {
        "mae": error.abs().mean(),
        "bias": error.mean(),
        "rmse": np.sqrt((error**2).mean()),
        "r": pearsonr(subset.age, subset.age_true).statistic,
        "within_5": (error.abs() <= 5).mean(),
        "within_10": (error.abs() <= 10).mean(),
    }
    for name, value in expected.items():
        assert values["age"][name]["value"] == pytest.approx(value, abs=1e-9), name
    interval = values["age_interval"]
    inside = subset.age_true.between(subset.age_low, subset.age_high).mean()
    assert interval["coverage"]["value"] == pytest.approx(inside, abs=1e-9)
    assert interval["width"]["value"] == pytest.approx((subset.age_high - subset.age_low).mean(), abs=1e-9)


def test_age_thresholds_need_minors_and_follow_from_the_raw_file(rows, results) -> None:
    assert "age_threshold" not in results["clean"]  # too few are from 13 to 17
    number = np.arange(len(rows))
    true, estimated = np.choose(number % 3, [15, 22, 40]), np.choose(number % 4, [12, 19, 27, 45])
    values = clean_metrics(random_table(count=200), age_true=true.astype(float), age=estimated.astype(float))[
        "age_threshold"
    ]
    clean = (rows.condition == "clean").to_numpy()
    true, estimated = true[clean], estimated[clean]
    expected = {
        "false_accept": (estimated[true == 15] >= 25).mean(),
        "false_refuse": (estimated[true == 40] < 25).mean(),
        "mae_18_30": np.abs(estimated - true)[true == 22].mean(),
    }
    for name, value in expected.items():
        assert values[name]["value"] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("condition", ["clean", "masks"])
@pytest.mark.parametrize("task", ["gender", "race"])
def test_classification_metrics_follow_from_the_raw_file(rows, results, condition, task) -> None:
    subset, values, names = rows[rows.condition == condition], results[condition], CLASSES[task]
    probabilities = subset[[f"{task}={name}" for name in names]].to_numpy()
    truth, predicted = subset[f"{task}_true"].to_numpy(), np.array(names)[probabilities.argmax(1)]
    average = {"average": "macro", "labels": names, "zero_division": 0}
    areas = [reference.roc_auc_score(truth == name, probabilities[:, at]) for at, name in enumerate(names)]
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "precision": reference.precision_score(truth, predicted, **average),
        "recall": reference.recall_score(truth, predicted, **average),
        "f1": reference.f1_score(truth, predicted, **average),
        "auc": np.mean(areas),
    }
    for name, value in expected.items():
        assert values[task][name]["value"] == pytest.approx(value, abs=1e-9), name
    confusion = reference.confusion_matrix(truth, predicted, labels=names)
    assert values[f"{task}_classes"]["confusion"] == confusion.tolist()
    confidence, correct = probabilities.max(1), predicted == truth
    gaps = [
        inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
        for low, high in pairwise(np.linspace(0, 1, 16))
        if (inside := (confidence >= low) & (confidence < high)).any()
    ]
    true = np.array([names.index(name) for name in truth])
    assert calibration_error(probabilities, true)["ece"][0] == pytest.approx(sum(gaps), abs=1e-9)
    assert values[f"{task}_calibration"]["ece"]["value"] == pytest.approx(sum(gaps), abs=0.02)  # less what chance adds
    order = np.argsort(-confidence, kind="stable")
    error_rate = (~correct)[order][: len(order) // 2].mean()
    assert values[f"{task}_selective"]["at_50"]["value"] == pytest.approx(error_rate, abs=1e-9)


def test_mask_detection_follows_from_the_raw_file(rows, results) -> None:
    probability = rows["mask=incorrect or worn"]
    truth = rows["mask_true"] == "incorrect or worn"
    values = results["masks"]["mask_or_none"]
    assert values["precision"]["value"] == pytest.approx(reference.precision_score(truth, probability > 0.5), abs=1e-9)
    assert values["recall"]["value"] == pytest.approx(reference.recall_score(truth, probability > 0.5), abs=1e-9)
    assert values["auc"]["value"] == pytest.approx(reference.roc_auc_score(truth, probability), abs=1e-9)


def test_occlusion_drop_overall_and_leakage_follow_from_the_raw_file(rows, results) -> None:
    clean, masked = (rows[rows.condition == name].set_index("face") for name in ("clean", "masks"))

    def correct(subset, task):
        probabilities = subset[[f"{task}={name}" for name in CLASSES[task]]].to_numpy()
        return np.array(CLASSES[task])[probabilities.argmax(1)] == subset[f"{task}_true"]

    values = results["masks"]
    race_drop = correct(clean, "race").mean() - correct(masked, "race").mean()
    assert values["occlusion_drop"]["race_accuracy"]["value"] == pytest.approx(race_drop, abs=1e-9)
    age_drop = (masked.age - masked.age_true).abs().mean() - (clean.age - clean.age_true).abs().mean()
    assert values["occlusion_drop"]["age_mae"]["value"] == pytest.approx(age_drop, abs=1e-9)
    overall = np.mean([correct(masked, task).mean() for task in CLASSES])
    assert values["overall"]["accuracy"]["value"] == pytest.approx(overall, abs=1e-9)
    assert values["attention"]["leakage"]["value"] == pytest.approx(1 / 3, abs=1e-9)


def test_results_are_plain_json_and_every_figure_lies_in_its_interval(results) -> None:
    json.dumps(results, allow_nan=False)
    figures = [
        figure
        for values in results.values()
        for metrics in values.values()
        if isinstance(metrics, dict)
        for figure in metrics.values()
        if isinstance(figure, dict) and "low" in figure
    ]
    assert len(figures) > 50
    assert all(figure["low"] - 1e-9 <= figure["value"] <= figure["high"] + 1e-9 for figure in figures)


@pytest.mark.parametrize("count", [1, MIN_FACES - 1])
def test_too_few_faces_give_a_count_instead_of_figures(count) -> None:
    values = clean_metrics(random_table(count=count))
    assert values["age"] == values["gender"] == {"not_enough_faces": count}
    assert "overall" not in values


def test_auc_is_absent_where_only_one_class_occurs() -> None:
    gender = clean_metrics(random_table(count=60), gender_true="male")["gender"]
    assert "auc" not in gender
    assert 0 < gender["accuracy"]["value"] < 1


def test_labels_without_probabilities_have_no_auc_and_no_calibration() -> None:
    values = clean_metrics(random_table(count=60), **{"gender=male": 1.0, "gender=female": 0.0})
    assert "auc" not in values["gender"]
    assert "gender_calibration" not in values
    assert "race_calibration" in values


def test_faces_without_label_or_prediction_are_left_out() -> None:
    predictions = random_table(count=60)
    rows = predictions.table.copy()
    rows.loc[rows.index < 20, ["gender=male", "gender=female"]] = np.nan
    rows.loc[rows.index < 30, "age_true"] = np.nan
    values = clean_metrics(PredictionTable(rows, predictions.classes, {}, {}))
    assert sum(row["faces"] for row in values["gender_classes"]["by_class"].values()) == 40
    expected = (rows.age - rows.age_true)[30:60].abs().mean()
    assert values["age"]["mae"]["value"] == pytest.approx(expected)


def test_corrupted_faces_have_only_mean_metrics() -> None:
    name = "motion_blur_2"
    values = compute_metrics(random_table(conditions=("clean", name)), resamples=20)["utkface"][name]
    assert set(values) == {"faces", "age", "gender", "race", "mask"}
    assert set(values["age"]) == {"mae", "within_5"}
