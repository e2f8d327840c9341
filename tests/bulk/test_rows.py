import os

import numpy as np
import pyarrow as pa

from oamface.analyzer import Analyzer
from oamface.bulk.rows import SCHEMA, rows_of
from oamface.errors import ImageError
from oamface.results import Failure, ImageResult


def test_the_schema_lies_flat(portrait) -> None:
    image = Analyzer("oam", threads=1).analyze(portrait)
    (row,) = rows_of(image)
    assert set(row) | {"error"} == set(SCHEMA.names)
    table = pa.Table.from_pylist([row], SCHEMA)
    (face,) = image.to_dict()["faces"]
    (told,) = table.to_pylist()
    assert (told["faces"], told["face"], told["width"]) == (1, 0, 512)
    assert np.isclose(told["age"], face["age"]["years"])
    assert told["gender"] == face["gender"]["label"]
    assert np.isclose(told["nose_y"], face["landmarks"][2][1])
    assert dict(told["race_probabilities"]).keys() == face["race"]["probabilities"].keys()


def test_nobody_and_nothing_are_rows_too() -> None:
    (nobody,) = rows_of(ImageResult(10, 20, (), "a.jpg"))
    (bad,) = rows_of(Failure("b.jpg", ImageError("damaged")))
    table = pa.Table.from_pylist([nobody, bad], SCHEMA).to_pylist()
    assert [(row["source"], row["faces"], row["face"], row["error"]) for row in table] == [
        ("a.jpg", 0, None, None),
        ("b.jpg", None, None, "damaged"),
    ]


def test_rows_say_whether_a_face_was_detected() -> None:
    crop = Analyzer("oam", tasks=["mask"], threads=1).analyze(np.full((60, 60, 3), 90, np.uint8), crop=True)
    (told,) = pa.Table.from_pylist(list(rows_of(crop)), SCHEMA).to_pylist()
    assert told["detected"] is False


def test_what_was_not_asked_is_null(portrait) -> None:
    (row,) = rows_of(Analyzer("oam", tasks=["mask"], threads=1).analyze(portrait))
    assert {"age", "gender", "race_probability"}.isdisjoint(row)
    assert row["mask"] == "none"


def test_names_that_are_no_utf8_are_escaped() -> None:
    (row,) = rows_of(Failure(os.fsdecode(b"\xff\n.jpg"), ImageError(os.fsdecode(b"\xff: damaged"))))
    (told,) = pa.Table.from_pylist([row], SCHEMA).to_pylist()
    assert (told["source"], told["error"]) == ("\\udcff\n.jpg", "\\udcff: damaged")
