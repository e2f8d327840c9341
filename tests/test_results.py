import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from oamface.errors import ImageError, OamfaceError, OptionError, TaskError
from oamface.results import Age, AgeDecision, Box, Classification, Face, Failure, ImageResult, Quality

DISTRIBUTION = np.full(101, 1 / 101, np.float32)
FACE = Face(
    Box(10.04, 20.0, 30.26, 40.0),
    np.full((5, 2), (1.0, 2.0), np.float32),
    0.98765,
    0.93,
    {
        "age": Age(34.25, 27.0, 42.1, 0.9, DISTRIBUTION),
        "gender": Classification("female", 0.97, {"male": 0.03, "female": 0.97}),
    },
    attention=np.ones((2, 2), np.float32),
    quality=Quality(0.81234, ("blurred",), {"turn": 0.05}),
)
RESULT = ImageResult(640, 480, (FACE,), "a.jpg")
WANTED = {
    "schema": "oamface/1",
    "source": "a.jpg",
    "width": 640,
    "height": 480,
    "faces": [
        {
            "box": [10.0, 20.0, 30.3, 40.0],
            "score": 0.9877,
            "detected": True,
            "landmarks": [[1.0, 2.0]] * 5,
            "age": {"years": 34.2, "low": 27.0, "high": 42.1, "level": 0.9},
            "gender": {"label": "female", "probability": 0.97, "probabilities": {"male": 0.03, "female": 0.97}},
            "visibility": 0.93,
            "quality": {"score": 0.8123, "reasons": ["blurred"], "measures": {"turn": 0.05}},
        }
    ],
}


def test_to_dict_and_to_json_follow_the_schema() -> None:
    assert RESULT.to_dict() == WANTED
    assert json.loads(RESULT.to_json()) == WANTED


def test_failure_to_dict_has_type_and_message() -> None:
    error = {"type": "ImageError", "message": "b.jpg: the file is empty"}
    failure = Failure("b.jpg", ImageError("b.jpg: the file is empty"))
    assert failure.to_dict() == {"schema": "oamface/1", "source": "b.jpg", "error": error}


def test_image_result_is_a_sequence_of_faces() -> None:
    assert list(RESULT) == [FACE]
    assert len(RESULT) == 1
    assert RESULT[0] is FACE
    assert len(ImageResult(3, 2, ())) == 0


def test_box_as_corners_and_as_sides() -> None:
    box = Box(1.0, 2.0, 3.0, 4.0)
    assert box.xywh == (1.0, 2.0, 3.0, 4.0)
    assert box.xyxy == (1.0, 2.0, 4.0, 6.0)
    assert box.scaled(2, 3) == Box(2.0, 6.0, 6.0, 12.0)


def test_at_least_sums_the_distribution_from_that_year_on() -> None:
    assert FACE.age.at_least(0) == pytest.approx(1)
    assert FACE.age.at_least(18) == pytest.approx(83 / 101)
    assert FACE.age.at_least(100) == pytest.approx(1 / 101)
    for years in (-1, 101, "18", None, 18.5):
        with pytest.raises(OptionError):
            FACE.age.at_least(years)


def test_a_task_that_was_not_requested_raises() -> None:
    assert FACE.tasks == ("age", "gender")
    for task in ("race", "mask"):
        with pytest.raises(TaskError, match=task) as raised:
            getattr(FACE, task)
        assert isinstance(raised.value, OamfaceError)
        assert not hasattr(FACE, task)


def test_to_pandas_has_one_row_a_face() -> None:
    pytest.importorskip("pandas")
    table = RESULT.to_pandas()
    assert table.shape[0] == 1
    row = table.iloc[0]
    assert (row["source"], row["width"], row["face"], row["box_width"]) == ("a.jpg", 640, 0, 30.26)
    assert (row["age"], row["gender"]) == (34.25, "female")
    assert table["race"].isna().all()
    empty = ImageResult(3, 2, ()).to_pandas()
    assert len(empty) == 0
    assert list(empty) == list(table)


def test_to_pandas_has_the_probabilities_of_the_thresholds() -> None:
    pytest.importorskip("pandas")
    age = replace(FACE.age, thresholds=(18, 21))
    table = replace(RESULT, faces=(replace(FACE, predictions={"age": age}), FACE)).to_pandas()
    assert table["age_at_least"][0] == [(18, pytest.approx(83 / 101)), (21, pytest.approx(80 / 101))]
    assert table["age_at_least"].isna().tolist() == [False, True]


def test_to_pandas_has_the_decision_about_an_image_without_a_face() -> None:
    pandas = pytest.importorskip("pandas")
    result = ImageResult(3, 2, (), "a.jpg", decision=AgeDecision("refer", None, ("no face",)))
    (row,) = result.to_pandas().to_dict("records")
    assert (row["source"], row["decision"], row["reason"]) == ("a.jpg", "refer", ["no face"])
    assert pandas.isna(row["face"])


def test_to_pandas_gives_the_same_types_whatever_the_rows_hold() -> None:
    pytest.importorskip("pandas")
    results = [
        RESULT,
        replace(RESULT, faces=(replace(FACE, predictions={}, quality=None),)),
        ImageResult(3, 2, (), decision=AgeDecision("refer", None, ("no face",))),
        ImageResult(3, 2, ()),
    ]
    types = [result.to_pandas().dtypes.astype(str).to_dict() for result in results]
    assert types == [types[0]] * len(results)
    assert (types[0]["gender"], types[0]["detected"], types[0]["age"]) == ("string", "boolean", "float64")


def test_to_pandas_names_the_missing_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OamfaceError, match="pip install pandas"):
        RESULT.to_pandas()


def test_calibrated_tails_replace_the_sums_and_thresholds_reach_the_json() -> None:
    tails = np.linspace(1, 0, 101, dtype=np.float32)
    age = replace(FACE.age, tails=tails, thresholds=(18, 21))
    assert age.at_least(18) == pytest.approx(0.82)
    assert age.to_dict()["at_least"] == {"18": pytest.approx(0.82, abs=1e-4), "21": pytest.approx(0.79, abs=1e-4)}
    assert "at_least" not in FACE.age.to_dict()
