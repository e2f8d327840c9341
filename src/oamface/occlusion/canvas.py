"""A canvas over the image of a face: draws shapes in face coordinates and keeps the exact occlusion mask.

It handles light, antialiasing and compositing; what is drawn is decided in `masks` and `objects`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage
from oamface.occlusion.face_frame import FaceFrame, Points

FloatArray = npt.NDArray[np.float32]
Colour = tuple[float, float, float]  # RGB, 0..255

_BITS = 4  # of a pixel's fraction that cv2 draws with


def smooth(points: npt.ArrayLike, rounds: int = 3) -> Points:
    """A closed polygon with its corners cut (Chaikin, 1974)."""
    corners = np.asarray(points, np.float64)
    for _ in range(rounds):
        following = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], 1).reshape(
            -1, corners.shape[1]
        )
    return corners


def mirrored(half: npt.ArrayLike) -> Points:
    """A closed outline from its right half, given from top to bottom on x >= 0."""
    right = np.asarray(half, np.float64)
    left = right[::-1].copy()
    left[:, 0] = -left[:, 0]
    return np.concatenate([right, left])


class Canvas:
    """The image drawn on, its light, and its occlusion mask so far.

    image: (H, W, 3) uint8 RGB, not changed. rng: the source of all randomness.
    """

    def __init__(self, image: RGBImage, frame: FaceFrame, rng: np.random.Generator) -> None:
        self.frame, self.rng = frame, rng
        self.height, self.width = image.shape[:2]
        self.paint = image.astype(np.float32)
        self.occlusion_mask: FloatArray = np.zeros(image.shape[:2], np.float32)
        self.unit = frame.unit  # pixels
        self.light = self._light(image)

    def _light(self, image: RGBImage) -> FloatArray:
        """(H, W) about 1: the light and shade of the face without its features. What is drawn is lit alike."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # Small images blur as well as large ones; full-size blurs would cost more than all the rest.
        step = max(1, int(self.unit / 8))
        small = cv2.resize(
            grey, (max(1, self.width // step), max(1, self.height // step)), interpolation=cv2.INTER_AREA
        )
        soft = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 4.0)
        x, y = self.frame.project([[0.0, 0.6]])[0] / step
        centre = soft[int(np.clip(y, 0, soft.shape[0] - 1)), int(np.clip(x, 0, soft.shape[1] - 1))]
        self.brightness = float(centre) / 255
        relative = np.clip((soft + 30) / (centre + 30), 0.55, 1.5)
        light: FloatArray = cv2.resize(relative, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return light

    def area(self, outline: npt.ArrayLike) -> FloatArray:
        """(H, W) 0..1: the inside of a closed outline in face coordinates, with soft edges."""
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [self._pixels(outline)], 255, cv2.LINE_AA, _BITS)
        return mask.astype(np.float32) / np.float32(255)

    def line(self, points: npt.ArrayLike, thickness: float) -> FloatArray:
        """(H, W) 0..1: an open line; thickness in face units (1 = about the distance between the eyes)."""
        return self.lines([np.asarray(points, np.float64)], thickness)

    def lines(self, lines: Sequence[Points] | Points, thickness: float) -> FloatArray:
        """(H, W) 0..1: one or more open lines of one thickness, alike in their number of coordinates."""
        mask = np.zeros((self.height, self.width), np.uint8)
        wide = max(1, round(thickness * self.unit))
        ends = np.cumsum([len(points) for points in lines])[:-1]
        corners = np.split(self._pixels(np.concatenate(lines)), ends)  # projected at once: hair has hundreds of lines
        cv2.polylines(mask, corners, False, 255, wide, cv2.LINE_AA, _BITS)
        return mask.astype(np.float32) / np.float32(255)

    def soften(self, area: FloatArray, radius: float) -> FloatArray:
        """Blur by a radius in face units."""
        blurred: FloatArray = cv2.GaussianBlur(area, (0, 0), max(0.3, radius * self.unit))
        return blurred

    def coordinates(self) -> tuple[FloatArray, FloatArray]:
        """(H, W) each: flat face coordinates x and y of every pixel, for patterns and shades."""
        frame = self.frame
        basis = np.column_stack([frame.across * np.cos(frame.turn), frame.down])
        inverse = np.linalg.inv(basis).astype(np.float32)
        columns = np.arange(self.width, dtype=np.float32) - np.float32(frame.eyes[0])
        rows = (np.arange(self.height, dtype=np.float32) - np.float32(frame.eyes[1]))[:, None]
        return inverse[0, 0] * columns + inverse[0, 1] * rows, inverse[1, 0] * columns + inverse[1, 1] * rows

    def noise(self, grain: float) -> FloatArray:
        """(H, W) smooth noise of mean 0 and std 1; grain: the size of its lumps in face units."""
        step = max(1.0, grain * self.unit)
        shape = (max(2, int(self.height / step) + 1), max(2, int(self.width / step) + 1))
        coarse = self.rng.standard_normal(shape, np.float32)
        noise: FloatArray = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return noise

    def shadow(self, area: FloatArray, strength: float, radius: float = 0.06) -> None:
        """Darken the face around a shape that is drawn next. The occlusion mask does not change."""
        self.paint *= (1 - strength * self.soften(area, radius))[..., None]

    def draw(
        self, area: FloatArray, colour: npt.ArrayLike, *, shade: FloatArray | float = 1.0, lit: bool = True
    ) -> None:
        """Draw a colour, (3,) or (H, W, 3), with opacity `area` (H, W) in 0..1, in the face's light times shade."""
        x, y, width, height = cv2.boundingRect((area > 0).astype(np.uint8))
        if not width:
            return
        # Most layers are small: arithmetic on the whole image would cost more than all the drawing.
        region = np.s_[y : y + height, x : x + width]
        tint, bright = np.asarray(colour, np.float32), np.asarray(shade, np.float32)
        if tint.ndim == 3:
            tint = tint[region]
        if bright.ndim == 2:
            bright = bright[region]
        if lit:
            bright = bright * self.light[region] * np.float32(min(1.2, 0.45 + 0.9 * self.brightness))
        alpha = area[region]
        paint, hidden = self.paint[region], self.occlusion_mask[region]
        paint += alpha[..., None] * (np.clip(tint * bright[..., None], 0, 255) - paint)
        hidden += alpha * (1 - hidden)

    def image(self) -> RGBImage:
        """The image drawn on, (H, W, 3) uint8."""
        return np.clip(self.paint + 0.5, 0, 255).astype(np.uint8)

    def _pixels(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        limit = 4 * max(self.height, self.width)  # cv2's fixed point overflows far outside
        scaled = np.clip(self.frame.project(points), -limit, limit) * 2**_BITS
        return np.round(scaled).astype(np.int32)
