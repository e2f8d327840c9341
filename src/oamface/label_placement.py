"""Where a face's label goes: beside the face, inside the image, over no other face and no other label."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from oamface.results import Box

_NEIGHBOURS = 12  # obstacles whose edges are candidates for a label's place; all obstacles are kept free
_COVERED = 8.0  # label heights away from its face that are as bad as a label all over it
_NEAR = 0.5  # cost of a place that touches its face


class Placement(NamedTuple):
    """A place for a label, in whole pixels. cost: label heights away from its face; more over it."""

    place: Box
    cost: float

    @property
    def near(self) -> bool:
        """Whether the label touches its face without covering it."""
        return self.cost < _NEAR


def place_label(size: tuple[int, int], face: Box, obstacles: Sequence[Box], image: tuple[int, int]) -> Placement | None:
    """The best free place for a label: next to its own face, below it first, rather than over it.

    size: the label's width and height. face: the one that it describes. obstacles: other faces and other labels.
    image: width and height. None where no place inside the image is free of obstacles.
    """
    alone = _best(_candidates(size, face, [], image), size, face, obstacles)
    if alone is not None and alone.near:
        return alone
    here = np.array([box.xyxy for box in obstacles]).reshape(-1, 4)
    nearest = np.argsort(_distance(here, face), kind="stable")[:_NEIGHBOURS]
    return _best(_candidates(size, face, [obstacles[number] for number in nearest], image), size, face, obstacles)


def _best(
    places: npt.NDArray[np.float64], size: tuple[int, int], face: Box, obstacles: Sequence[Box]
) -> Placement | None:
    free = np.ones(len(places), bool)
    for obstacle in obstacles:
        free &= _overlaps(places, obstacle) <= 0
    places = places[free]
    if not len(places):
        return None
    costs = _COVERED * _overlaps(places, face) / (size[0] * size[1]) + _away(places, face, size)
    best = int(np.argmin(costs))
    return Placement(Box(int(places[best, 0]), int(places[best, 1]), *size), float(costs[best]))


def overlap(one: Box, other: Box) -> float:
    """The area in pixels that two boxes share."""
    return float(_overlaps(np.array([one.xyxy]), other)[0])


def _candidates(
    size: tuple[int, int], face: Box, near: Sequence[Box], image: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """(n, 4) left, top, right, bottom: aligned with the face, or touching it, an obstacle or the image's border."""
    axes = []
    for axis in (0, 1):
        length, limit = size[axis], image[axis] - size[axis]
        low, side = face[axis], face[axis + 2]
        starts = [0, limit, low, low + (side - length) / 2, low + side - length]
        for box in (face, *near):
            starts += [np.floor(box[axis]) - length, np.ceil(box[axis] + box[axis + 2])]
        axes.append(np.unique(np.clip(np.round(starts), 0, limit)) if limit >= 0 else np.zeros(0))
    left, top = (values.ravel() for values in np.meshgrid(*axes))
    return np.stack([left, top, left + size[0], top + size[1]], 1)


def _overlaps(places: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.float64]:
    """The area that each place shares with a box."""
    left, top, right, bottom = box.xyxy
    width = np.minimum(places[:, 2], right) - np.maximum(places[:, 0], left)
    height = np.minimum(places[:, 3], bottom) - np.maximum(places[:, 1], top)
    return np.clip(width, 0, None) * np.clip(height, 0, None)


def _distance(places: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.float64]:
    """Pixels between each place and a box, 0 where they touch."""
    left, top, right, bottom = box.xyxy
    across = np.maximum(0, np.maximum(left - places[:, 2], places[:, 0] - right))
    down = np.maximum(0, np.maximum(top - places[:, 3], places[:, 1] - bottom))
    return np.hypot(across, down)


def _away(places: npt.NDArray[np.float64], face: Box, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Label heights between each place and the face, and a little more off its middle or above its lower edge."""
    left, _, right, bottom = face.xyxy
    across = np.abs(places[:, 0] + places[:, 2] - left - right) / max(face.width, size[0])
    down = np.abs(places[:, 1] + places[:, 3] - 2 * bottom) / max(face.height, size[1])
    return _distance(places, face) / size[1] + 0.3 * across + 0.05 * down
