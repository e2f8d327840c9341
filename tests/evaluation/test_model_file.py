import json
from pathlib import Path

import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError
from oamface.evaluation import tables
from oamface.evaluation.model_file import evaluate
from oamface.labels import TASKS, candidate_mask
from oamface.predictor import Predictions, Predictor


class Oracle:
    """Stands in for a Predictor: clean faces, found by their pixels, get their labels; others are masked men of 30."""

    def __init__(self, store: Store) -> None:
        self.digest, self.path, self.quantiles = "oracle", Path(__file__), np.full(101, 2.0)
        self.description = {"parameters": 0, "input": {}, "training": []}
        self.rows = {crop.tobytes(): row for row, crop in enumerate(store.crops)}
        self.labels = {task: candidate_mask(store.labels, task).astype(np.float32) for task in TASKS}
        for table in self.labels.values():
            table /= table.sum(1, keepdims=True)

    def predict(self, crops) -> Predictions:
        rows = [self.rows.get(crop.tobytes(), -1) for crop in crops]
        occluded = {task: np.eye(len(classes), dtype=np.float32)[0] for task, classes in TASKS.items()}
        occluded["age"] = np.eye(101, dtype=np.float32)[30]
        occluded["mask"] = np.array([0, 0, 1], np.float32)
        probabilities = {
            task: np.stack([self.labels[task][row] if row >= 0 else occluded[task] for row in rows]) for task in TASKS
        }
        return Predictions(probabilities, np.ones((len(rows), 4, 4), np.float32))


@pytest.fixture(scope="module")
def figures(store_folder):
    store = Store.open(store_folder)
    return evaluate(Oracle(store), [store], resamples=50)


def test_oracle_is_perfect_on_clean_faces(figures) -> None:
    data_set = figures["data_sets"]["utkface"]
    assert (data_set["faces"], data_set["undetected"]) == (12, 3)
    clean = data_set["conditions"]["clean"]
    assert clean["age"]["mae"] == {"value": 0, "low": 0, "high": 0}
    assert clean["age_interval"]["coverage"]["value"] == 1
    assert clean["gender"]["accuracy"]["value"] == clean["race"]["f1"]["value"] == 1
    assert clean["mask"]["accuracy"]["value"] == 1
    assert "age_group" not in clean
    assert "occlusion_drop" not in clean


def test_occlusion_drop_of_the_oracle(figures, store_folder) -> None:
    store = Store.open(store_folder)
    ages = np.array([label.age[0] for label, split in zip(store.labels, store.splits, strict=True) if split == "test"])
    masks = figures["data_sets"]["utkface"]["conditions"]["masks"]
    assert masks["age"]["mae"]["value"] == pytest.approx(np.abs(ages - 30).mean())
    assert masks["occlusion_drop"]["age_mae"]["value"] == pytest.approx(np.abs(ages - 30).mean())
    assert masks["occlusion_drop"]["gender_accuracy"]["value"] == pytest.approx(0.5)
    assert masks["attention"]["leakage"]["value"] == pytest.approx(1)


def test_mask_metrics_of_the_oracle(figures) -> None:
    conditions = figures["data_sets"]["utkface"]["conditions"]
    masks, wrongly, objects = (conditions[name] for name in ("masks", "masks_worn_wrongly", "objects"))
    assert masks["mask_or_none"]["f1"]["value"] == masks["mask_of_three"]["accuracy"]["value"] == 1
    assert wrongly["mask"]["accuracy"]["value"] == 1
    assert wrongly["mask_of_three"]["accuracy"]["value"] == 0
    assert objects["mask"]["accuracy"]["value"] == 0


def test_figures_are_plain_json_and_all_have_intervals(figures) -> None:
    assert json.loads(json.dumps(figures))["schema"] == "oamface-evaluation/3"
    for values in figures["data_sets"]["utkface"]["conditions"].values():
        for task in values.keys() - {"faces"}:
            assert all(figure.keys() == {"value", "low", "high"} for figure in values[task].values())


def test_age_groups_are_evaluated_where_the_data_set_has_them(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", data_set="fairface", ages=(20, 29)))
    clean = evaluate(Oracle(store), [store], resamples=20)["data_sets"]["fairface"]["conditions"]["clean"]
    assert clean["age_group"]["accuracy"]["value"] == 1
    assert "age" not in clean


def test_table_rows(figures) -> None:
    rows = tables.rows(figures)
    assert ("utkface", "12", "clean", "gender", "accuracy", "100.0 %", "100.0 to 100.0") in rows
    assert ("utkface", "12", "clean", "age", "mae", "0.00", "0.00 to 0.00") in rows
    assert all(len(row) == len(tables.HEADINGS) for row in rows)
    assert tables.markdown(figures).count("\n") == len(rows) + 1


def test_headline_table_compares_clean_and_masked_faces(figures) -> None:
    lines = tables.headline_markdown(figures).splitlines()
    assert lines[2].startswith("| utkface | age mae | 0.00 (0.00 to 0.00) | ")
    gender = next(line for line in lines if "gender" in line)
    assert gender.startswith("| utkface | gender | 100.0 % (100.0 to 100.0) | 50.0 % (")
    assert "| utkface | age group" not in "\n".join(lines)


def test_fairness_table(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"test": 90}))
    figures = evaluate(Oracle(store), [store], resamples=20)
    lines = tables.fairness_markdown(figures).splitlines()
    assert len(lines) == len(figures["fairness"]) + 2
    perfect = "female 100.0 % (100.0 to 100.0); male 100.0 % (100.0 to 100.0)"
    assert f"| utkface | clean | gender | gender | {perfect} | 0.0 % (0.0 to 0.0) |" in lines


def test_evaluate_reports_progress_for_a_model_file(untrained_model, store_folder) -> None:
    progress = []
    figures = evaluate(
        Predictor(untrained_model),
        [Store.open(store_folder)],
        resamples=10,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert progress[-1] == (48, 48)
    assert 0 <= figures["data_sets"]["utkface"]["conditions"]["clean"]["gender"]["accuracy"]["value"] <= 1


def test_evaluate_rejects_a_split_without_faces(store_folder, untrained_model) -> None:
    with pytest.raises(DataError, match="no face of the split"):
        evaluate(Predictor(untrained_model), [Store.open(store_folder)], split="holdout")
