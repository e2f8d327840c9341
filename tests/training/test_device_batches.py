import multiprocessing
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.labels import GENDERS
from oamface.preprocessing import WHOLE_CROP, Preprocessing
from oamface.training import device_batches as module
from oamface.training.config import Phase, Recipe
from oamface.training.dataset import FaceDataset, NetworkView, epoch_batches, load_faces
from oamface.training.device_batches import Change, DeviceBatches

CPU = torch.device("cpu")
WHOLE = NetworkView(Preprocessing(WHOLE_CROP, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 64)
CLOSE = NetworkView(replace(WHOLE.preprocessing, crop_box=(0.25, 0.25, 0.75, 0.75)), 32)
LOW = NetworkView(replace(WHOLE.preprocessing, crop_box=(0.125, 0.25, 0.75, 0.875)), 80)
RECIPE = Recipe("test", (Phase(64, 1, 8),), device_augmentation=True, clean_pair_probability=0.0)
IDENTITY = Change(
    warp=torch.eye(2, 3)[None],
    border=torch.zeros(1, 4),
    gain=torch.ones(1, 3),
    offset=torch.zeros(1),
    blur=torch.zeros(1),
    noise=torch.zeros(1),
    grayscale=torch.tensor([False]),
    low_resolution=torch.tensor([False]),
    side=20,
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 16)


@pytest.fixture(scope="module")
def faces(store_folder):
    return load_faces([Store.open(store_folder)], "train", repeat={})


def batches(faces, *, views=(WHOLE,), batch_size=8, epoch=0, skip=0, **changes):
    """A whole epoch from batch `skip` on."""
    device_batches = DeviceBatches(faces, replace(RECIPE, **changes), views, CPU, pool=256)
    return list(device_batches.epoch(epoch, batch_size, skip=skip))


def equal(one, other) -> bool:
    return all(
        torch.equal(*pair)
        for pair in [
            (one.images, other.images),
            (one.occlusion, other.occlusion),
            *zip(one.candidates.values(), other.candidates.values(), strict=True),
            *zip(one.teacher_images, other.teacher_images, strict=True),
        ]
    )


def view(change: Change, crops: torch.Tensor, network_view: NetworkView = WHOLE) -> torch.Tensor:
    """What one network sees of (B, H, H, 3) uint8 crops."""
    generator = torch.Generator()
    return change.view(change.degrade(crops.permute(0, 3, 1, 2).float()), network_view, generator)


def test_shapes_and_types(faces) -> None:
    epoch = batches(faces, views=(WHOLE, CLOSE, LOW), batch_size=12, occlusion_probability=0.5)
    assert len(epoch) == 3  # a last incomplete batch is left out
    for batch in epoch:
        assert batch.images.shape == (12, 64, 64, 3)
        assert [images.shape for images in batch.teacher_images] == [(12, 32, 32, 3), (12, 80, 80, 3)]
        assert {images.dtype for images in (batch.images, *batch.teacher_images)} == {torch.uint8}
        assert batch.occlusion.shape == (12, 64, 64) and batch.occlusion.dtype == torch.float32
        assert batch.has_occlusion_mask.all()
        assert {task: table.shape[1] for task, table in batch.candidates.items()} == {
            task: table.shape[1] for task, table in faces.candidates.items()
        }
        assert batch.age_prior.shape == (12, 101) and batch.age_prior.dtype == torch.float32
        assert len(batch.occluded) == len(batch.clean) == 0


def test_batches_depend_on_seed_and_epoch_only(faces) -> None:
    whole = batches(faces)
    assert all(equal(one, other) for one, other in zip(whole, batches(faces), strict=True))
    assert not equal(whole[0], batches(faces, seed=1)[0])
    assert not equal(whole[0], batches(faces, epoch=1)[0])
    assert not equal(whole[0], whole[1])


def test_epoch_goes_on_after_skipped_batches(faces) -> None:
    whole, rest = batches(faces, occlusion_probability=0.0), batches(faces, occlusion_probability=0.0, skip=2)
    assert all(equal(one, other) for one, other in zip(whole[2:], rest, strict=True))


def test_epoch_without_occlusion_has_every_face_once(faces) -> None:
    epoch = batches(faces, occlusion_probability=0.0)
    assert not any(batch.occlusion.any() for batch in epoch)
    for task, table in faces.candidates.items():
        shown = torch.cat([batch.candidates[task] for batch in epoch])
        assert torch.equal(shown.sum(0), torch.from_numpy(table.sum(0)))


@pytest.mark.parametrize("network_view", [WHOLE, CLOSE])
def test_images_are_as_bright_as_those_of_workers(faces, network_view) -> None:
    recipe, phase = replace(RECIPE, occlusion_probability=0.0), Phase(network_view.size, 1, 40)
    epochs = [epoch_batches(faces, recipe, phase, epoch, network_view.preprocessing) for epoch in range(8)]
    loaded = [batch for epoch in epochs for batch in epoch]
    changes = {"views": (network_view,), "batch_size": 40, "occlusion_probability": 0.0}
    made = batches(faces, samples_per_epoch=320, **changes)
    one, other = (torch.cat([batch.images for batch in epoch]).float() for epoch in (loaded, made))
    assert torch.allclose(one.mean((0, 1, 2)), other.mean((0, 1, 2)), atol=6)
    assert torch.allclose(one.std((0, 1, 2)), other.std((0, 1, 2)), atol=6)
    assert float((one.mean(0) - other.mean(0)).abs().max()) < 25  # the face is at the same place


def test_drawn_masks_set_the_class_and_the_occlusion_map(faces) -> None:
    epoch = batches(faces, views=(WHOLE, CLOSE), occlusion_probability=1.0)
    candidates = torch.cat([batch.candidates["mask"] for batch in epoch])
    occlusion = torch.cat([batch.occlusion for batch in epoch])
    assert (candidates.sum(1) == 1).all()
    share = candidates.float().mean(0)
    assert 0.15 < share[0] < 0.7 and share[2] > share[1] > 0  # hands, scarves and the like are not masks
    masked = occlusion[candidates[:, 2]]  # all are worn over the mouth, which is in the lower half
    assert (masked.amax((1, 2)) > 0.9).all() and masked.min() >= 0 and masked.max() <= 1
    assert masked[:, 32:].mean() > 2 * masked[:, :32].mean()


def test_labels_are_those_of_the_face_shown(faces) -> None:
    """Drawn men are dark, women bright."""
    epoch = batches(faces, views=(CLOSE,), occlusion_probability=1.0, samples_per_epoch=160)
    women = torch.cat([batch.candidates["gender"] for batch in epoch])[:, GENDERS.index("female")]
    visible = [1 - batch.occlusion[..., None] for batch in epoch]
    sums = [(batch.images * shown).sum((1, 2, 3)) for batch, shown in zip(epoch, visible, strict=True)]
    brightness = torch.cat(sums) / (3 * torch.cat([shown.sum((1, 2, 3)) for shown in visible]))
    women_median, men_median = float(brightness[women].median()), float(brightness[~women].median())
    assert women_median > 1.3 * men_median
    is_bright = brightness > (women_median + men_median) / 2
    assert float((is_bright == women).float().mean()) > 0.8


def test_real_masks_keep_their_labels_and_have_no_occlusion_mask(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store"))
    store.labels[:] = [type(label)(mask=frozenset({"incorrect", "worn"})) for label in store.labels]
    for batch in batches(load_faces([store], "train", repeat={}), occlusion_probability=1.0):
        assert not batch.has_occlusion_mask.any()
        assert torch.equal(batch.candidates["mask"], torch.tensor([[False, True, True]]).expand(8, 3))


def test_all_views_show_the_same_face(faces) -> None:
    for batch in batches(faces, views=(WHOLE, CLOSE)):
        center, close = batch.images[:, 16:48, 16:48].float(), batch.teacher_images[0].float()
        difference, mirrored, others = (
            (center - other).abs().mean((1, 2, 3)) for other in (close, close.flip(2), close.roll(1, 0))
        )
        assert (difference < mirrored).all() and (difference < others).all()
        assert difference.median() < 1  # each view has its own noise, but few have any


def test_batch_holds_the_age_prior_of_its_faces(faces) -> None:
    prior = torch.from_numpy(faces.age_prior(replace(RECIPE, age_balance=0.5)))
    batch = batches(faces, age_balance=0.5)[0]
    assert prior.any() and torch.equal(batch.age_prior, prior[:8])  # one store, so one prior
    assert not batches(faces)[0].age_prior.any()


def test_batch_holds_features_and_soft_labels_of_its_faces(faces) -> None:
    number, ages = np.arange(40, dtype=np.float32)[:, None], faces.candidates["age"]
    with_teacher = replace(faces, features=number, soft_labels={"age": ages * np.float32(0.5)})
    batch = batches(with_teacher, occlusion_probability=1.0)[0]
    shown = batch.features[:, 0].long().numpy()
    assert len(set(shown)) > 1
    assert np.array_equal(batch.candidates["age"].numpy(), ages[shown])
    assert torch.equal(batch.soft_labels["age"], batch.candidates["age"] * 0.5)


@pytest.mark.parametrize("network_view", [WHOLE._replace(size=128), CLOSE._replace(size=64), LOW])
def test_unchanged_view_is_what_preprocessing_extracts(faces, network_view) -> None:
    crop = faces.crop(1)[0]
    seen = view(IDENTITY, torch.from_numpy(crop)[None], network_view)[0].numpy()
    expected = network_view.preprocessing.extract(crop, network_view.size)
    assert np.abs(seen.astype(int) - expected).max() <= 1
    occlusion = np.zeros((128, 128), np.uint8)
    occlusion[70:90, 40:100] = 255
    shown = IDENTITY.view_occlusion(torch.from_numpy(occlusion)[None], network_view)[0].numpy()
    assert np.allclose(shown, network_view.preprocessing.extract(occlusion, network_view.size) / 255, atol=1e-3)


def test_changes_of_one_face_leave_the_others_as_they_are(faces) -> None:
    crops = torch.from_numpy(np.stack([faces.crop(row)[0] for row in (1, 3)]))
    network_view = WHOLE._replace(size=128)
    plain = view(IDENTITY._replace(warp=IDENTITY.warp.expand(2, -1, -1)), crops, network_view).float()

    def changed(**changes) -> torch.Tensor:
        """The first face changed, the second not."""
        both = {name: torch.cat([value] * 2) for name, value in IDENTITY._asdict().items() if name != "side"}
        for name, value in changes.items():
            both[name][0] = torch.tensor(value, dtype=both[name].dtype)
        one, other = view(Change(**both, side=20), crops, network_view).float()
        assert float((other - plain[1]).abs().max()) <= 1
        return one

    def sharpness(image: torch.Tensor) -> float:
        return float(image.diff(dim=0).abs().mean())

    border = changed(border=[10.0, 20.0, 30.0, 40.0])
    assert (border[:, :9] == 127).all() and (border[:19] == 127).all()
    assert (border[:, 99:] == 127).all() and (border[89:] == 127).all()
    assert float((border[22:86, 12:96] - plain[0, 22:86, 12:96]).abs().max()) <= 1
    assert sharpness(changed(low_resolution=True)) < sharpness(changed(blur=1.0)) < 0.9 * sharpness(plain[0])
    assert float(changed(grayscale=True).std(2).max()) == 0
    assert 9 < float((changed(noise=10.0) - plain[0]).std()) < 11
    assert torch.allclose(changed(offset=-20.0), (plain[0] - 20).clamp_min(0), atol=1)
    assert torch.allclose(changed(gain=[0.5, 1.0, 1.0])[..., 0], plain[0, ..., 0] / 2 + 63.75, atol=1)
    mirrored = changed(warp=[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert float((mirrored - plain[0].flip(1)).abs().max()) <= 1


def test_workers_fill_the_pool_and_end_with_close(faces, monkeypatch) -> None:
    monkeypatch.setattr(module, "MIN_POOL", 128)
    before = multiprocessing.active_children()
    recipe = replace(RECIPE, occlusion_probability=1.0)
    device_batches = DeviceBatches(faces, recipe, [WHOLE], CPU, workers=2, pool=256)
    try:
        epoch = list(islice(device_batches.epoch(0, 8), 2))
        assert len(multiprocessing.active_children()) > len(before)
    finally:
        device_batches.close()
    assert multiprocessing.active_children() == before
    assert device_batches.filled >= 128
    assert all((batch.occlusion.amax((1, 2)) > 0.5).float().mean() > 0.7 for batch in epoch)


def test_error_of_a_worker_ends_the_training(faces, monkeypatch) -> None:
    def fail(self, index):
        raise ValueError("no such label")

    monkeypatch.setattr(FaceDataset, "has_no_mask", fail)
    before = multiprocessing.active_children()
    device_batches = DeviceBatches(faces, RECIPE, [WHOLE], CPU, workers=1, pool=256)
    try:
        with pytest.raises(ValueError, match="no such label"):
            next(device_batches.epoch(0, 8))
    finally:
        device_batches.close()
    assert multiprocessing.active_children() == before
