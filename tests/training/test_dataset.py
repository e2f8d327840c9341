from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import TrainError
from oamface.labels import GENDERS, Label
from oamface.preprocessing import WHOLE_CROP, Preprocessing
from oamface.training.config import Phase, Recipe
from oamface.training.dataset import draw_order, epoch_batches, load_faces, steps_per_epoch
from oamface.training.losses import partial_label_nll

PREPROCESSING = Preprocessing(WHOLE_CROP, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RECIPE = Recipe("test", (Phase(64, 1, 8),), occlusion_probability=0.5, clean_pair_probability=1.0)


@pytest.fixture(scope="module")
def faces(store_folder):
    return load_faces([Store.open(store_folder)], "train", repeat={})


def batches(faces, *, epoch=0, skip=0, workers=0, rank=0, world_size=1, **changes):
    recipe = replace(RECIPE, **changes)
    settings = {"skip": skip, "workers": workers, "rank": rank, "world_size": world_size}
    return list(epoch_batches(faces, recipe, recipe.phases[0], epoch, PREPROCESSING, **settings))


def equal(one, other) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.occlusion, other.occlusion)


def test_load_faces_of_one_split(store_folder) -> None:
    store = Store.open(store_folder)
    assert [len(load_faces([store], split, repeat={})) for split in ("train", "calibrate", "test")] == [40, 20, 12]
    exclude = [np.arange(72) < 30, np.zeros(72, bool)]
    assert len(load_faces([store, store], "train", repeat={}, exclude=exclude)) == 10 + 40
    with pytest.raises(TrainError, match="no face"):
        load_faces([store], "holdout", repeat={})


def test_epoch_has_every_face_once_in_its_own_order(faces) -> None:
    one, other = (batches(faces, epoch=epoch, occlusion_probability=0.0) for epoch in (0, 1))
    ages = [torch.cat([batch.candidates["age"] for batch in epoch]).float() for epoch in (one, other)]
    assert len(one) == 5
    assert not torch.equal(*ages)
    assert torch.equal(ages[0].sum(0), ages[1].sum(0))


def test_batches_depend_on_seed_and_epoch_only(faces) -> None:
    whole = batches(faces)
    assert all(equal(one, other) for one, other in zip(whole, batches(faces), strict=True))
    assert all(equal(one, other) for one, other in zip(whole[2:], batches(faces, skip=2), strict=True))
    assert all(equal(one, other) for one, other in zip(whole, batches(faces, workers=2), strict=True))
    assert not equal(whole[0], batches(faces, seed=1)[0])


def test_processes_share_every_batch(faces) -> None:
    shares = [batches(faces, rank=rank, world_size=3, clean_pair_probability=0.0) for rank in range(3)]
    for whole, *parts in zip(batches(faces, clean_pair_probability=0.0), *shares, strict=True):
        assert [len(part.images) for part in parts] == [3, 3, 2]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)


def test_occluded_faces_come_with_clean_pairs(faces) -> None:
    for batch in batches(faces, occlusion_probability=1.0):
        assert batch.images.shape == (16, 64, 64, 3)
        assert torch.equal(batch.occluded, torch.arange(8))
        assert torch.equal(batch.clean, torch.arange(8, 16))
        assert not batch.occlusion[batch.clean].any()
        assert (batch.occlusion[batch.occluded].sum((1, 2)) > 0).all()
        for task in ("age", "gender", "race"):
            assert torch.equal(batch.candidates[task][batch.occluded], batch.candidates[task][batch.clean])
        # Away from the occlusion both are the same image.
        is_clean = torch.nn.functional.max_pool2d(batch.occlusion[batch.occluded, None], 25, 1, 12)[:, 0] == 0
        difference = (batch.images[batch.occluded].int() - batch.images[batch.clean].int()).abs().amax(3)
        assert difference[is_clean].float().mean() < 1


def test_mask_labels_are_those_of_the_drawn_masks(faces) -> None:
    changes = {"occlusion_probability": 1.0, "clean_pair_probability": 0.0}
    candidates = torch.cat([batch.candidates["mask"] for batch in batches(faces, **changes)])
    assert (candidates.sum(1) == 1).all()
    share = candidates.float().mean(0)
    assert 0.15 < share[0] < 0.6  # hands, scarves and the like are not masks
    assert share[2] > share[1] > 0


