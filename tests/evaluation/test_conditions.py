import numpy as np

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.evaluation.conditions import CLEAN, CONDITIONS, OCCLUDED, apply_condition, select_rows
from oamface.labels import WITH_MASK, Label
from oamface.occlusion import HELD_OUT, STYLES


def test_occluded_conditions_use_only_held_out_styles() -> None:
    used = [style for condition in OCCLUDED.values() for style in condition.styles]
    assert set(used) == set(HELD_OUT)
    assert all(STYLES[style].is_mask for style in CONDITIONS["masks"].styles)


def test_apply_condition_depends_on_the_seed_alone(store_folder) -> None:
    store = Store.open(store_folder)
    one, other = (apply_condition(store, 3, CONDITIONS["masks"]) for _ in range(2))
    assert (one.image == other.image).all()
    assert (apply_condition(store, 3, CONDITIONS["masks"], seed=1).image != one.image).any()
    assert one.occlusion_mask.max() == 1


def test_clean_condition_leaves_the_crop_as_it_is(store_folder) -> None:
    store = Store.open(store_folder)
    clean = apply_condition(store, 3, CONDITIONS[CLEAN])
    assert (clean.image == store.crops[3]).all()
    assert clean.occlusion_mask.max() == 0
    assert clean.mask == "none"


def test_corrupted_condition_changes_the_crop_without_occlusion(store_folder) -> None:
    store = Store.open(store_folder)
    blurred = apply_condition(store, 3, CONDITIONS["motion_blur_2"])
    assert (blurred.image != store.crops[3]).any()
    assert blurred.occlusion_mask.max() == 0


def test_mask_positions_of_conditions() -> None:
    assert CONDITIONS["masks"].positions == ("correct",)
    assert "correct" not in CONDITIONS["masks_worn_wrongly"].positions


def test_occlusions_are_drawn_only_on_faces_labelled_without_mask(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store"))
    store.labels[71] = Label(mask=WITH_MASK)
    store.labels[70] = Label()
    assert len(select_rows(store, "test", CONDITIONS[CLEAN])) == 12
    assert select_rows(store, "test", CONDITIONS["masks"]) == list(range(60, 70))
    assert np.isin(select_rows(store, "train", CONDITIONS["objects"]), np.arange(40)).all()
