from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.errors import SynthError
from oamface.images import read_image
from oamface.synthetic.camera import compress, develop, render_surroundings
from oamface.synthetic.scene import EXPRESSIONS, LIGHTS, SURROUNDINGS, Scene, facial_actions, rotation

GREY = np.full((64, 64, 3), 0.18, np.float32)


@pytest.mark.parametrize(
    "changed",
    [
        {"light": "disco"},
        {"surroundings": "moon"},
        {"expression": "bored"},
        {"yaw": 90.0},
        {"fill": 0.0},
        {"quality": 0},
        {"distance": 1.0},
    ],
)
def test_scene_rejects_invalid_values(changed) -> None:
    with pytest.raises(SynthError):
        replace(Scene(), **changed)


@given(st.integers(0, 2**32 - 1))
def test_random_scene_is_reproducible(seed) -> None:
    assert Scene.random(np.random.default_rng(seed)) == Scene.random(np.random.default_rng(seed))


def test_rotation_directions() -> None:
    nose, crown = np.array((0, -1, 0)), np.array((0, 0, 1))
    assert (rotation(Scene(yaw=30)) @ nose)[0] > 0.4  # to the image's right
    assert (rotation(Scene(pitch=20)) @ nose)[2] > 0.3  # up
    assert (rotation(Scene(roll=20)) @ crown)[0] > 0.3  # clockwise
    turn = rotation(Scene(yaw=20, pitch=-10, roll=5))
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-6)


def test_facial_actions_exist_in_anny(head_model) -> None:
    names = set(head_model.head.actions)
    for expression in EXPRESSIONS:
        values = facial_actions(Scene(expression=expression, gaze=(10, 5)), head_model.head.actions)
        assert set(values) <= names
        assert all(0 <= value <= 1 for value in values.values())
        assert len(values) > 3 or expression == "neutral"
    right, left = (facial_actions(Scene(gaze=(side, 0)), head_model.head.actions) for side in (12.0, -12.0))
    assert right["eyeLookOutLeft"] > 0
    assert left["eyeLookInLeft"] > 0


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_render_surroundings_is_reproducible(surroundings) -> None:
    scenes = [Scene(surroundings=surroundings, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (render_surroundings(scene, 96) for scene in scenes)
    assert (one == same).all()
    assert np.abs(one - other).max() > 0.02
    assert one.shape == (96, 96, 3)
    assert one.min() >= 0


def test_develop_exposure_warmth_and_noise() -> None:
    plain = develop(GREY, Scene(noise=0.0))
    assert develop(GREY, Scene(noise=0.0, stops=1)).mean() > plain.mean() + 30
    assert develop(GREY, Scene(noise=0.0, stops=-1)).mean() < plain.mean() - 25
    warm = develop(GREY, Scene(noise=0.0, warmth=0.8)).mean((0, 1)) - plain.mean((0, 1))
    assert warm[0] > 3
    assert warm[2] < -3
    assert plain.std((0, 1)).max() == 0
    assert develop(GREY, Scene(noise=0.5)).std() > 3
    assert (develop(GREY, Scene(noise=0.5, seed=3)) == develop(GREY, Scene(noise=0.5, seed=3))).all()
    assert develop(50 * GREY, Scene()).max() == 255  # overexposure is white


@pytest.mark.parametrize("light", LIGHTS)
def test_develop_white_balance_removes_most_colour_of_light(light) -> None:
    """Grey paper stays nearly grey under every light."""
    lamp = LIGHTS[light]
    paper = GREY * (np.array(lamp.key[1]) * 0.5 + np.array(lamp.sky) * 0.5).astype(np.float32)
    image = develop(paper, Scene(light=light, noise=0.0)).mean((0, 1))
    assert np.ptp(image) < 60


def test_compress_writes_readable_jpeg() -> None:
    image = develop(GREY, Scene())
    assert np.abs(read_image(compress(image, 95)).astype(int) - image).mean() < 4
