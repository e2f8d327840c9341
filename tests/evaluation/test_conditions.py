import numpy as np

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.evaluation.conditions import CLEAN, CONDITIONS, COVERED, rows_of, view
from oamface.labels import WITH_MASK, Label
from oamface.occlusion import HELD_OUT, STYLES


def test_faces_are_covered_only_with_what_training_never_drew() -> None:
    used = [style for condition in COVERED.values() for style in condition.styles]
    assert set(used) == set(HELD_OUT)
    assert all(STYLES[style].mask for style in CONDITIONS["masks"].styles)


def test_a_view_is_always_the_same(store_folder) -> None:
    store = Store.open(store_folder)
    one, other = (view(store, 3, CONDITIONS["masks"]) for _ in range(2))
    assert (one.image == other.image).all()
    assert (view(store, 3, CONDITIONS["masks"], seed=1).image != one.image).any()
    assert one.coverage.max() == 1
    assert (view(store, 3, CONDITIONS[CLEAN]).image == store.crops[3]).all()


def test_wears() -> None:
    assert CONDITIONS["masks"].wears == ("right",)
    assert "right" not in CONDITIONS["masks_worn_wrongly"].wears


def test_nothing_is_drawn_on_faces_that_may_wear_a_mask(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store"))
    store.labels[71] = Label(mask=WITH_MASK)
    store.labels[70] = Label()
    assert len(rows_of(store, "test", CONDITIONS[CLEAN])) == 12
    assert rows_of(store, "test", CONDITIONS["masks"]) == list(range(60, 70))
    assert np.isin(rows_of(store, "train", CONDITIONS["objects"]), np.arange(40)).all()
