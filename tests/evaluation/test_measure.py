"""Every headline figure is recomputed here from the raw prediction file, by other code than the package's."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as reference

from helpers.predictions import CLASSES, table
from oamface.evaluation.measure import LEAST, measure
from oamface.evaluation.predictions import PredictionTable


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("raw") / "x.parquet"
    table(count=200).write(path)
    return pd.read_parquet(path)


@pytest.fixture(scope="module")
def sheets() -> dict:
    return measure(table(count=200), resamples=100)["utkface"]


@pytest.mark.parametrize("condition", ["clean", "masks"])
def test_ages_from_the_raw_file(rows, sheets, condition) -> None:
    part, sheet = rows[rows.condition == condition], sheets[condition]
    away = part.age - part.age_true
    wanted = {
        "mae": away.abs().mean(),
        "bias": away.mean(),
        "rmse": np.sqrt((away**2).mean()),
        "r": pearsonr(part.age, part.age_true).statistic,
        "within_5": (away.abs() <= 5).mean(),
        "within_10": (away.abs() <= 10).mean(),
    }
    for name, value in wanted.items():
        assert sheet["age"][name]["value"] == pytest.approx(value, abs=1e-9), name
    inside = part.age_true.between(part.age_low, part.age_high).mean()
    assert sheet["age_interval"]["coverage"]["value"] == pytest.approx(inside, abs=1e-9)
    assert sheet["age_interval"]["width"]["value"] == pytest.approx((part.age_high - part.age_low).mean(), abs=1e-9)


@pytest.mark.parametrize("condition", ["clean", "masks"])
@pytest.mark.parametrize("task", ["gender", "race"])
def test_classes_from_the_raw_file(rows, sheets, condition, task) -> None:
    part, sheet, names = rows[rows.condition == condition], sheets[condition], CLASSES[task]
    shares = part[[f"{task}={name}" for name in names]].to_numpy()
    truth, answer = part[f"{task}_true"].to_numpy(), np.array(names)[shares.argmax(1)]
    average = {"average": "macro", "labels": names, "zero_division": 0}
    wanted = {
        "accuracy": reference.accuracy_score(truth, answer),
        "precision": reference.precision_score(truth, answer, **average),
        "recall": reference.recall_score(truth, answer, **average),
        "f1": reference.f1_score(truth, answer, **average),
        "auc": np.mean([reference.roc_auc_score(truth == name, shares[:, at]) for at, name in enumerate(names)]),
    }
    for name, value in wanted.items():
        assert sheet[task][name]["value"] == pytest.approx(value, abs=1e-9), name
    confusion = reference.confusion_matrix(truth, answer, labels=names)
    assert sheet[f"{task}_classes"]["confusion"] == confusion.tolist()
    sure, right = shares.max(1), answer == truth
    edges = np.linspace(0, 1, 16)
    gaps = [
        inside.mean() * abs(right[inside].mean() - sure[inside].mean())
        for low, high in pairwise(edges)
        if (inside := (sure >= low) & (sure < high)).any()
    ]
    assert sheet[f"{task}_calibration"]["ece"]["value"] == pytest.approx(sum(gaps), abs=1e-9)
    order = np.argsort(-sure, kind="stable")
    half = (~right)[order][: len(order) // 2].mean()
    assert sheet[f"{task}_selective"]["at_50"]["value"] == pytest.approx(half, abs=1e-9)


def test_masks_losses_and_overall_from_the_raw_file(rows, sheets) -> None:
    clean, masked = (rows[rows.condition == name].set_index("face") for name in ("clean", "masks"))
    said = pd.concat([clean, masked])["mask=incorrect or worn"]
    truth = pd.concat([clean, masked])["mask_true"] == "incorrect or worn"
    sheet = sheets["masks"]["mask_or_none"]
    assert sheet["precision"]["value"] == pytest.approx(reference.precision_score(truth, said > 0.5), abs=1e-9)
    assert sheet["recall"]["value"] == pytest.approx(reference.recall_score(truth, said > 0.5), abs=1e-9)
    assert sheet["auc"]["value"] == pytest.approx(reference.roc_auc_score(truth, said), abs=1e-9)

    def right(part, task):
        names = CLASSES[task]
        return np.array(names)[part[[f"{task}={name}" for name in names]].to_numpy().argmax(1)] == part[f"{task}_true"]

    lost = right(clean, "race").mean() - right(masked, "race").mean()
    assert sheets["masks"]["occlusion_drop"]["race_accuracy"]["value"] == pytest.approx(lost, abs=1e-9)
    older = (masked.age - masked.age_true).abs().mean() - (clean.age - clean.age_true).abs().mean()
    assert sheets["masks"]["occlusion_drop"]["age_mae"]["value"] == pytest.approx(older, abs=1e-9)
    overall = np.mean([right(masked, task).mean() for task in CLASSES])
    assert sheets["masks"]["overall"]["accuracy"]["value"] == pytest.approx(overall, abs=1e-9)
    assert sheets["masks"]["attention"]["leakage"]["value"] == pytest.approx(1 / 3, abs=1e-9)


def test_every_figure_lies_in_its_interval_and_all_is_plain_json(sheets) -> None:
    json.dumps(sheets, allow_nan=False)
    for sheet in sheets.values():
        for entry in sheet.values():
            if isinstance(entry, dict):
                for figure in entry.values():
                    if isinstance(figure, dict) and "low" in figure:
                        assert figure["low"] - 0.05 <= figure["value"] <= figure["high"] + 0.05


@pytest.mark.parametrize("count", [1, LEAST - 1])
def test_too_few_faces_are_said_and_not_measured(count) -> None:
    sheet = measure(table(count=count))["utkface"]["clean"]
    assert sheet["age"] == sheet["gender"] == {"not_enough_faces": count}
    assert "overall" not in sheet


def test_one_class_only_has_no_area_under_a_curve() -> None:
    said = table(count=60)
    alone = said.table.assign(gender_true="male")
    sheet = measure(PredictionTable(alone, said.classes, {}, {}), resamples=20)["utkface"]["clean"]["gender"]
    assert "auc" not in sheet
    assert 0 < sheet["accuracy"]["value"] < 1


def test_labels_without_probabilities_have_no_area_and_no_calibration() -> None:
    said = table(count=60)
    hard = said.table.assign(**{"gender=male": 1.0, "gender=female": 0.0})
    sheet = measure(PredictionTable(hard, said.classes, {}, {}), resamples=20)["utkface"]["clean"]
    assert "auc" not in sheet["gender"]
    assert "gender_calibration" not in sheet
    assert "race_calibration" in sheet


def test_unanswered_and_unknown_faces_are_left_out() -> None:
    said = table(count=60)
    some = said.table.copy()
    some.loc[some.index < 20, ["gender=male", "gender=female"]] = np.nan
    some.loc[some.index < 30, "age_true"] = np.nan
    sheet = measure(PredictionTable(some, said.classes, {}, {}), resamples=20)["utkface"]["clean"]
    assert sum(row["faces"] for row in sheet["gender_classes"]["by_class"].values()) == 40
    wanted = (some.age - some.age_true)[30:60].abs().mean()
    assert sheet["age"]["mae"]["value"] == pytest.approx(wanted)


def test_damage_is_measured_briefly() -> None:
    sheet = measure(table(conditions=("clean", "blur_2")), resamples=20)["utkface"]["blur_2"]
    assert set(sheet) == {"faces", "age", "gender", "race", "mask"}
    assert set(sheet["age"]) == {"mae", "within_5"}
