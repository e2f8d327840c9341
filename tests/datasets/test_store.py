import errno
import json

import numpy as np
import pytest
import skimage.data
from PIL import Image

from helpers.drawn import write_store
from oamface.alignment import template
from oamface.datasets import store
from oamface.datasets.readers import masks as mask_folders, utkface
from oamface.datasets.index import Catalogue, Entry
from oamface.datasets.store import Store, attach_features, open_stores, prepare
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


def test_a_store_holds_every_face_and_lists_the_rest(tree, tmp_path) -> None:
    card = prepare(tree, mask_folders.read, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out", size=64)
    assert opened.crops.shape == (10, 64, 64, 3)
    assert np.linalg.norm(opened.landmarks - template(64), axis=2).max() < 4
    assert sorted(card["refused"]) == ["with_mask/broken.jpg", "without_mask/empty.png"]
    assert opened.card == card
    assert sum(card["faces"].values()) == 10
    by_name = dict(zip(opened.names, opened.labels, strict=True))
    assert by_name["with_mask/3.png"] == Label(mask=frozenset({"incorrect", "worn"}))
    assert not (tmp_path / "out/parts").exists()


def test_interrupted_it_goes_on_to_the_same_store(tree, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PART", 3)
    prepare(tree, mask_folders.read, tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tree, mask_folders.read, tmp_path / "cut", on_progress=interrupt)
    with pytest.raises(StoreError, match="not a whole store"):
        Store.open(tmp_path / "cut")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut/parts").iterdir()}
    assert len(before) == 2
    seen = []
    prepare(tree, mask_folders.read, tmp_path / "cut", on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    for file in ("crops.npy", "landmarks.npy", "card.json"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_full_disk_loses_nothing_done(tree, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PART", 6)
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
    assert [p.name for p in (tmp_path / "out/parts").iterdir()] == ["00000000.npz"]
    assert sum(prepare(tree, mask_folders.read, tmp_path / "out")["faces"].values()) == 10


def test_another_chip_size(tree, tmp_path) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=64)
    with pytest.raises(StoreError, match="another data set or crop size"):
        prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    with pytest.raises(StoreError, match="expected"):
        Store.open(tmp_path / "out", size=128)


def test_prepared_twice_is_left_as_it_is(tree, tmp_path) -> None:
    card = prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert prepare(tree, mask_folders.read, tmp_path / "out", size=32) == card
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_something_else(tree, tmp_path) -> None:
    with pytest.raises(DataError, match="published layout"):
        prepare(tree, utkface.read, tmp_path / "out")


@pytest.mark.parametrize("file", ["crops.npy", "landmarks.npy", "labels.parquet", "card.json"])
def test_a_damaged_store(tree, tmp_path, file) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    (tmp_path / "out" / file).write_bytes(json.dumps("damaged").encode()[:5])
    with pytest.raises(StoreError, match="not a whole store"):
        Store.open(tmp_path / "out")


def test_of_several_faces_the_one_in_the_data_sets_box(tmp_path) -> None:
    portrait = skimage.data.astronaut()
    (tmp_path / "set").mkdir()
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]])).save(tmp_path / "set/pair.png")
    left, right = (165, 55, 110, 120), (750, 55, 110, 120)

    def read(source) -> Catalogue:
        boxes = [left, right, (600, 300, 50, 50)]
        return Catalogue("pairs", [Entry("pair.png", "train", Label(), box) for box in boxes])

    card = prepare(tmp_path / "set", read, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out")
    assert card["faces"] == {"train": 2}
    assert card["refused"] == {"pair.png": "no face found"}
    # The right one is the left one's mirror image.
    apart = np.abs(opened.crops[0].astype(int) - opened.crops[1][:, ::-1]).mean()
    assert apart < np.abs(opened.crops[0].astype(int) - opened.crops[1]).mean() / 2


@pytest.fixture
def aged(tmp_path):
    """Images of one face, or none, in every part, with and without a known age; and how they are read."""
    (tmp_path / "aged").mkdir()
    portrait, nobody = Image.fromarray(skimage.data.astronaut()[40:190, 150:300]), Image.new("RGB", (80, 60))
    splits = ("train", "calibrate", "test")
    for split in splits:
        for name, image in (("face", portrait), ("none", nobody), ("unknown", nobody)):
            image.save(tmp_path / "aged" / f"{split}_{name}.png")

    def read(source) -> Catalogue:
        def entry(split, name):
            return Entry(f"{split}_{name}.png", split, Label() if name == "unknown" else Label((30, 39)))

        return Catalogue("aged", [entry(split, name) for split in splits for name in ("face", "none", "unknown")])

    return tmp_path / "aged", read


def test_a_store_keeps_crops_whose_detection_was_taken_away(aged, tmp_path) -> None:
    card = prepare(*aged, tmp_path / "out", size=64)
    opened = Store.open(tmp_path / "out", size=64)
    assert card["faces"] == {"train": 1, "calibrate": 1, "test": 1}
    blind = opened.undetected
    assert dict(zip(blind.names, blind.splits, strict=True)) == {
        "calibrate_face.png": "calibrate",
        "calibrate_none.png": "undetected",
        "train_none.png": "undetected",
    }
    assert all(label.age == (30, 39) for label in blind.labels)
    row = blind.names.index("calibrate_face.png")
    assert np.abs(blind.crops[row].astype(int) - opened.crops[1]).mean() > 5  # cut in another place
    assert np.linalg.norm(blind.landmarks[row] - template(64), axis=1).mean() < 20  # and yet of the face


def test_a_store_without_calibration_faces_of_known_age_keeps_no_such_crops(tree, tmp_path) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    assert Store.open(tmp_path / "out").undetected is None


def test_interrupted_the_crops_are_kept_too(aged, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PART", 4)
    prepare(*aged, tmp_path / "whole", size=32)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(*aged, tmp_path / "cut", size=32, on_progress=interrupt)
    prepare(*aged, tmp_path / "cut", size=32)
    for file in ("crops.npy", "landmarks.npy", "card.json"):
        whole, cut = (tmp_path / name / "undetected" / file for name in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def test_shards_join_their_undetected_faces(tmp_path) -> None:
    folders = [write_store(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    write_store(folders[0] / "undetected", splits={"calibrate": 4}, seed=3)
    assert open_stores(folders)[0].undetected is None
    write_store(folders[1] / "undetected", splits={"calibrate": 3, "undetected": 2}, seed=4)
    assert len(open_stores(folders)[0].undetected.crops) == 9


def test_the_shards_of_a_data_set_are_one_store(tmp_path) -> None:
    shards = [
        write_store(tmp_path / "other", seed=1, features=4),
        write_store(tmp_path / "lfw", data_set="lfw"),
        write_store(tmp_path / "one", splits={"train": 5, "test": 4}, seed=2),
    ]
    (joined, alone), (again, _) = open_stores(shards), open_stores(shards[::-1])
    first, second = (Store.open(folder) for folder in (shards[0], shards[2]))
    assert alone.card["data_set"] == "lfw"
    assert joined.card["source"] == again.card["source"] not in (first.card["source"], second.card["source"])
    assert joined.card["faces"] == {"train": 45, "calibrate": 20, "test": 16}
    assert joined.card["undetected"] == {"test": 6}
    assert len(joined.crops) == len(joined.names) == len(joined.splits) == len(joined.labels) == 81
    assert joined.crops.shape == (81, 128, 128, 3)
    assert joined.names == again.names
    for row in (0, 71, 72, 80, -1):
        place = row % 81
        shard, own = (first, place) if place < 72 else (second, place - 72)
        assert np.array_equal(joined.crops[row], shard.crops[own])
        assert joined.labels[row] == shard.labels[own]
    assert np.array_equal(joined.crops[70:74], np.concatenate([first.crops[70:], second.crops[:2]]))
    assert joined.crops[81:].shape == (0, 128, 128, 3)
    assert np.array_equal(list(joined.crops)[75], second.crops[3])
    with pytest.raises(IndexError):
        joined.crops[81]
    assert joined.features is not None
    assert np.isfinite(joined.features).all(1).tolist() == [True] * 72 + [False] * 9


def test_shards_that_are_none(tmp_path) -> None:
    one = write_store(tmp_path / "one", features=4)
    with pytest.raises(StoreError, match="two stores of utkface were made from the same source"):
        open_stores([one, write_store(tmp_path / "same")])
    with pytest.raises(StoreError, match="differ in the size"):
        open_stores([one, write_store(tmp_path / "wider", features=6, seed=1)])


def test_features_find_their_faces_by_name(tree, tmp_path) -> None:
    prepare(tree, mask_folders.read, tmp_path / "out", size=32)
    names = Store.open(tmp_path / "out").names
    table = tmp_path / "teacher.npz"
    np.savez(table, path=np.array(names[:4:-1], "S"), features=np.arange(len(names) - 5)[:, None] * np.ones(3))
    assert attach_features(tmp_path / "out", table) == len(names) - 5
    features = Store.open(tmp_path / "out").features
    assert np.isnan(features[:5]).all()
    assert features[5:, 0].tolist() == list(range(len(names) - 6, -1, -1))
    np.savez(table, path=np.array(["other.png"], "S"), features=np.ones((1, 3)))
    with pytest.raises(StoreError, match="knows none"):
        attach_features(tmp_path / "out", table)
    table.write_text("text")
    with pytest.raises(StoreError, match="no table"):
        attach_features(tmp_path / "out", table)
