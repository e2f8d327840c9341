import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.synthetic.raster import grid_faces, rasterise

TRIANGLE = np.array([[0, 0, 5], [10, 0, 5], [0, 10, 5]], np.float32)
CLOCKWISE = np.array([[0, 1, 2]])


def test_rasterise_fills_pixels_with_centres_inside() -> None:
    fragments = rasterise(TRIANGLE, CLOCKWISE, 12, 12)
    y, x = np.divmod(fragments.pixel, 12)
    inside = {(i, j) for i in range(12) for j in range(12) if i + 0.5 + j + 0.5 <= 10}
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == inside
    assert fragments.depth == pytest.approx(5)


def test_rasterise_culls_back_faces_unless_both_sides() -> None:
    back = CLOCKWISE[:, ::-1]
    assert not len(rasterise(TRIANGLE, back, 12, 12).pixel)
    assert len(rasterise(TRIANGLE, back, 12, 12, both_sides=True).pixel) == 55


def test_rasterise_shows_the_nearest_triangle_in_any_order() -> None:
    near = TRIANGLE - (0, 0, 3)
    for points in (np.concatenate([TRIANGLE, near]), np.concatenate([near, TRIANGLE])):
        faces = np.array([[0, 1, 2], [3, 4, 5]])
        fragments = rasterise(points, faces, 12, 12)
        assert fragments.depth == pytest.approx(2)
        assert (points[faces[fragments.face]][..., 2] == 2).all()


def test_interpolate_is_linear() -> None:
    fragments = rasterise(TRIANGLE, CLOCKWISE, 12, 12)
    y, x = np.divmod(fragments.pixel, 12)
    values = fragments.interpolate(TRIANGLE[:, :2].astype(np.float32), CLOCKWISE)
    assert values == pytest.approx(np.stack([x + 0.5, y + 0.5], 1), abs=1e-4)
    assert fragments.interpolate(TRIANGLE[:, 0].copy(), CLOCKWISE) == pytest.approx(x + 0.5, abs=1e-4)
    assert fragments.weights.sum(1) == pytest.approx(1)


def test_rasterise_sphere() -> None:
    turn, tilt = np.meshgrid(np.linspace(-np.pi, np.pi, 97), np.linspace(np.pi / 2, -np.pi / 2, 49))
    ball = np.stack([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)], -1).reshape(-1, 3)
    points = np.stack([50 + 40 * ball[:, 0], 50 - 40 * ball[:, 2], 40 * ball[:, 1]], 1).astype(np.float32)
    fragments = rasterise(points, grid_faces(49, 97), 100, 100)
    y, x = np.divmod(fragments.pixel, 100)
    distance = np.hypot(x + 0.5 - 50, y + 0.5 - 50)
    assert len(fragments.pixel) == pytest.approx(np.pi * 40**2, rel=0.01)
    assert fragments.depth == pytest.approx(-np.sqrt((40**2 - distance**2).clip(0)), abs=1.5)


@given(st.lists(st.floats(1, 29), min_size=8, max_size=8), st.integers(0, 2**16))
def test_rasterise_leaves_no_gaps_between_triangles(numbers, seed) -> None:
    """A fan of triangles around a point inside a square covers each of the square's pixels."""
    rng = np.random.default_rng(seed)
    square = np.array([[0, 0], [30, 0], [30, 30], [0, 30]], float)
    centre = np.array([numbers[0], numbers[1]])
    points = np.concatenate([square, centre[None], rng.random((1, 2))])
    points = np.concatenate([points, np.ones((6, 1))], 1).astype(np.float32)
    fragments = rasterise(points, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]), 30, 30)
    assert len(fragments.pixel) == 900


def test_rasterise_clips_to_the_image() -> None:
    fragments = rasterise(TRIANGLE * 100 - (300, 300, 0), CLOCKWISE, 12, 12)
    assert len(fragments.pixel) == 144
    assert not len(rasterise(TRIANGLE + (50, 0, 0), CLOCKWISE, 12, 12).pixel)
    assert not len(rasterise(TRIANGLE, np.zeros((0, 3), int), 12, 12).pixel)
