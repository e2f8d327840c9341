"""Textures of the skin in the coordinates of the average head: brows, blush, creases, spots, noise; and its colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from oamface.synthetic.raster import FloatArray

SCALE = 2.0  # pixels of a texture in a millimetre
LEFT, RIGHT, TOP, BOTTOM = -80, 80, 105, -145  # mm of the textures, seen from the front
# Creases as polylines (x, z) in mm from between the eyes, with depth and width in mm; the other side is mirrored.
Line = tuple[tuple[tuple[float, float], ...], float, float]
CREASES: dict[str, tuple[Line, ...]] = {
    "forehead": (
        (((0, 36), (15, 38), (30, 38), (44, 33)), 0.8, 1.3),
        (((0, 45), (18, 48), (34, 46), (46, 42)), 0.9, 1.4),
        (((0, 55), (16, 57), (30, 57), (42, 53)), 0.8, 1.4),
        (((2, 64), (16, 66), (32, 64)), 0.5, 1.2),
    ),
    "frown": (
        (((5, 6), (5.5, 14), (7, 23)), 0.9, 1.2),
        (((10, 12), (11, 20)), 0.4, 1.0),
    ),
    "crow": (
        (((50, 2), (58, 8), (64, 13)), 0.7, 1.0),
        (((51, -1), (60, 0), (68, 2)), 0.8, 1.0),
        (((50, -5), (58, -9), (66, -14)), 0.7, 1.0),
        (((47, -9), (54, -16), (60, -24)), 0.6, 1.0),
    ),
    "bag": (
        (((17, -10), (24, -15), (34, -17), (44, -13), (49, -8)), 1.0, 1.8),
        (((18, -16), (27, -23), (38, -25), (47, -21)), 0.6, 1.8),
        (((24, -11), (32, -13), (41, -11)), 0.5, 1.0),
    ),
    "fold": ((((18, -33), (24, -42), (29, -52), (33, -63), (34, -72)), 1.3, 2.2),),
    "marionette": (
        (((28, -75), (31, -84), (31, -96)), 1.1, 2.0),
        (((38, -62), (41, -76), (40, -90)), 0.6, 2.0),
    ),
    "lip": tuple((((x, -62), (x * 1.12, -55 + abs(x) * 0.1)), 0.5, 0.8) for x in (3, 7.5, 12, 16.5))
    + tuple((((x, -84), (x * 1.1, -90)), 0.4, 0.8) for x in (4, 10, 16)),
    "cheek": (
        (((44, -30), (50, -44), (52, -58)), 0.5, 1.6),
        (((52, -32), (57, -46), (58, -62)), 0.5, 1.6),
        (((38, -40), (45, -52), (46, -70)), 0.4, 1.4),
    ),
    "neck": (
        (((0, -128), (20, -125), (40, -118)), 1.0, 2.2),
        (((0, -138), (22, -135), (42, -128)), 1.0, 2.2),
        (((6, -112), (8, -126), (7, -140)), 0.8, 2.0),
    ),
}


@dataclass(frozen=True)
class FaceTextures:
    """Textures that all people share, to be read with `sample`.

    creases: (H, W, len(CREASES)) heights in mm, negative. brow, cheeks, hollow (under the eye): (H, W) 0..1.
    """

    creases: FloatArray
    brow: FloatArray
    cheeks: FloatArray
    hollow: FloatArray


def sample(image: FloatArray, x: FloatArray, z: FloatArray) -> FloatArray:
    """(P,) or (P, C) values of a texture of up to four channels at (P,) mm; its border continues outside."""
    return look_up(image, (x - LEFT) * SCALE, (TOP - z) * SCALE, cv2.BORDER_REPLICATE)


def look_up(image: FloatArray, column: FloatArray, row: FloatArray, border: int = cv2.BORDER_WRAP) -> FloatArray:
    """(P,) or (P, C) values at (P,) pixels, bilinear. By default the image repeats."""
    count, wide = len(column), 512  # OpenCV takes no side above 32767
    padded = np.zeros((2, -(-count // wide) * wide), np.float32)
    padded[0, :count], padded[1, :count] = column, row
    columns, rows = padded.reshape(2, -1, wide)
    read = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    values: FloatArray = read.reshape(-1, *image.shape[2:])[:count]
    return values


@cache
def face_textures() -> FaceTextures:
    """The textures that all people share."""
    x, z = _grid()
    creases: FloatArray = np.stack([_creases(lines) for lines in CREASES.values()], 2)
    side = np.abs(x)
    middle = np.interp(side, (8, 12, 24, 36, 47, 55), (16.5, 17, 18.5, 20.0, 17.5, 13.0))
    half = np.interp(side, (6, 10, 16, 34, 50, 57), (0.3, 2.6, 3.4, 2.9, 1.4, 0.2))
    brow = (
        smoothstep((half + 0.6 - np.abs(z - middle)) / 1.6) * smoothstep((side - 6.5) / 4) * smoothstep((58 - side) / 5)
    )
    cheeks = np.exp(-(((side - 40) / 15) ** 2) - ((z + 34) / 14) ** 2)
    cheeks = np.maximum(cheeks, 0.9 * np.exp(-((side / 13) ** 2) - ((z + 38) / 12) ** 2))  # and the nose
    hollow = np.exp(-(((side - 30) / 14) ** 2) - ((z + 13) / 6) ** 2)
    return FaceTextures(creases, brow, cheeks.astype(np.float32), hollow.astype(np.float32))


@cache
def skin_noise(side: int = 512) -> FloatArray:
    """(side, side, 4) seamless noise of mean 0 and std 1: pores, mottling, blotches, vertical streaks."""
    rng = np.random.default_rng(20261125)
    layers = [_seamless_noise(rng, side, across, down) for across, down in ((0.9, 0.9), (7, 7), (30, 30), (1.3, 26))]
    return np.stack(layers, 2)


def slopes(heights: FloatArray) -> FloatArray:
    """(H, W, 2) slopes along x and z of a texture of heights (H, W) in mm."""
    across = cv2.Sobel(heights, cv2.CV_32F, 1, 0, scale=SCALE / 8)
    return np.dstack([across, -cv2.Sobel(heights, cv2.CV_32F, 0, 1, scale=SCALE / 8)])


def spots(rng: np.random.Generator, count: int, radius: tuple[float, float], *, high: bool = False) -> FloatArray:
    """(H, W) 0..1: freckles or age spots; radius: range in mm; high: most of them on forehead and temples."""
    image = np.zeros(_grid()[0].shape, np.uint8)
    for _ in range(count):
        centre = rng.normal(0, (38, 16 if high else 22)) + (0, 42 if high and rng.random() < 0.6 else -22)
        size = rng.uniform(*radius) * SCALE
        place = (round((centre[0] - LEFT) * SCALE), round((TOP - centre[1]) * SCALE))
        axes = (max(1, round(size)), max(1, round(size * rng.uniform(0.6, 1))))
        cv2.ellipse(image, place, axes, float(rng.uniform(0, 180)), 0, 360, int(rng.uniform(90, 255)), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32) / 255


def lab_to_linear(lab: npt.ArrayLike) -> FloatArray:
    """Linear RGB reflectance, 0..1, of CIE L*a*b* (D65), (..., 3)."""
    light, red, yellow = np.moveaxis(np.asarray(lab, float), -1, 0)
    y = (light + 16) / 116
    white = np.array([0.95047, 1.0, 1.08883])
    f = np.stack([y + red / 500, y, y - yellow / 200], -1)
    xyz = white * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return (xyz @ matrix.T).clip(0.002, 1).astype(np.float32)


def tone(angle: float, yellow: float, red: float) -> FloatArray:
    """Linear RGB of skin by its individual typology angle, arctan((L* - 50) / b*) in degrees (Chardon et al., 1991).

    yellow, red: b* and a*.
    """
    return lab_to_linear((50 + yellow * np.tan(np.radians(angle)), red, yellow))


def _grid() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    across = np.arange(round((RIGHT - LEFT) * SCALE)) / SCALE + LEFT
    down = TOP - np.arange(round((TOP - BOTTOM) * SCALE)) / SCALE
    x, z = np.meshgrid(across, down)
    return x, z


def _creases(lines: Sequence[Line]) -> FloatArray:
    """(H, W) heights of furrows with raised shoulders, on both sides of the face; they fade towards their ends."""
    height = np.zeros(_grid()[0].shape, np.float32)
    for points, depth, width in lines:
        dense = _smooth(points)
        begin = np.pi / 2 if points[0][0] == 0 else 0.12  # no fading in the middle of the face
        shade = np.sin(np.linspace(begin, np.pi - 0.12, len(dense) - 1)) ** 0.6
        drawn = np.zeros_like(height)
        for mirror in (1, -1):
            at = np.round((dense * (mirror, 1) - (LEFT, TOP)) * (SCALE, -SCALE) * 16).astype(int)
            for start, end, value in zip(at[:-1], at[1:], shade, strict=True):
                cv2.line(drawn, tuple(start), tuple(end), float(value), max(1, round(width * SCALE / 2)), cv2.LINE_8, 4)
        furrow = cv2.GaussianBlur(drawn, (0, 0), width * SCALE / 2.6)
        shoulder = cv2.GaussianBlur(drawn, (0, 0), width * SCALE * 1.3)
        peak = max(float(furrow.max()), 1e-6)
        height += depth * (0.9 * shoulder / max(float(shoulder.max()), 1e-6) * 0.45 - furrow / peak)
    return height


def _smooth(points: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """A polyline with rounded corners, in short segments."""
    line = np.array(points, float)
    at = np.linspace(0, len(line) - 1, 12 * (len(line) - 1) + 1)
    dense = np.stack([np.interp(at, np.arange(len(line)), line[:, side]) for side in range(2)], 1)
    for _ in range(3):
        dense[1:-1] = (dense[:-2] + 2 * dense[1:-1] + dense[2:]) / 4
    return dense


def _seamless_noise(rng: np.random.Generator, side: int, across: float, down: float) -> FloatArray:
    noise = rng.standard_normal((side, side)).astype(np.float32)
    wide = np.tile(noise, (3, 3))
    smooth = cv2.GaussianBlur(wide, (0, 0), sigmaX=across, sigmaY=down)[side : 2 * side, side : 2 * side]
    return (smooth - smooth.mean()) / smooth.std()


def smoothstep(value: npt.ArrayLike) -> FloatArray:
    """Smoothstep: 0 below 0, 1 above 1."""
    bounded = np.clip(np.asarray(value, np.float32), 0, 1)
    return bounded * bounded * (3 - 2 * bounded)
