import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import DataError
from oamface.evaluation.conditions import CORE
from oamface.evaluation.inference import run_predictors
from oamface.evaluation.predictors import SINGLE_CLASSES, SamplePredictions


class ConstantPredictor:
    """Predicts the same for every face: a Black woman of 41 without mask."""

    def __init__(self, classes=None, attention=None) -> None:
        self.name, self.classes, self.metadata = "constant", classes or SINGLE_CLASSES, {"kind": "peer"}
        self.attention = attention

    def predict(self, samples) -> SamplePredictions:
        labels = {"gender": "female", "race": "Black", "mask": "none"}
        probabilities = {
            task: np.array([[float(labels[task] in group) for group in classes]] * len(samples))
            for task, classes in self.classes.items()
            if task != "age"
        }
        maps = None if self.attention is None else np.full((len(samples), 8, 8), self.attention)
        return SamplePredictions(probabilities, np.full(len(samples), 41.0), attention=maps)


def test_table_holds_ground_truth_and_predictions(store_folder) -> None:
    store = Store.open(store_folder)
    (table,) = run_predictors([ConstantPredictor()], [store], CORE)
    clean = table.subset("utkface", "clean")
    valid, probabilities, truth = clean.classifications("race")
    names = clean.classes["race"]
    assert names == ["White", "Black", "East Asian or Southeast Asian", "Indian", "Latino or Middle Eastern"]
    rows = [row for row, split in enumerate(store.splits) if split == "test"]
    assert valid.all()
    assert [names[number] for number in truth] == [next(iter(store.labels[row].race)) for row in rows]
    assert (probabilities.argmax(1) == 1).all()
    assert list(clean.rows["face"]) == [store.names[row] for row in rows]
    assert list(clean.ages()[2]) == [store.labels[row].age[0] for row in rows]


def test_ground_truth_of_occluded_faces_is_the_drawn_mask(store_folder) -> None:
    (table,) = run_predictors([ConstantPredictor()], [Store.open(store_folder)], CORE)
    masked = table.subset("utkface", "masks")
    assert (masked.classifications("mask")[2] == 1).all()
    assert set(masked.rows["mask_of_three_true"]) == {"worn"}
    assert set(masked.rows["style"]) <= {"respirator", "checked"}
    objects = table.subset("utkface", "objects")
    assert (objects.classifications("mask")[2] == 0).all()


def test_coarser_classes_of_a_predictor_are_merged_with_the_data_sets(store_folder) -> None:
    classes = {"race": (frozenset({"White", "Latino"}), frozenset({"Black"}), frozenset({"Indian"}))}
    (table,) = run_predictors([ConstantPredictor(classes)], [Store.open(store_folder)], CORE)
    assert table.classes["utkface"]["race"][0] == "Latino or Middle Eastern or White"
    assert set(table.classes["utkface"]) == {"race"}


def test_age_without_distribution_is_evaluated_as_age_group(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", data_set="fairface", ages=(40, 49)))
    (table,) = run_predictors([ConstantPredictor({"age": ()})], [store], {"clean": CORE["clean"]})
    valid, probabilities, truth = table.subset("fairface", "clean").classifications("age_group")
    assert valid.all()
    assert (probabilities.argmax(1) == truth).all()


def test_all_predictors_get_the_same_images(store_folder) -> None:
    progress = []
    one, other = run_predictors(
        [ConstantPredictor(), ConstantPredictor({"gender": SINGLE_CLASSES["gender"]})],
        [Store.open(store_folder)],
        CORE,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert list(one.table["style"]) == list(other.table["style"])
    assert progress[-1] == (48, 48)


def test_split_without_faces_is_rejected(store_folder) -> None:
    with pytest.raises(DataError, match="no face"):
        run_predictors([ConstantPredictor()], [Store.open(store_folder)], CORE, split="none")


def test_faces_of_one_image_get_different_names(store_folder) -> None:
    store = Store.open(store_folder)
    store.names[-1] = store.names[-2]
    (table,) = run_predictors([ConstantPredictor()], [store], {"clean": CORE["clean"]})
    names = list(table.table["face"])
    assert names[-2:] == [f"{store.names[-2]}#{len(store.names) - 2}", f"{store.names[-2]}#{len(store.names) - 1}"]
    assert len(set(names)) == len(names)


def test_mean_attention_and_occlusion_mask_of_every_condition(store_folder) -> None:
    (table,) = run_predictors([ConstantPredictor(attention=0.5)], [Store.open(store_folder)], CORE)
    maps = table.attention["utkface"]
    assert set(maps) == set(CORE)
    assert (np.array(maps["masks"]["attention"]) == 0.5).all()
    assert np.array(maps["clean"]["occlusion_mask"]).max() == 0
    rows = table.subset("utkface", "masks").rows
    assert np.mean(maps["masks"]["occlusion_mask"]) == pytest.approx(rows["occluded_area"].mean(), abs=1e-4)
    assert np.allclose(rows["attention_on_occlusion"], rows["occluded_area"])  # attention is uniform
    assert 0.1 < rows["occluded_area"].mean() < 0.9
