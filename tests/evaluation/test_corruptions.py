import numpy as np
import pytest

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.evaluation import conditions
from oamface.evaluation.conditions import CLEAN, CONDITIONS, CORRUPTED, select_rows
from oamface.evaluation.corruptions import CORRUPTIONS, IMAGENET_C, STRENGTHS, corrupt


def corrupted(crop: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    return corrupt(crop, name, strength, np.random.default_rng(seed)).astype(float)


def grey(level: int) -> np.ndarray:
    return np.full((128, 128, 3), level, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_worst_strength_leaves_least_of_the_crop(name, face) -> None:
    """By the correlation with the clean crop, which a change of the overall brightness leaves as it is."""
    kept = [np.corrcoef(corrupted(face[0], name, strength).ravel(), face[0].ravel())[0, 1] for strength in (1, 5)]
    assert 1 > kept[0] > kept[1]
    assert (corrupted(face[0], name, 5) != face[0]).mean() > 0.2


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_keeps_shape_and_is_reproducible(name, face) -> None:
    one, other = (corrupt(face[0], name, 3, np.random.default_rng(3)) for _ in range(2))
    assert (one == other).all()
    assert one.shape == face[0].shape
    assert one.dtype == np.uint8


def test_low_light_of_two_stops_quarters_the_light() -> None:
    assert (corrupted(grey(200), "low_light", 1).mean() / 200) ** 2.2 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("strength", "std"), [(1, 0.08), (2, 0.12)])
def test_gaussian_noise_has_the_std_of_imagenet_c(strength, std) -> None:
    assert corrupted(grey(128), "gaussian_noise", strength).std() == pytest.approx(255 * std, rel=0.03)


def test_shot_noise_has_the_variance_of_its_photons() -> None:
    assert corrupted(grey(64), "shot_noise", 1).std() / 255 == pytest.approx((64 / 255 / 60) ** 0.5, rel=0.03)


def test_impulse_noise_hits_its_share_of_the_values() -> None:
    values = corrupted(grey(128), "impulse_noise", 5)
    assert (values != 128).mean() == pytest.approx(0.27, abs=0.01)
    assert set(np.unique(values)) == {0, 128, 255}


def test_blurs_spread_a_dot_and_keep_its_light() -> None:
    dot = np.zeros((128, 128, 3), np.uint8)
    dot[60:68, 60:68] = 255
    for name in ("defocus_blur", "glass_blur", "motion_blur"):
        blurred = corrupted(dot, name, 5)
        assert (blurred > 10).sum() > 1.2 * (dot > 10).sum()
        assert blurred.sum() == pytest.approx(dot.sum(), rel=0.15)


def test_brightness_and_contrast_are_those_of_imagenet_c() -> None:
    assert corrupted(grey(100), "brightness", 3).mean() == pytest.approx(100 + 0.3 * 255, abs=1)
    halves = np.concatenate([grey(80)[:64], grey(120)[:64]])
    assert np.ptp(corrupted(halves, "contrast", 1)) == pytest.approx(0.4 * 40, abs=1)


def test_jpeg_keeps_the_colours() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(corrupted(red, "jpeg_compression", 1) - red).max() < 12


def test_pixelate_leaves_few_colours(face) -> None:
    assert len(np.unique(corrupted(face[0], "pixelate", 5).reshape(-1, 3), axis=0)) <= 32 * 32


def test_every_corruption_and_strength_is_a_condition() -> None:
    assert len(IMAGENET_C) == 14
    assert set(CORRUPTED) == {f"{name}_{strength}" for name in CORRUPTIONS for strength in STRENGTHS}


def test_corrupted_are_always_the_same_labelled_faces(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(conditions, "CORRUPTED_FACES", 5)
    store = Store.open(write_store(tmp_path / "store"))
    rows = [select_rows(store, "test", CONDITIONS[name]) for name in (CLEAN, "snow_1", "fog_5")]
    assert len(rows[1]) == 5
    assert rows[1] == rows[2] == sorted(rows[1])
    assert set(rows[1]) < set(rows[0])
