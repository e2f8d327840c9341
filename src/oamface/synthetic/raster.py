"""A software rasteriser with a z-buffer."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]  # float32 wherever there are many; numpy's types do not say so
IntArray = npt.NDArray[np.int64]

_SLACK = np.float32(1e-5)


class Fragments(NamedTuple):
    """The P pixels in which a triangle is visible. pixel: (P,) index into the flattened image. face: (P,) triangle.

    weights: (P, 3) barycentric, summing to 1. depth: (P,) interpolated.
    """

    pixel: IntArray
    face: IntArray
    weights: FloatArray
    depth: FloatArray

    def select(self, rows: IntArray) -> "Fragments":
        """The fragments in these rows."""
        return Fragments(self.pixel[rows], self.face[rows], self.weights[rows], self.depth[rows])

    def interpolate(self, values: FloatArray, faces: IntArray) -> FloatArray:
        """(P,) or (P, C) from values at the vertices, (V,) or (V, C)."""
        corners = faces[self.face]
        if values.ndim == 1:
            return np.einsum("pk,pk->p", values[corners], self.weights)
        first, second, third = (values[corners[:, corner]] * self.weights[:, corner, None] for corner in range(3))
        return first + second + third


def rasterise(points: FloatArray, faces: IntArray, height: int, width: int, *, both_sides: bool = False) -> Fragments:
    """The visible fragments of a mesh. The centre of the first pixel is (0.5, 0.5).

    points: (V, 3), x to the right and y down in pixels, and depth, of which the smallest is visible.
    faces: (F, 3) indices of points, clockwise on the screen where the triangle faces the viewer; triangles that face
    away are left out unless `both_sides`. Values are interpolated linearly on the screen.
    """
    corner = np.asarray(points, np.float32)[faces]
    one, two = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    shown = np.flatnonzero(np.abs(area) > 1e-8 if both_sides else area > 1e-8)
    corner, one, two, inverse = corner[shown], one[shown], two[shown], 1 / area[shown]
    a, b, c = (corner[:, number, :2] for number in range(3))
    first = np.ceil(np.minimum(np.minimum(a, b), c) - np.float32(0.5)).clip(0).astype(np.int32)
    last = (
        np.floor(np.maximum(np.maximum(a, b), c) - np.float32(0.5)).clip(-1, (width - 1, height - 1)).astype(np.int32)
    )
    size = (last - first + 1).clip(0)
    count = size[:, 0] * size[:, 1]
    # Every pixel of every triangle's bounding box, in one long list.
    face = np.repeat(np.arange(len(count), dtype=np.int32), count)
    place = np.arange(len(face), dtype=np.int32) - np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    wide = size[face, 0]
    down = place // wide
    across = place - down * wide
    x, y = (first[:, side] + np.float32(0.5) - corner[:, 0, side] for side in range(2))
    right, below = across.astype(np.float32), down.astype(np.float32)
    second = ((x * two[:, 1] - y * two[:, 0]) * inverse)[face]
    second += right * (two[:, 1] * inverse)[face]
    second -= below * (two[:, 0] * inverse)[face]
    third = ((y * one[:, 0] - x * one[:, 1]) * inverse)[face]
    third += below * (one[:, 0] * inverse)[face]
    third -= right * (one[:, 1] * inverse)[face]
    # A tiny margin beyond the edge counts, so that rounding leaves no gaps between neighbours.
    inside = np.flatnonzero((second >= -_SLACK) & (third >= -_SLACK) & (second + third <= 1 + _SLACK))
    face, second, third = face[inside], second[inside], third[inside]
    pixel = (first[face, 1] + down[inside]) * width + first[face, 0] + across[inside]
    depth = corner[face, 0, 2] + second * one[face, 2] + third * two[face, 2]
    nearest = np.full(height * width, -1, np.int32)
    order = np.argsort(-depth, kind="stable").astype(np.int32)
    nearest[pixel[order]] = order  # the last of a pixel stays, which is the nearest
    pixels = np.flatnonzero(nearest >= 0)
    visible = nearest[pixels]
    second, third = second[visible], third[visible]
    weights = np.stack([1 - second - third, second, third], 1).astype(np.float32)
    return Fragments(pixels, shown[face[visible]], weights, depth[visible])


def grid_faces(rows: int, columns: int) -> IntArray:
    """(F, 3) triangles of a grid of vertices: rows from the top, columns from the left as seen from outside."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quads = np.stack([first, first + 1, first + columns + 1, first + columns], 1)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
