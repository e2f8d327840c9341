import numpy as np
import pytest

from drawn import write_store
from oamface.data.store import Store
from oamface.labels import TASKS
from oamface.train.batches import gather
from oamface.train.teacher import TAUGHT, soft_labels


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """120 faces whose first feature tells the gender and the rest nothing; every tenth has no features."""
    folder = write_store(tmp_path_factory.mktemp("stores") / "taught", splits={"train": 120}, features=8)
    features = np.load(folder / "teacher.npy")
    features[:, 0] = np.where(np.arange(120) % 2, 2.0, -2.0)
    features[::10] = np.nan
    np.save(folder / "teacher.npy", features)
    return Store.open(folder)


def test_what_the_features_tell_and_no_more(store) -> None:
    faces = gather([store], "train", repeat={})
    soft = soft_labels(faces, passes=30)
    known = np.isfinite(faces.features).all(1)
    assert soft.keys() == set(TAUGHT)
    for task, table in soft.items():
        assert table.shape == (120, len(TASKS[task]))
        assert np.allclose(table[known].sum(1), 1, atol=1e-4)
        assert np.isnan(table[~known]).all()
    gender = faces.members["gender"][known].argmax(1)
    assert (soft["gender"][known].argmax(1) == gender).mean() > 0.95
    # Cross-fitted answers cannot know a label that the features do not tell.
    race = faces.members["race"][known]
    assert race[np.arange(len(race)), soft["race"][known].argmax(1)].mean() < 0.6


def test_no_features_no_soft_labels(store_folder) -> None:
    assert soft_labels(gather([Store.open(store_folder)], "train", repeat={})) == {}


def test_the_same_seed_gives_the_same(store) -> None:
    faces = gather([store], "train", repeat={})
    one, other = soft_labels(faces, passes=2), soft_labels(faces, passes=2)
    assert all(np.array_equal(one[task], other[task], equal_nan=True) for task in TAUGHT)