def test_real_masks_keep_their_labels_and_have_no_occlusion_mask(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store"))
    store.labels[:] = [type(label)(mask=frozenset({"incorrect", "worn"})) for label in store.labels]
    for batch in batches(load_faces([store], "train", repeat={}), occlusion_probability=1.0):
        assert not batch.has_occlusion_mask.any()
        assert len(batch.occluded) == 0
        assert torch.equal(batch.candidates["mask"], torch.tensor([[False, True, True]]).expand(8, 3))


def test_repeat_and_features(tmp_path) -> None:
    with_features = Store.open(write_store(tmp_path / "features", features=5))
    without = Store.open(write_store(tmp_path / "plain", data_set="fairface", seed=1))
    faces = load_faces([with_features, without], "train", repeat={"fairface": 3})
    assert steps_per_epoch(faces, 8) == (40 + 3 * 40) // 8
    assert faces.features.shape == (80, 5)
    assert np.abs(faces.features[:40].mean(0)).max() < 1e-3
    assert np.isnan(faces.features[40:]).all()
    with pytest.raises(TrainError, match="do not fill one batch"):
        steps_per_epoch(faces, 1000)


def test_samples_per_epoch_may_exceed_the_faces(faces) -> None:
    assert steps_per_epoch(faces, 8, 64) == len(batches(faces, samples_per_epoch=64)) == 8


def test_mixup_blends_two_faces_and_drops_the_labels(faces) -> None:
    batch = batches(faces)[0]
    before = batch.images.clone()
    torch.manual_seed(3)
    mixed = batch.mixup()
    assert torch.equal(batch.images, before)
    assert mixed.images.shape == batch.images.shape and mixed.images.dtype == torch.uint8
    originals = torch.cat([before, before.flip(2)])
    assert (mixed.images <= originals.amax(0)).all() and (mixed.images >= originals.amin(0)).all()
    is_new = [all(not torch.equal(row, original) for original in originals) for row in mixed.images]
    assert sum(is_new) >= len(is_new) - 2  # one may by chance be blended with itself
    assert not mixed.has_occlusion_mask.any() and len(mixed.occluded) == len(mixed.clean) == 0
    for candidates in mixed.candidates.values():
        assert partial_label_nll(torch.randn(candidates.shape), candidates.float()) == 0
    torch.manual_seed(3)
    assert torch.equal(batch.mixup().images, mixed.images)


def test_mixup_mixes_all_views_alike(faces) -> None:
    batch = batches(faces)[0]
    batch = batch._replace(teacher_images=(batch.images, batch.images[:, 16:48, 16:48]))
    mixed = batch.mixup()
    assert torch.equal(mixed.teacher_images[0], mixed.images)
    assert torch.equal(mixed.teacher_images[1], mixed.images[:, 16:48, 16:48])


@pytest.fixture(scope="module")
def unequal_faces(tmp_path_factory):
    """Two stores: 30 men of 25 and 10 women of 61; 20 men of 35, the half of them of unknown race."""
    folder = tmp_path_factory.mktemp("stores")
    stores = [
        Store.open(write_store(folder / name, data_set=name, splits={"train": count}, seed=count))
        for name, count in (("utkface", 40), ("fairface", 20))
    ]
    white, man = frozenset({"White"}), frozenset({"male"})
    woman = Label((61, 61), frozenset({"female"}), white)
    stores[0].labels[:] = [Label((25, 25), man, white)] * 30 + [woman] * 10
    stores[1].labels[:] = [Label((35, 35), man, white)] * 10 + [Label((35, 35), man)] * 10
    return load_faces(stores, "train", repeat={"utkface": 2})


GROUPS = np.repeat([0, 1, 2, 3], [30, 10, 10, 10])


@pytest.mark.parametrize(
    ("balance", "shares"), [(0.0, [0.6, 0.2, 0.1, 0.1]), (0.5, [0.507, 0.293, 0.1, 0.1]), (1.0, [0.4, 0.4, 0.1, 0.1])]
)
def test_group_balance_keeps_the_shares_of_stores(unequal_faces, balance, shares) -> None:
    weights = unequal_faces.drawing_weights(balance)
    assert np.bincount(GROUPS, weights) == pytest.approx(shares, abs=1e-3)
    assert all(len(np.unique(weights[group == GROUPS].round(12))) == 1 for group in range(4))


def test_epoch_draws_faces_by_group(unequal_faces) -> None:
    recipe = replace(RECIPE, group_balance=1.0, samples_per_epoch=4000)
    one, again, other = (draw_order(unequal_faces, recipe, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.bincount(GROUPS[one]) / 4000 == pytest.approx([0.4, 0.4, 0.1, 0.1], abs=0.03)
    assert len(draw_order(unequal_faces, replace(RECIPE, group_balance=1.0), 0)) == 2 * 40 + 20
    drawn = torch.cat(
        [batch.candidates["gender"] for batch in batches(unequal_faces, group_balance=1.0, samples_per_epoch=200)]
    )
    assert 60 < drawn[:, GENDERS.index("female")].sum() < 100  # 40 of them without the balance


def test_age_prior_is_of_the_ages_of_each_store(unequal_faces) -> None:
    assert not unequal_faces.age_prior(RECIPE).any()
    prior = unequal_faces.age_prior(replace(RECIPE, age_balance=1.0))
    assert prior.shape == (60, 101) and prior.dtype == np.float32
    assert np.allclose(np.exp(prior).sum(1), 1, atol=1e-4)
    assert (prior[0] == prior[39]).all() and (prior[40] == prior[59]).all()
    assert prior[0].argmax() == 25 and prior[40].argmax() == 35
    assert prior[0, 25] > prior[0, 26] > prior[0, 61] > prior[0, 80]
    assert np.exp(prior[0, 25] - prior[0, 61]) == pytest.approx(3, abs=0.1)
    assert np.allclose(unequal_faces.age_prior(replace(RECIPE, age_balance=0.5)), prior / 2, atol=1e-5)
    balanced = unequal_faces.age_prior(replace(RECIPE, age_balance=1.0, group_balance=1.0))
    assert balanced[0, 25] == pytest.approx(balanced[0, 61], abs=0.01)  # as often as they are drawn
    batch = batches(unequal_faces, age_balance=1.0, clean_pair_probability=0.0)[0]
    of_first = batch.candidates["age"][:, [25, 61]].any(1)
    assert 0 < of_first.sum() < 8
    assert torch.equal(batch.age_prior, torch.from_numpy(prior[np.where(of_first, 0, 40)]))


def test_age_prior_without_known_ages_favours_none(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store", splits={"train": 8}))
    store.labels[:] = [Label()] * 8
    prior = load_faces([store], "train", repeat={}).age_prior(replace(RECIPE, age_balance=1.0))
    assert np.isfinite(prior).all() and float(np.ptp(prior)) == 0
