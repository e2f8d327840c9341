import hashlib
import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from oamface.datasets.store import Store
from oamface.errors import FileError, SynthError
from oamface.images import read_image
from oamface.synthetic.dataset import make_dataset
from oamface.synthetic.people import balanced

pytestmark = pytest.mark.slow

PEOPLE = balanced(12, seed=1, ages=(20, 59))


def file_digests(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(head_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "set"
    progress = []

    def on_progress(stage: str, done: int, total: int) -> None:
        progress.append((stage, done, total))

    make_dataset(PEOPLE, folder, seed=1, size=160, workers=0, head_model=head_model, on_progress=on_progress)
    return folder, progress


def test_make_dataset_writes_images_occlusion_masks_labels_and_store(made) -> None:
    folder, progress = made
    rows = pq.read_table(folder / "labels.parquet").to_pylist()
    assert [(row["age"], row["gender"], row["race"]) for row in rows] == [(p.age, p.gender, p.race) for p in PEOPLE]
    for row, person in zip(rows, PEOPLE, strict=True):
        assert read_image(folder / row["name"]).shape == (160, 160, 3)
        number = row["name"].split("/")[1].split(".")[0]
        occlusion_mask = cv2.imread(str(folder / "occlusion_masks" / f"{number}.png"), cv2.IMREAD_GRAYSCALE)
        assert (occlusion_mask.max() > 0) >= (person.mask is not None)
        assert len(row["landmarks"]) == 10
        assert 0 <= row["visibility"] <= 1
        assert row["mask"] in person.label.mask
        assert {"yaw", "pitch", "roll", "light", "skin", "hair", "glasses"} <= set(row)
    assert sum(row["split"] == "test" for row in rows) == 3
    store = Store.open(folder / "store", size=128)
    assert store.data_set == "synth"
    assert len(store.crops) >= 11
    assert {stage for stage, *_ in progress} == {"load", "draw", "detect"}
    assert ("draw", 12, 12) in progress


def test_make_dataset_is_reproducible_for_any_number_of_workers(made, head_model, tmp_path) -> None:
    folder, _ = made
    make_dataset(PEOPLE, tmp_path / "again", seed=1, size=160, workers=2, head_model=head_model)
    assert file_digests(folder) == file_digests(tmp_path / "again")


def test_make_dataset_seed_changes_scenes_only(made, head_model, tmp_path) -> None:
    folder, _ = made
    make_dataset(PEOPLE[:2], tmp_path / "other", seed=2, size=160, workers=0, head_model=head_model)
    one, other = (pq.read_table(at / "labels.parquet").to_pylist()[0] for at in (folder, tmp_path / "other"))
    assert one["identity"] == other["identity"]
    assert one["yaw"] != other["yaw"]
    assert (np.asarray(one["landmarks"]) != np.asarray(other["landmarks"])).all()


def test_make_dataset_refuses_folder_with_a_data_set(made, head_model) -> None:
    folder, _ = made
    before = file_digests(folder)
    with pytest.raises(SynthError, match="already"):
        make_dataset(PEOPLE, folder, head_model=head_model)
    assert file_digests(folder) == before


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_make_dataset_rejects_sizes_out_of_range(head_model, tmp_path, size) -> None:
    with pytest.raises(SynthError, match=str(size)):
        make_dataset(PEOPLE, tmp_path / "set", size=size, head_model=head_model)


def test_make_dataset_rejects_unwritable_folder(head_model, tmp_path) -> None:
    (tmp_path / "file").write_text(json.dumps("in the way"))
    with pytest.raises(FileError, match="cannot be written"):
        make_dataset(PEOPLE, tmp_path / "file" / "set", head_model=head_model)
