import cv2
import numpy as np
import pytest

from drawn import write_store
from oamface.data.duplicates import copies_of_test
from oamface.data.store import Store


@pytest.fixture
def folder(tmp_path):
    return write_store(tmp_path / "store", splits={"train": 10, "test": 4})


def test_other_faces_are_no_copies(folder) -> None:
    assert not copies_of_test(Store.open(folder)).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda chip: chip,
        lambda chip: chip[:, ::-1],
        lambda chip: np.clip(chip * 0.8 + 20, 0, 255).astype(np.uint8),
        lambda chip: cv2.GaussianBlur(chip, (0, 0), 2),
    ],
    ids=["same", "mirrored", "recoloured", "blurred"],
)
def test_copies_in_disguise(folder, change) -> None:
    chips = np.load(folder / "chips.npy")
    chips[2] = change(chips[11])
    np.save(folder / "chips.npy", chips)
    assert np.flatnonzero(copies_of_test(Store.open(folder))).tolist() == [2]


def test_without_a_test_part(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"train": 3}))
    assert not copies_of_test(store).any()
