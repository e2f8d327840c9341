import json

import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.store import Store, attach_features, open_stores
from oamface.errors import StoreError


@pytest.mark.parametrize("file", ["crops.npy", "landmarks.npy", "labels.parquet", "card.json"])
def test_open_rejects_damaged_files(tmp_path, file) -> None:
    folder = write_store(tmp_path / "store")
    (folder / file).write_bytes(b'"dam')
    with pytest.raises(StoreError, match=r"without card\.json|not a complete store"):
        Store.open(folder)


def test_open_rejects_another_crop_size(tmp_path) -> None:
    with pytest.raises(StoreError, match="64"):
        Store.open(write_store(tmp_path / "store"), size=64)


def test_open_rejects_older_layout(tmp_path) -> None:
    folder = write_store(tmp_path / "store")
    card = json.loads((folder / "card.json").read_text())
    (folder / "crops.npy").rename(folder / "images.npy")
    (folder / "card.json").write_text(json.dumps({**card, "format": 1}))
    with pytest.raises(StoreError, match="oamface data prepare"):
        Store.open(folder)


def test_open_stores_joins_undetected_faces_of_shards(tmp_path) -> None:
    folders = [write_store(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    write_store(folders[0] / "undetected", splits={"calibrate": 4}, seed=3)
    assert open_stores(folders)[0].undetected is None
    write_store(folders[1] / "undetected", splits={"calibrate": 3, "undetected": 2}, seed=4)
    assert len(open_stores(folders)[0].undetected.crops) == 9


def test_open_stores_joins_shards_of_a_data_set(tmp_path) -> None:
    shards = [
        write_store(tmp_path / "other", seed=1, features=4),
        write_store(tmp_path / "lfw", data_set="lfw"),
        write_store(tmp_path / "one", splits={"train": 5, "test": 4}, seed=2),
    ]
    (joined, alone), (again, _) = open_stores(shards), open_stores(shards[::-1])
    first, second = (Store.open(folder) for folder in (shards[0], shards[2]))
    assert alone.data_set == "lfw"
    assert joined.digest == again.digest not in (first.digest, second.digest)
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


def test_open_stores_rejects_equal_and_incompatible_shards(tmp_path) -> None:
    one = write_store(tmp_path / "one", features=4)
    with pytest.raises(StoreError, match="same images"):
        open_stores([one, write_store(tmp_path / "same")])
    with pytest.raises(StoreError, match="differ in the size"):
        open_stores([one, write_store(tmp_path / "wider", features=6, seed=1)])


def test_attach_features_matches_faces_by_name(tmp_path) -> None:
    folder, table = write_store(tmp_path / "store", splits={"train": 10}), tmp_path / "features.npz"
    names = Store.open(folder).names
    np.savez(table, path=np.array(names[:4:-1], "S"), features=np.arange(5)[:, None] * np.ones(3))
    assert attach_features(folder, table) == 5
    features = Store.open(folder).features
    assert np.isnan(features[:5]).all()
    assert features[5:, 0].tolist() == [4, 3, 2, 1, 0]


def test_attach_features_rejects_other_and_damaged_tables(tmp_path) -> None:
    folder, table = write_store(tmp_path / "store"), tmp_path / "features.npz"
    np.savez(table, path=np.array(["other.png"], "S"), features=np.ones((1, 3)))
    with pytest.raises(StoreError, match="same archive"):
        attach_features(folder, table)
    table.write_text("text")
    with pytest.raises(StoreError, match="not a table"):
        attach_features(folder, table)
