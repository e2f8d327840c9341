import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.synthetic.raster import grid_faces, rasterise

TRIANGLE = np.array([[0, 0, 5], [10, 0, 5], [0, 10, 5]], np.float32)
CLOCKWISE = np.array([[0, 1, 2]])


def test_a_triangle_covers_the_pixels_whose_centres_lie_in_it() -> None:
    seen = rasterise(TRIANGLE, CLOCKWISE, 12, 12)
    y, x = np.divmod(seen.pixel, 12)
    inside = {(i, j) for i in range(12) for j in range(12) if i + 0.5 + j + 0.5 <= 10}
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == inside
    assert seen.depth == pytest.approx(5)


def test_what_turns_its_back_is_left_out_unless_both_sides_count() -> None:
    back = CLOCKWISE[:, ::-1]
    assert not len(rasterise(TRIANGLE, back, 12, 12).pixel)
    assert len(rasterise(TRIANGLE, back, 12, 12, both_sides=True).pixel) == 55


def test_the_nearest_wins_whatever_the_order() -> None:
    near = TRIANGLE - (0, 0, 3)
    for points in (np.concatenate([TRIANGLE, near]), np.concatenate([near, TRIANGLE])):
        faces = np.array([[0, 1, 2], [3, 4, 5]])
        seen = rasterise(points, faces, 12, 12)
        assert seen.depth == pytest.approx(2)
        assert (points[faces[seen.face]][..., 2] == 2).all()


def test_values_between_vertices_are_linear() -> None:
    seen = rasterise(TRIANGLE, CLOCKWISE, 12, 12)
    y, x = np.divmod(seen.pixel, 12)
    values = seen.of(TRIANGLE[:, :2].astype(np.float32), CLOCKWISE)
    assert values == pytest.approx(np.stack([x + 0.5, y + 0.5], 1), abs=1e-4)
    assert seen.of(TRIANGLE[:, 0].copy(), CLOCKWISE) == pytest.approx(x + 0.5, abs=1e-4)
    assert seen.weights.sum(1) == pytest.approx(1)


def test_a_sphere_looks_like_one() -> None:
    turn, tilt = np.meshgrid(np.linspace(-np.pi, np.pi, 97), np.linspace(np.pi / 2, -np.pi / 2, 49))
    ball = np.stack([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)], -1).reshape(-1, 3)
    points = np.stack([50 + 40 * ball[:, 0], 50 - 40 * ball[:, 2], 40 * ball[:, 1]], 1).astype(np.float32)
    seen = rasterise(points, grid_faces(49, 97), 100, 100)
    y, x = np.divmod(seen.pixel, 100)
    away = np.hypot(x + 0.5 - 50, y + 0.5 - 50)
    assert len(seen.pixel) == pytest.approx(np.pi * 40**2, rel=0.01)
    assert seen.depth == pytest.approx(-np.sqrt((40**2 - away**2).clip(0)), abs=1.5)


@given(st.lists(st.floats(1, 29), min_size=8, max_size=8), st.integers(0, 2**16))
def test_neighbours_leave_no_gap(numbers, seed) -> None:
    """A fan of triangles around a point inside a square covers each of the square's pixels."""
    rng = np.random.default_rng(seed)
    square = np.array([[0, 0], [30, 0], [30, 30], [0, 30]], float)
    centre = np.array([numbers[0], numbers[1]])
    points = np.concatenate([square, centre[None], rng.random((1, 2))])
    points = np.concatenate([points, np.ones((6, 1))], 1).astype(np.float32)
    seen = rasterise(points, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]), 30, 30)
    assert len(seen.pixel) == 900


def test_what_lies_beyond_the_picture_is_cut_and_nothing_shows_nothing() -> None:
    seen = rasterise(TRIANGLE * 100 - (300, 300, 0), CLOCKWISE, 12, 12)
    assert len(seen.pixel) == 144
    assert not len(rasterise(TRIANGLE + (50, 0, 0), CLOCKWISE, 12, 12).pixel)
    assert not len(rasterise(TRIANGLE, np.zeros((0, 3), int), 12, 12).pixel)
