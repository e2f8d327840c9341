import numpy as np
import pandas as pd
import pytest

from helpers.drawn import write_store
from helpers.predictions import table
from oamface.datasets.store import Store
from oamface.errors import DataError, FileError, ResultError
from oamface.evaluation.conditions import CORE
from oamface.evaluation.predictions import PredictionTable, predict
from oamface.evaluation.predictors import OURS, Predicted


class Constant:
    """Says the same of every face: a Black woman of 41, surely, behind no mask."""

    def __init__(self, classes=None) -> None:
        self.name, self.classes, self.identity = "constant", classes or OURS, {"kind": "peer"}

    def predict(self, faces) -> Predicted:
        said = {"gender": "female", "race": "Black", "mask": "none"}
        shares = {
            task: np.array([[float(said[task] in group) for group in self.classes[task]]] * len(faces))
            for task in self.classes
            if task != "age"
        }
        return Predicted(shares, np.full(len(faces), 41.0))


def test_rows_hold_the_truth_and_the_answers(store_folder) -> None:
    store = Store.open(store_folder)
    (said,) = predict([Constant()], [store], CORE)
    clean = said.part("utkface", "clean")
    known, shares, truth = clean.answers("race")
    names = clean.classes["race"]
    assert names == ["White", "Black", "East Asian or Southeast Asian", "Indian", "Latino or Middle Eastern"]
    rows = [row for row, split in enumerate(store.splits) if split == "test"]
    wanted = [next(iter(store.labels[row].race)) for row in rows]
    assert known.all()
    assert [names[at] for at in truth] == wanted
    assert (shares.argmax(1) == 1).all()
    assert list(clean.rows["face"]) == [store.names[row] for row in rows]
    assert list(clean.years()[2]) == [store.labels[row].age[0] for row in rows]
    masked = said.part("utkface", "masks")
    assert (masked.answers("mask")[2] == 1).all()
    assert set(masked.rows["mask_of_three_true"]) == {"worn"}
    assert set(masked.rows["style"]) <= {"respirator", "checked"}


def test_a_peers_coarser_classes_are_asked_in_what_both_can_say(store_folder) -> None:
    classes = {"race": (frozenset({"White", "Latino"}), frozenset({"Black"}), frozenset({"Indian"}))}
    (said,) = predict([Constant(classes)], [Store.open(store_folder)], CORE)
    assert said.classes["utkface"]["race"][0] == "Latino or Middle Eastern or White"
    assert set(said.classes["utkface"]) == {"race"}


def test_years_alone_answer_age_groups(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", data_set="fairface", ages=(40, 49)))
    (said,) = predict([Constant({"age": ()})], [store], {"clean": CORE["clean"]})
    known, shares, truth = said.part("fairface", "clean").answers("age_group")
    assert known.all()
    assert (shares.argmax(1) == truth).all()


def test_several_predictors_see_the_same_faces(store_folder) -> None:
    done = []
    one, other = predict(
        [Constant(), Constant({"gender": OURS["gender"]})],
        [Store.open(store_folder)],
        CORE,
        on_progress=lambda at, total: done.append((at, total)),
    )
    assert list(one.table["style"]) == list(other.table["style"])
    assert done[-1] == (48, 48)
    with pytest.raises(DataError, match="no face"):
        predict([Constant()], [Store.open(store_folder)], CORE, split="none")


def test_several_faces_of_one_picture_keep_names_of_their_own(store_folder) -> None:
    store = Store.open(store_folder)
    store.names[-1] = store.names[-2]
    (said,) = predict([Constant()], [store], {"clean": CORE["clean"]})
    names = list(said.table["face"])
    assert names[-2:] == [f"{store.names[-2]}#{len(store.names) - 2}", f"{store.names[-2]}#{len(store.names) - 1}"]
    assert len(set(names)) == len(names)


def test_a_table_comes_back_as_it_was_written(tmp_path) -> None:
    said = table(about={"protocol": {"version": 1}})
    said.write(tmp_path / "x.parquet")
    read = PredictionTable.read(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(read.table, said.table)
    assert (read.classes, read.about) == (said.classes, said.about)
    with pytest.raises(FileError):
        said.write(tmp_path / "none" / "x.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="gender=male"), "lacks the columns gender=male"),
        (lambda rows: rows.drop(columns="age"), "lacks the columns age"),
        (lambda rows: rows.assign(gender_true="robot"), "has no gender 'robot'; known are male, female"),
        (lambda rows: rows.assign(**{"gender=male": 0.9, "gender=female": 0.9}), "not shares of 1"),
        (lambda rows: rows.assign(**{"gender=male": np.nan}), "NaN in part"),
        (lambda rows: rows.assign(age=np.inf), "no years"),
        (lambda rows: rows.assign(age_true=400.0), "no years"),
        (lambda rows: rows.assign(face="same.png"), "twice"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, message) -> None:
    said = table()
    PredictionTable(change(said.table), said.classes, {}, {}).write(tmp_path / "x.parquet")
    with pytest.raises(ResultError, match=message):
        PredictionTable.read(tmp_path / "x.parquet")


def test_other_files_are_refused(tmp_path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    for name in ("a", "b", "missing"):
        with pytest.raises(ResultError, match="no table of predictions"):
            PredictionTable.read(tmp_path / f"{name}.parquet")
