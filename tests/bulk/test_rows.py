import os

import numpy as np
import pyarrow as pa
import pytest

from oamface.analyzer import Analyzer
from oamface.bulk.rows import SCHEMA, to_rows
from oamface.errors import ImageError
from oamface.results import Failure, ImageResult


def test_to_rows_flattens_schema(portrait) -> None:
    result = Analyzer("oam", threads=1).analyze(portrait)
    (row,) = to_rows(result)
    assert set(row) | {"error", "age_at_least", "decision", "decision_probability", "reason"} == set(SCHEMA.names)
    table = pa.Table.from_pylist([row], SCHEMA)
    (face,) = result.to_dict()["faces"]
    (stored,) = table.to_pylist()
    assert (stored["faces"], stored["face"], stored["width"]) == (1, 0, 512)
    assert np.isclose(stored["age"], face["age"]["years"])
    assert stored["gender"] == face["gender"]["label"]
    assert np.isclose(stored["nose_y"], face["landmarks"][2][1])
    assert dict(stored["race_probabilities"]).keys() == face["race"]["probabilities"].keys()


def test_images_without_faces_and_failures_are_rows() -> None:
    results = ImageResult(10, 20, (), "a.jpg"), Failure("b.jpg", ImageError("damaged"))
    rows = [row for result in results for row in to_rows(result)]
    table = pa.Table.from_pylist(rows, SCHEMA).to_pylist()
    assert [(row["source"], row["faces"], row["face"], row["error"]) for row in table] == [
        ("a.jpg", 0, None, None),
        ("b.jpg", None, None, "damaged"),
    ]


def test_assumed_face_is_marked_undetected() -> None:
    blank = np.full((60, 60, 3), 90, np.uint8)
    result = Analyzer("oam", tasks=["mask"], threads=1).analyze(blank, crop=True)
    (stored,) = pa.Table.from_pylist(list(to_rows(result)), SCHEMA).to_pylist()
    assert stored["detected"] is False


def test_tasks_that_were_not_requested_are_absent(portrait) -> None:
    (row,) = to_rows(Analyzer("oam", tasks=["mask"], threads=1).analyze(portrait))
    assert {"age", "gender", "race_probability"}.isdisjoint(row)
    assert row["mask"] == "none"


def test_names_that_are_not_utf8_are_escaped() -> None:
    (row,) = to_rows(Failure(os.fsdecode(b"\xff\n.jpg"), ImageError(os.fsdecode(b"\xff: damaged"))))
    (stored,) = pa.Table.from_pylist([row], SCHEMA).to_pylist()
    assert (stored["source"], stored["error"]) == ("\\udcff\n.jpg", "\\udcff: damaged")


def test_probabilities_of_ages_are_a_map(portrait, untrained_model) -> None:
    result = Analyzer(untrained_model, at_least=(21, 18)).analyze(portrait)
    (row,) = to_rows(result)
    stored = pa.Table.from_pylist([row], SCHEMA).to_pylist()[0]["age_at_least"]
    assert [years for years, _ in stored] == [18, 21]
    assert dict(stored)[18] == pytest.approx(result[0].age.at_least(18), abs=1e-4)
