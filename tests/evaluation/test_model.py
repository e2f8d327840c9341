import json

import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError
from oamface.evaluation import tables
from oamface.evaluation.model import evaluate
from oamface.labels import TASKS, members
from oamface.predictor import Predictions, Predictor


class Oracle:
    """Stands in for an engine: answers bare faces, known by pixels, as labelled; covered ones are men of 30 to it."""

    def __init__(self, store: Store) -> None:
        self.digest, self.description = "oracle", {"intervals": {"level": 0.9, "quantiles": [2.0] * 101}}
        self.known = {crop.tobytes(): row for row, crop in enumerate(store.crops)}
        self.right = {task: members(store.labels, task).astype(np.float32) for task in TASKS}
        for table in self.right.values():
            table /= table.sum(1, keepdims=True)

    def answer(self, crops) -> Predictions:
        rows = [self.known.get(crop.tobytes(), -1) for crop in crops]
        covered = {task: np.eye(len(classes), dtype=np.float32)[0] for task, classes in TASKS.items()}
        covered["age"] = np.eye(101, dtype=np.float32)[30]
        covered["mask"] = np.array([0, 0, 1], np.float32)
        shares = {
            task: np.stack([self.right[task][row] if row >= 0 else covered[task] for row in rows]) for task in TASKS
        }
        return Predictions(shares, np.ones((len(rows), 4, 4), np.float32))


@pytest.fixture(scope="module")
def measured(store_folder):
    store = Store.open(store_folder)
    return evaluate(Oracle(store), [store], resamples=50)


def test_bare_faces_as_the_oracle_knows_them(measured) -> None:
    data_set = measured["data_sets"]["utkface"]
    assert (data_set["faces"], data_set["undetected"]) == (12, 3)
    clean = data_set["conditions"]["clean"]
    assert clean["age"]["mae"] == {"value": 0, "low": 0, "high": 0}
    assert clean["age_interval"]["coverage"]["value"] == 1
    assert (
        clean["gender"]["accuracy"]["value"] == clean["race"]["f1"]["value"] == clean["mask"]["accuracy"]["value"] == 1
    )
    assert "age_group" not in clean
    assert "occlusion_drop" not in clean


def test_covered_faces_cost_what_the_oracle_no_longer_knows(measured, store_folder) -> None:
    store = Store.open(store_folder)
    ages = np.array([label.age[0] for label, split in zip(store.labels, store.splits, strict=True) if split == "test"])
    masks = measured["data_sets"]["utkface"]["conditions"]["masks"]
    assert masks["age"]["mae"]["value"] == pytest.approx(np.abs(ages - 30).mean())
    assert masks["occlusion_drop"]["age_mae"]["value"] == pytest.approx(np.abs(ages - 30).mean())
    assert masks["occlusion_drop"]["gender_accuracy"]["value"] == pytest.approx(0.5)
    assert masks["mask_or_none"]["f1"]["value"] == masks["mask_of_three"]["accuracy"]["value"] == 1
    assert masks["attention"]["leakage"]["value"] == pytest.approx(1)
    wrongly = measured["data_sets"]["utkface"]["conditions"]["masks_worn_wrongly"]
    assert wrongly["mask"]["accuracy"]["value"] == 1
    assert wrongly["mask_of_three"]["accuracy"]["value"] == 0
    phones = measured["data_sets"]["utkface"]["conditions"]["objects"]
    assert phones["mask"]["accuracy"]["value"] == 0


def test_it_is_plain_json_and_every_figure_has_its_interval(measured) -> None:
    assert json.loads(json.dumps(measured))["schema"] == "oamface-evaluation/3"
    for sheet in measured["data_sets"]["utkface"]["conditions"].values():
        for task in sheet.keys() - {"faces"}:
            for figure in sheet[task].values():
                assert figure.keys() == {"value", "low", "high"}


def test_age_groups_where_the_data_set_has_them(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", data_set="fairface", ages=(20, 29)))
    clean = evaluate(Oracle(store), [store], resamples=20)["data_sets"]["fairface"]["conditions"]["clean"]
    assert clean["age_group"]["accuracy"]["value"] == 1
    assert "age" not in clean


def test_rows_for_people(measured) -> None:
    rows = tables.rows(measured)
    assert ("utkface", "12", "clean", "gender", "accuracy", "100.0 %", "100.0 to 100.0") in rows
    assert ("utkface", "12", "clean", "age", "mae", "0.00", "0.00 to 0.00") in rows
    assert all(len(row) == len(tables.HEADINGS) for row in rows)
    assert tables.markdown(measured).count("\n") == len(rows) + 1


def test_the_figures_that_one_looks_for_first(measured) -> None:
    lines = tables.headline_markdown(measured).splitlines()
    assert lines[2].startswith("| utkface | age mae | 0.00 (0.00 to 0.00) | ")
    gender = next(line for line in lines if "gender" in line)
    assert gender.startswith("| utkface | gender | 100.0 % (100.0 to 100.0) | 50.0 % (")
    assert "| utkface | age group" not in "\n".join(lines)


def test_groups_for_people(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"test": 90}))
    measured = evaluate(Oracle(store), [store], resamples=20)
    lines = tables.groups_markdown(measured).splitlines()
    assert len(lines) == len(measured["fairness"]) + 2
    perfect = "female 100.0 % (100.0 to 100.0); male 100.0 % (100.0 to 100.0)"
    assert f"| utkface | clean | gender | gender | {perfect} | 0.0 % (0.0 to 0.0) |" in lines


def test_a_model_file_is_measured(untrained_model, store_folder) -> None:
    progress = []
    measured = evaluate(
        Predictor(untrained_model),
        [Store.open(store_folder)],
        resamples=10,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert progress[-1] == (48, 48)
    assert 0 <= measured["data_sets"]["utkface"]["conditions"]["clean"]["gender"]["accuracy"]["value"] <= 1


def test_no_face_of_the_split(store_folder, untrained_model) -> None:
    with pytest.raises(DataError, match="no face of the split"):
        evaluate(Predictor(untrained_model), [Store.open(store_folder)], split="holdout")
