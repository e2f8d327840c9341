"""How a mask is worn: correctly, or in one of five wrong positions.

A mask is cut in mask coordinates: x from its middle to about 1 at its sides, y from 0 at the upper edge to 1 at the
lower edge, z out of the face. A `Fit` lays it on the face.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial.polynomial import polyval

from oamface.occlusion.canvas import Canvas
from oamface.occlusion.face_frame import Points

Edge = Sequence[float] | npt.NDArray[np.float64]  # coefficients of a polynomial: y by x, lowest first

_JAW = np.array([0, 0, -0.38, 0, -0.73])  # an Edge: the jaw line, from the chin up
_CORNERS = [(-0.95, 0.14, 0), (-0.88, 0.66, 0), (0.95, 0.14, 0), (0.88, 0.66, 0)]  # where ear loops are sewn on


@dataclass(frozen=True)
class Fit:
    """One mask on one face.

    place: mask coordinates (N, 3) to face coordinates (N, 3). straps: open lines in face coordinates.
    creases: how crumpled the mask is, from 0 to 1.
    """

    place: Callable[[npt.ArrayLike], Points]
    straps: list[Points]
    creases: float = 0.0


def correct(canvas: Canvas) -> Fit:
    """Nose, mouth and chin covered."""
    rng = canvas.rng
    tilt = rng.normal(0, 0.03)
    upper, lower = (rng.normal(0.27, 0.04), tilt), (rng.normal(1.8, 0.05), tilt)
    return _between(canvas, upper, lower, wide=rng.normal(0.97, 0.03), bridge=1)


def below_nose(canvas: Canvas) -> Fit:
    """The upper edge between the nostrils and the upper lip, or tucked under the nose's tip and high on the cheeks."""
    rng, nose = canvas.rng, canvas.frame.nose
    tilt = rng.normal(0, 0.06)
    if rng.random() < 0.35:
        rise = rng.uniform(0.7, 1.3)
        upper: Edge = (nose + rng.uniform(0.11, 0.16), tilt, -rise, 0, 0.75 * rise)
    else:
        upper = (rng.uniform(nose + 0.12, max(nose + 0.16, 0.86)), tilt, rng.uniform(-0.3, 0.12))
    lower = (rng.uniform(1.75, 2.05), tilt, rng.uniform(-0.15, 0.05))
    return _between(canvas, upper, lower, wide=rng.uniform(0.86, 1.0), creases=rng.uniform(0, 0.6))


def askew(canvas: Canvas) -> Fit:
    """Held down or slipped on one side: nose and one corner of the mouth free."""
    rng = canvas.rng
    slope = rng.choice([-1, 1]) * rng.uniform(0.3, 0.65)
    upper = (rng.uniform(canvas.frame.nose + 0.14, 0.98), slope, rng.uniform(-0.25, 0.1))
    lower = (rng.uniform(1.8, 2.05), slope * rng.uniform(0.1, 0.7), -0.1)
    return _between(canvas, upper, lower, wide=rng.uniform(0.86, 1.0), creases=rng.uniform(0.2, 0.9))


def on_chin(canvas: Canvas) -> Fit:
    """Pulled down to below the lower lip, bunched up over the chin, its sides drawn up by the ear loops."""
    rng = canvas.rng
    tilt = rng.normal(0, 0.06)
    upper = (rng.uniform(1.2, 1.4), tilt, rng.uniform(-0.35, 0.0))
    lower = (rng.uniform(1.78, 2.1), tilt, rng.uniform(-0.4, -0.1))
    return _between(canvas, upper, lower, wide=rng.uniform(0.8, 0.95), creases=rng.uniform(0.4, 1))


def under_chin(canvas: Canvas) -> Fit:
    """A crumpled band along the jaw and the neck, and straps that run over the cheeks to the ears."""
    rng = canvas.rng
    start, thick, tilt = rng.uniform(1.42, 1.68), rng.uniform(0.25, 0.5), rng.normal(0, 0.04)
    upper = _JAW * rng.uniform(0.75, 1.1) + (start, tilt, 0, 0, 0)
    lower = upper + (thick, 0, -0.45 * thick, 0, 0)
    return _between(canvas, upper, lower, wide=rng.uniform(0.8, 0.93), creases=rng.uniform(0.6, 1))


def one_ear(canvas: Canvas) -> Fit:
    """Hanging from one ear, seen from the side, beside the face or over one cheek."""
    rng, turn = canvas.rng, canvas.frame.turn
    # The ear of a turned head that the image shows.
    side = float(-np.sign(turn) if abs(turn) > 0.25 else rng.choice([-1, 1]))
    top, length, wide = rng.uniform(0.4, 0.8), rng.uniform(1.1, 1.6), rng.uniform(0.35, 0.8)
    # The inner edge stays outside the corners of the mouth.
    inner, swing, bow = rng.uniform(0.62, 0.95), rng.uniform(0, 0.25), rng.normal(0, 0.1)

    def place(points: npt.ArrayLike) -> Points:
        across, down, out = np.asarray(points, np.float64).T
        along = (1 - across) / 2  # from the loop on the ear to the free end
        x = inner + wide * down + swing * along + bow * np.sin(np.pi * along) * down
        return np.column_stack([side * x, top + length * along + 0.1 * down, 0.3 * out + 0.15])

    ear = (side * rng.uniform(1.02, 1.12), rng.normal(0.1, 0.05), 0.0)
    held, free = place([(0.9, 0.15, 0), (0.9, 0.85, 0)]), place([(-0.9, 0.15, 0), (-1.5, 0.5, 0), (-0.9, 0.85, 0)])
    return Fit(place, [np.array([held[0], ear, held[1]]), free], rng.uniform(0, 0.7))


POSITIONS = {
    "correct": correct,
    "below_nose": below_nose,
    "askew": askew,
    "on_chin": on_chin,
    "under_chin": under_chin,
    "one_ear": one_ear,
}


def _between(
    canvas: Canvas, upper: Edge, lower: Edge, *, wide: float, bridge: float = 0.0, creases: float = 0.0
) -> Fit:
    """The mask between two edges in face coordinates.

    wide: half of its width. bridge: how much of its rise over the nose stays, 0 to 1. creases: see Fit.
    """

    def place(points: npt.ArrayLike) -> Points:
        across, down, out = np.asarray(points, np.float64).T
        x, down = across * wide, np.where(down < 0, bridge * down, down)
        return np.column_stack([x, polyval(x, upper) * (1 - down) + polyval(x, lower) * down, out])

    ear = canvas.rng.normal(0.15, 0.05)
    straps = []
    for start in place(_CORNERS):
        side = np.sign(start[0])
        bend = (side * max(abs(start[0]), 1.02), (start[1] + ear) / 2, 0)
        straps.append(np.array([start, bend, (side * 1.12, ear, 0)]))
    return Fit(place, straps, creases)
