import hashlib
import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from oamface.datasets.store import Store
from oamface.errors import FileError, SynthError
from oamface.images import read_image
from oamface.synthetic.dataset import make_set
from oamface.synthetic.people import balanced

PEOPLE = balanced(12, seed=1, ages=(20, 59))


def digest(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "set"
    said = []
    make_set(PEOPLE, folder, seed=1, size=160, workers=0, shapes=shapes, on_progress=lambda *what: said.append(what))
    return folder, said


def test_a_set_has_pictures_coverage_labels_and_a_store(made) -> None:
    folder, said = made
    rows = pq.read_table(folder / "labels.parquet").to_pylist()
    assert [(row["age"], row["gender"], row["race"]) for row in rows] == [(p.age, p.gender, p.race) for p in PEOPLE]
    for row, person in zip(rows, PEOPLE, strict=True):
        assert read_image(folder / row["name"]).shape == (160, 160, 3)
        number = row["name"].split("/")[1].split(".")[0]
        coverage = cv2.imread(str(folder / "coverage" / f"{number}.png"), cv2.IMREAD_GRAYSCALE)
        assert (coverage.max() > 0) >= (person.mask is not None)
        assert len(row["landmarks"]) == 10
        assert 0 <= row["visible"] <= 1
        assert row["mask"] in person.label.mask
        assert {"yaw", "pitch", "roll", "light", "skin", "hair", "glasses"} <= set(row)
    assert sum(row["split"] == "test" for row in rows) == 3  # every fifth, from the first on
    store = Store.open(folder / "store", size=128)
    assert store.card["data_set"] == "synth"
    assert len(store.crops) >= 11
    assert {what for what, *_ in said} == {"load", "draw", "detect"}
    assert ("draw", 12, 12) in said


def test_the_same_seed_gives_the_same_bytes(made, shapes, tmp_path) -> None:
    folder, _ = made
    make_set(PEOPLE, tmp_path / "again", seed=1, size=160, workers=2, shapes=shapes)
    assert digest(folder) == digest(tmp_path / "again")


def test_another_seed_changes_the_scenes_and_not_the_people(made, shapes, tmp_path) -> None:
    folder, _ = made
    make_set(PEOPLE[:2], tmp_path / "other", seed=2, size=160, workers=0, shapes=shapes)
    one, other = (pq.read_table(at / "labels.parquet").to_pylist()[0] for at in (folder, tmp_path / "other"))
    assert one["identity"] == other["identity"]
    assert one["yaw"] != other["yaw"]
    assert (np.asarray(one["landmarks"]) != np.asarray(other["landmarks"])).all()


def test_a_folder_that_holds_a_set_is_kept(made, shapes) -> None:
    folder, _ = made
    before = digest(folder)
    with pytest.raises(SynthError, match="holds a set already"):
        make_set(PEOPLE, folder, shapes=shapes)
    assert digest(folder) == before


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_sizes_are_checked(shapes, tmp_path, size) -> None:
    with pytest.raises(SynthError, match=str(size)):
        make_set(PEOPLE, tmp_path / "set", size=size, shapes=shapes)


def test_a_folder_that_cannot_be_written_is_a_clear_error(shapes, tmp_path) -> None:
    (tmp_path / "file").write_text(json.dumps("in the way"))
    with pytest.raises(FileError, match="cannot be written"):
        make_set(PEOPLE, tmp_path / "file" / "set", shapes=shapes)
