import numpy as np
import pytest

from oamface.synthetic.skin import (
    CREASES,
    face_textures,
    lab_to_linear,
    look_up,
    sample,
    skin_noise,
    slopes,
    smoothstep,
    spots,
    tone,
)


def test_lab_to_linear() -> None:
    assert lab_to_linear((100, 0, 0)) == pytest.approx([1, 1, 1], abs=0.01)
    assert lab_to_linear((50, 0, 0)) == pytest.approx([0.184] * 3, abs=0.004)  # mid grey
    red = lab_to_linear((53.2, 80.1, 67.2))
    assert red == pytest.approx([1, 0, 0], abs=0.02)


def test_tone_is_lighter_for_larger_angles() -> None:
    light = [float(tone(angle, 15, 10).mean()) for angle in (-60, -30, 0, 30, 55)]
    assert light == sorted(light)
    assert tone(45, 15, 10)[0] > tone(45, 15, 10)[2]  # skin reflects red most


def test_face_textures_have_each_feature_in_its_place() -> None:
    textures = face_textures()
    x = np.array([30, 0, 0, 60], np.float32)
    z = np.array([19, 45, -100, 0], np.float32)
    brow = sample(textures.brow, x, z)
    assert brow[0] > 0.9
    assert brow[1:] == pytest.approx(0, abs=0.02)
    names = list(CREASES)
    heights = {name: textures.creases[..., number] for number, name in enumerate(names)}
    assert all(height.min() < -0.2 for height in heights.values())
    assert sample(np.ascontiguousarray(heights["forehead"]), x, z)[1] < -0.2
    assert abs(float(sample(np.ascontiguousarray(heights["forehead"]), x, z)[2])) < 0.05
    mirrored = textures.creases[:, ::-1]
    assert np.abs(textures.creases[:, 1:] - mirrored[:, :-1]).mean() < 0.01


def test_slopes_of_a_plane() -> None:
    """A plane that rises by 0.1 along x and falls by 0.2 along z."""
    y, x = np.mgrid[0:40, 0:50].astype(np.float32) / 2  # mm at two pixels each
    slope = slopes((0.1 * x - 0.2 * -y).astype(np.float32))[5:-5, 5:-5]
    assert slope[..., 0] == pytest.approx(0.1, abs=1e-3)
    assert slope[..., 1] == pytest.approx(-0.2, abs=1e-3)


def test_skin_noise_is_normalized_and_seamless() -> None:
    noise = skin_noise()
    assert noise.mean((0, 1)) == pytest.approx([0] * 4, abs=1e-3)
    assert noise.std((0, 1)) == pytest.approx([1] * 4, abs=1e-3)
    positions = np.array([0.0, 100.5], np.float32)
    assert look_up(noise, positions + 512, positions - 1024) == pytest.approx(
        look_up(noise, positions, positions), abs=1e-3
    )
    inner, seam = np.abs(np.diff(noise, axis=1)).mean(), np.abs(noise[:, 0] - noise[:, -1]).mean()
    assert seam < 1.5 * inner


def test_spots_depend_on_generator_and_count() -> None:
    sparse, dense = (spots(np.random.default_rng(0), count, (1, 2)) for count in (5, 60))
    assert 0 < sparse.sum() < dense.sum()
    assert (spots(np.random.default_rng(0), 5, (1, 2)) == sparse).all()
    assert spots(np.random.default_rng(0), 0, (1, 2)).max() == 0


def test_smoothstep() -> None:
    assert smoothstep([-1, 0, 0.5, 1, 2]) == pytest.approx([0, 0, 0.5, 1, 1])
