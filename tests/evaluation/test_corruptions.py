import numpy as np
import pytest

from oamface.evaluation.conditions import DAMAGED
from oamface.evaluation.corruptions import CAMERA, jpeg, low_light, noise


@pytest.mark.parametrize("name", CAMERA)
def test_more_of_it_changes_the_picture_more(name, face) -> None:
    crop, damage = face[0], CAMERA[name]
    away = [
        np.abs(damage.change(crop, strength, np.random.default_rng(0)).astype(float) - crop).mean()
        for strength in damage.strengths
    ]
    assert 0 < away[0] < away[1] < away[2]


@pytest.mark.parametrize("name", CAMERA)
def test_a_chip_comes_back_and_the_same_seed_gives_the_same(name, face) -> None:
    crop, damage = face[0], CAMERA[name]
    one, other = (damage.change(crop, damage.strengths[1], np.random.default_rng(3)) for _ in range(2))
    assert (one == other).all()
    assert one.shape == crop.shape
    assert one.dtype == np.uint8


def test_a_stop_is_half_the_light() -> None:
    grey = np.full((64, 64, 3), 200, np.uint8)
    dark = low_light(grey, 1, np.random.default_rng(0))
    assert (dark.mean() / 200) ** 2.2 == pytest.approx(0.5, abs=0.01)


def test_noise_has_the_deviation_asked_for_and_jpeg_keeps_the_colours() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert noise(grey, 10, np.random.default_rng(0)).std() == pytest.approx(10, rel=0.03)
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(jpeg(red, 90, np.random.default_rng(0)).astype(int) - red).max() < 8


def test_every_damage_at_three_strengths_is_a_condition() -> None:
    assert len(DAMAGED) == 3 * len(CAMERA)
    assert DAMAGED["jpeg_8"].strength == 8
