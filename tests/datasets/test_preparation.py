"""Preparing images into a store."""

import errno

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oamface.alignment import template
from oamface.datasets import preparation
from oamface.datasets.index import Index, Record
from oamface.datasets.preparation import prepare
from oamface.datasets.readers import masks as mask_folders
from oamface.datasets.readers import utkface
from oamface.datasets.store import Store
from oamface.errors import DataError, FileError, StoreError
from oamface.labels import Label


@pytest.fixture
def tree(tmp_path):
    portrait = Image.fromarray(skimage.data.astronaut()[:260, 90:350])
    for number in range(5):
        for folder in ("with_mask", "without_mask"):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            portrait.rotate(3 * number).save(tmp_path / "set" / folder / f"{number}.png")
    (tmp_path / "set/with_mask/broken.jpg").write_text("text")
    Image.new("RGB", (80, 80)).save(tmp_path / "set/without_mask/empty.png")
    return tmp_path / "set"


def test_prepare_stores_faces_and_lists_skipped_images(tree, tmp_path) -> None:
    card = prepare(tree, mask_folders.read, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out", size=64)
    assert opened.crops.shape == (10, 64, 64, 3)
    assert np.linalg.norm(opened.landmarks - template(64), axis=2).max() < 4
    assert sorted(card["skipped"]) == ["with_mask/broken.jpg", "without_mask/empty.png"]
    assert opened.card == card
    assert sum(card["faces"].values()) == 10
    by_name = dict(zip(opened.names, opened.labels, strict=True))
    assert by_name["with_mask/3.png"] == Label(mask=frozenset({"incorrect", "worn"}))
    assert not (tmp_path / "out/chunks").exists()


def test_prepare_resumes_to_the_same_store(tree, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "CHUNK_SIZE", 3)
    prepare(tree, mask_folders.read, tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tree, mask_folders.read, tmp_path / "cut", on_progress=interrupt)
    with pytest.raises(StoreError, match=r"without card\.json"):
        Store.open(tmp_path / "cut")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut/chunks").iterdir()}
    assert len(before) == 2
    seen = []
    prepare(tree, mask_folders.read, tmp_path / "cut", on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    for file in ("crops.npy", "landmarks.npy", "card.json"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_prepare_keeps_chunks_when_the_disk_is_full(tree, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "CHUNK_SIZE", 6)
    real, calls = np.savez, []

    def full(file, **arrays) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(FileError, match="No space left"):
        prepare(tree, mask_folders.read, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/chunks").iterdir()] == ["00000000.npz"]
    assert sum(prepare(tree, mask_folders.read, tmp_path / "out")["faces"].values()) == 10


def test_prepare_rejects_another_crop_size(tree, tmp_path) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=64)
    with pytest.raises(StoreError, match="another data set or crop size"):
        prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    with pytest.raises(StoreError, match="expected"):
        Store.open(tmp_path / "out", size=128)


def test_prepare_leaves_a_complete_store_unchanged(tree, tmp_path) -> None:
    card = prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert prepare(tree, mask_folders.read, tmp_path / "out", size=32) == card
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_prepare_rejects_folder_of_another_data_set(tree, tmp_path) -> None:
    with pytest.raises(DataError, match=r"no image can be used, such as .*: the name is not \[age\]"):
        prepare(tree, utkface.read, tmp_path / "out")


@pytest.mark.parametrize("name", ["crops.npy", "labels.parquet", "keep.txt"])
def test_prepare_rejects_folder_with_other_files(tree, tmp_path, name) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(StoreError, match=name):
        prepare(tree, mask_folders.read, tmp_path / "out")
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_prepare_uses_the_box_of_the_data_set(tmp_path) -> None:
    portrait = skimage.data.astronaut()
    (tmp_path / "set").mkdir()
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]])).save(tmp_path / "set/pair.png")
    left, right = (165, 55, 110, 120), (750, 55, 110, 120)

    def read(archive) -> Index:
        boxes = [left, right, (600, 300, 50, 50), (20, 300, 40, 40)]
        return Index("pairs", [Record("pair.png", "train", Label(), box) for box in boxes])

    card = prepare(tmp_path / "set", read, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out")
    assert card["faces"] == {"train": 2}
    assert card["undetected"] == {"train": 2}
    assert card["skipped"] == dict.fromkeys(["pair.png@600,300", "pair.png@20,300"], "no face detected")
    # The right one is the left one's mirror image.
    apart = np.abs(opened.crops[0].astype(int) - opened.crops[1][:, ::-1]).mean()
    assert apart < np.abs(opened.crops[0].astype(int) - opened.crops[1]).mean() / 2


@pytest.fixture
def aged(tmp_path):
    """A folder of images with and without a face, with and without a known age, in every split; and its reader."""
    (tmp_path / "aged").mkdir()
    portrait, empty = Image.fromarray(skimage.data.astronaut()[40:190, 150:300]), Image.new("RGB", (80, 60))
    splits = ("train", "calibrate", "test")
    for split in splits:
        for name, image in (("face", portrait), ("none", empty), ("unknown", empty)):
            image.save(tmp_path / "aged" / f"{split}_{name}.png")

    def read(archive) -> Index:
        def record(split, name):
            return Record(f"{split}_{name}.png", split, Label() if name == "unknown" else Label((30, 39)))

        return Index("aged", [record(split, name) for split in splits for name in ("face", "none", "unknown")])

    return tmp_path / "aged", read


def test_prepare_stores_crops_without_detection(aged, tmp_path) -> None:
    card = prepare(*aged, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out", size=64)
    assert card["faces"] == {"train": 1, "calibrate": 1, "test": 1}
    undetected = opened.undetected
    assert dict(zip(undetected.names, undetected.splits, strict=True)) == {
        "calibrate_face.png": "calibrate",
        "calibrate_none.png": "undetected",
        "train_none.png": "undetected",
    }
    assert all(label.age == (30, 39) for label in undetected.labels)
    row = undetected.names.index("calibrate_face.png")
    assert np.abs(undetected.crops[row].astype(int) - opened.crops[1]).mean() > 5  # cropped elsewhere
    assert np.linalg.norm(undetected.landmarks[row] - template(64), axis=1).mean() < 20  # but still around the face


def test_prepare_without_known_ages_stores_no_undetected_crops(tree, tmp_path) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    assert Store.open(tmp_path / "out").undetected is None


def test_prepare_resumes_to_the_same_undetected_crops(aged, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "CHUNK_SIZE", 4)
    prepare(*aged, tmp_path / "whole", size=32)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(*aged, tmp_path / "cut", size=32, on_progress=interrupt)
    prepare(*aged, tmp_path / "cut", size=32)
    for file in ("crops.npy", "landmarks.npy", "card.json"):
        whole, cut = (tmp_path / name / "undetected" / file for name in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()
