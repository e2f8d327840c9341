import numpy as np
import pytest

from oamface.evaluation.conditions import CORRUPTED
from oamface.evaluation.corruptions import CORRUPTIONS, jpeg, low_light, noise


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_higher_strength_changes_the_crop_more(name, face) -> None:
    crop, corruption = face[0], CORRUPTIONS[name]
    changes = [
        np.abs(corruption.apply(crop, strength, np.random.default_rng(0)).astype(float) - crop).mean()
        for strength in corruption.strengths
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_keeps_shape_and_is_reproducible(name, face) -> None:
    crop, corruption = face[0], CORRUPTIONS[name]
    one, other = (corruption.apply(crop, corruption.strengths[1], np.random.default_rng(3)) for _ in range(2))
    assert (one == other).all()
    assert one.shape == crop.shape
    assert one.dtype == np.uint8


def test_low_light_of_one_stop_halves_the_light() -> None:
    grey = np.full((64, 64, 3), 200, np.uint8)
    dark = low_light(grey, 1, np.random.default_rng(0))
    assert (dark.mean() / 200) ** 2.2 == pytest.approx(0.5, abs=0.01)


def test_noise_has_the_requested_std() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert noise(grey, 10, np.random.default_rng(0)).std() == pytest.approx(10, rel=0.03)


def test_jpeg_keeps_the_colours() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(jpeg(red, 90, np.random.default_rng(0)).astype(int) - red).max() < 8


def test_every_corruption_and_strength_is_a_condition() -> None:
    assert len(CORRUPTED) == 3 * len(CORRUPTIONS)
    assert CORRUPTED["jpeg_8"].strength == 8
