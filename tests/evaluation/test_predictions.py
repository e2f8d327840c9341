import numpy as np
import pandas as pd
import pytest

from helpers.predictions import random_table
from oamface.errors import FileError, ResultError
from oamface.evaluation.predictions import PredictionTable


def test_table_is_unchanged_after_write_and_read(tmp_path) -> None:
    predictions = random_table(about={"protocol": {"version": 1}})
    predictions.write(tmp_path / "x.parquet")
    read = PredictionTable.read(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(read.table, predictions.table)
    assert (read.classes, read.about) == (predictions.classes, predictions.about)


def test_write_into_a_missing_folder_fails(tmp_path) -> None:
    with pytest.raises(FileError):
        random_table().write(tmp_path / "none" / "x.parquet")


def test_same_faces_follows_the_other_subset() -> None:
    predictions = random_table()
    clean, masked = (predictions.subset("utkface", condition) for condition in ("clean", "masks"))
    last = type(masked)(masked.rows.iloc[[5, 2]], masked.classes)
    assert list(clean.same_faces(last).rows["face"]) == ["5.png", "2.png"]
    assert list(clean.same_faces(last).rows["condition"]) == ["clean", "clean"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="gender=male"), "lacks the columns gender=male"),
        (lambda rows: rows.drop(columns="age"), "lacks the columns age"),
        (lambda rows: rows.drop(columns="data_set"), "lacks the columns data_set"),
        (lambda rows: rows.assign(gender_true="robot"), "'robot'"),
        (lambda rows: rows.assign(**{"gender=male": 0.9, "gender=female": 0.9}), "sum to 1"),
        (lambda rows: rows.assign(**{"gender=male": np.nan}), "NaN in part"),
        (lambda rows: rows.assign(age=np.inf), "age has values"),
        (lambda rows: rows.assign(age_true=400.0), "age_true has values"),
        (lambda rows: rows.assign(face="same.png"), "twice"),
    ],
)
def test_read_rejects_invalid_tables(tmp_path, change, message) -> None:
    predictions = random_table()
    PredictionTable(change(predictions.table), predictions.classes, {}, {}).write(tmp_path / "x.parquet")
    with pytest.raises(ResultError, match=message):
        PredictionTable.read(tmp_path / "x.parquet")


def test_read_rejects_other_files(tmp_path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    for name in ("a", "b", "missing"):
        with pytest.raises(ResultError, match="not a table of predictions"):
            PredictionTable.read(tmp_path / f"{name}.parquet")
