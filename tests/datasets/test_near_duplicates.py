import cv2
import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.near_duplicates import find_near_duplicates
from oamface.datasets.store import Store


@pytest.fixture
def folder(tmp_path):
    return write_store(tmp_path / "store", splits={"train": 10, "test": 4})


def test_find_near_duplicates_ignores_different_faces(folder) -> None:
    assert not find_near_duplicates(Store.open(folder)).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda crop: crop,
        lambda crop: crop[:, ::-1],
        lambda crop: np.clip(crop * 0.8 + 20, 0, 255).astype(np.uint8),
        lambda crop: cv2.GaussianBlur(crop, (0, 0), 2),
    ],
    ids=["same", "mirrored", "recoloured", "blurred"],
)
def test_find_near_duplicates_finds_changed_copies_of_test_faces(folder, change) -> None:
    crops = np.load(folder / "crops.npy")
    crops[2] = change(crops[11])
    np.save(folder / "crops.npy", crops)
    assert np.flatnonzero(find_near_duplicates(Store.open(folder))).tolist() == [2]


def test_find_near_duplicates_without_test_split(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"train": 3}))
    assert not find_near_duplicates(store).any()
