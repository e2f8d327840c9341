"""Draws training scenes: many faces of known place and size, turned any way, among parts of images that show none.

A network that sees pasted faces would learn their edges instead: parts without a face are pasted the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from oamface.detection import Detection, moved
from oamface.images import RGBImage
from oamface.training.scanner.faces import FaceImage

Item = TypeVar("Item")

SIDE = 320  # pixels of a scene
TURNED = 0.4  # share of scenes with faces that are not upright
SMALLEST, LARGEST = 9.0, 360.0  # pixels of a face's long side
_BACKGROUND_SHARES = (0.25, 0.6)  # shares below which it is drawn, and below which it is a background image


@dataclass(frozen=True)
class SceneFace:
    """A face in a scene. x, y, side: centre and long side, pixels. required: it must be found; else it may be."""

    x: float
    y: float
    side: float
    required: bool


class SceneArtist:
    """Draws scenes from images with faces and background images (H, W, 3) without."""

    def __init__(self, images: Sequence[FaceImage], backgrounds: Sequence[RGBImage], rng: np.random.Generator) -> None:
        self._images, self._backgrounds, self._rng = images, backgrounds, rng
        # Where one sure face is all that was noticed, what surrounds it shows none.
        self._lone = [image for image in images if len(image.faces) == 1]

    def draw(self) -> tuple[RGBImage, list[SceneFace]]:
        """A scene (SIDE, SIDE, 3), and its faces."""
        rng, canvas, faces = self._rng, self._background(), list[SceneFace]()
        taken: list[tuple[npt.NDArray[np.float64], float]] = []
        turned = rng.random() < TURNED
        items = [(size, True) for size in self._face_sizes()]
        items += [(float(np.exp(rng.uniform(np.log(12), np.log(140)))), False) for _ in range(rng.integers(0, 6))]
        for size, is_face in sorted(items, reverse=True):
            place = self._free_place(size, taken)
            if place is None:
                continue
            taken.append((place, size))
            if is_face:
                faces += self._paste_face(canvas, place, size, self._angle(turned))
            else:
                part = self._surroundings()
                middle = np.array(part.shape[1::-1]) / 2
                radius = middle * (1, rng.uniform(0.6, 1))
                scale = size * rng.uniform(0.8, 2) / part.shape[0]
                self._paste(canvas, part, middle, radius, scale, self._angle(turned), place)
        inside = [
            face for face in faces if max(abs(face.x - SIDE / 2), abs(face.y - SIDE / 2)) < SIDE / 2 + face.side / 10
        ]
        return self._degrade(self._occlude(canvas, inside)), inside

    def _face_sizes(self) -> npt.NDArray[np.float64]:
        """A crowd, a group, a portrait with people behind, or nobody."""
        rng, kind = self._rng, self._rng.random()
        if kind < 0.35:
            return np.exp(rng.uniform(np.log(SMALLEST), np.log(30), rng.integers(3, 16)))
        if kind < 0.7:
            return np.exp(rng.uniform(np.log(SMALLEST), np.log(110), rng.integers(2, 9)))
        if kind < 0.92:
            behind = np.exp(rng.uniform(np.log(SMALLEST), np.log(60), rng.integers(0, 4)))
            return np.append(behind, rng.uniform(90, LARGEST))
        return np.zeros(0)

    def _angle(self, turned: bool) -> float:
        """Degrees: any, quarter turns, or nearly upright."""
        if not turned:
            return float(self._rng.normal(0, 12))
        if self._rng.random() < 0.5:
            return float(self._rng.uniform(-180, 180))
        return float(self._rng.choice([90.0, 180.0, 270.0]) + self._rng.normal(0, 10))

    def _free_place(
        self, size: float, taken: Sequence[tuple[npt.NDArray[np.float64], float]]
    ) -> npt.NDArray[np.float64] | None:
        edge = 0.2 if size > 90 else 0.0
        for _ in range(20):
            place = self._rng.uniform(edge * SIDE, (1 - edge) * SIDE, 2)
            if all(np.abs(place - other).max() > 0.75 * (size + width) for other, width in taken):
                return place
        return None

    def _paste_face(
        self, canvas: RGBImage, place: npt.NDArray[np.float64], size: float, angle: float
    ) -> list[SceneFace]:
        """Paste one face with more or less of what surrounds it; it, and others that come along."""
        rng = self._rng
        image = self._pick(self._images)
        chosen = self._pick(image.sure)
        side, centre = max(chosen.box[2:]), _centre(chosen)
        reach = side * (rng.uniform(0.62, 1.6) if rng.random() < 0.8 else 3.0)
        radius = np.array([reach * rng.uniform(0.75, 1), reach])
        matrix = self._paste(canvas, image.pixels, centre, radius, size / side, angle, place)
        pasted = [face for face in image.faces if (np.abs(_centre(face) - centre) < 1.1 * reach).all()]
        return [_scene_face(face, matrix, required=face is chosen) for face in pasted]

    def _paste(
        self,
        canvas: RGBImage,
        image: RGBImage,
        centre: npt.NDArray[np.float64],
        radius: npt.NDArray[np.float64],
        scale: float,
        angle: float,
        place: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Lay what surrounds `centre` onto the canvas: turned, perhaps mirrored, in an oval or a rectangle.

        Returns the 2 x 3 matrix from the image to the canvas.
        """
        rng = self._rng
        matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale)
        if rng.random() < 0.5:
            matrix[:, 2] += matrix[:, 0] * 2 * centre[0]
            matrix[:, 0] *= -1
        matrix[:, 2] += place - centre
        factor = max(1, int(1 / scale))  # a warp samples single pixels: shrink first
        size = [max(1, length // factor) for length in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor > 1 else image
        stretch = np.array(image.shape[1::-1]) / size
        reach = float(np.hypot(*radius)) * scale + 2
        low = np.clip(place - reach, 0, SIDE - 1).astype(int)
        high = np.clip(place + reach + 1, low + 1, SIDE).astype(int)
        to_window = np.column_stack([matrix[:, :2] * stretch, matrix[:, 2] - low])
        window = tuple(int(length) for length in high - low)
        layer = cv2.warpAffine(small, to_window, window, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = self._mask(small.shape[:2], centre / stretch, radius / stretch)
        alpha = cv2.warpAffine(mask, to_window, window, flags=cv2.INTER_LINEAR)[..., None]
        under = canvas[low[1] : high[1], low[0] : high[0]]
        under[:] = (under * (1 - alpha) + self._jitter(layer) * alpha).astype(np.uint8)
        return matrix

    def _mask(
        self, shape: tuple[int, int], centre: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        mask = np.zeros(shape, np.float32)
        x, y, across, down = (int(value) for value in (*centre, *np.maximum(radius, 1)))
        if self._rng.random() < 0.4:
            return cv2.rectangle(mask, (x - across, y - down), (x + across, y + down), 1.0, -1)
        cv2.ellipse(mask, (x, y), (across, down), 0, 0, 360, 1.0, -1)
        blur = max(1, int(radius.min() * self._rng.uniform(0.1, 0.6))) | 1
        return cv2.blur(mask, (blur, blur))

    def _jitter(self, layer: RGBImage) -> npt.NDArray[np.float32]:
        rng = self._rng
        values = (layer.astype(np.float32) - 128) * rng.uniform(0.6, 1.3) + 128 + rng.uniform(-35, 35)
        values *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
        if rng.random() < 0.15:
            values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
        return np.clip(values, 0, 255).astype(np.float32)

    def _background(self) -> RGBImage:
        rng, kind = self._rng, self._rng.random()
        if kind < _BACKGROUND_SHARES[0]:
            cells = int(rng.integers(2, 12))
            method = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
            colors = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
            drawn: RGBImage = cv2.resize(colors, (SIDE, SIDE), interpolation=method)
            return self._noise(drawn, 25) if rng.random() < 0.5 else drawn
        if kind < _BACKGROUND_SHARES[1] and self._backgrounds:
            background = self._pick(self._backgrounds)
            side = int(min(background.shape[:2]) * rng.uniform(0.15, 1))
            part = np.rot90(self._square(background, side), int(rng.integers(4)))
            method = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
            return cv2.resize(np.ascontiguousarray(part), (SIDE, SIDE), interpolation=method)
        canvas = np.empty((SIDE, SIDE, 3), np.uint8)
        edges = np.linspace(0, SIDE, int(rng.choice([1, 2, 3, 4, 6])) + 1).astype(int)
        for top, bottom in pairwise(edges):
            for left, right in pairwise(edges):
                canvas[top:bottom, left:right] = cv2.resize(self._surroundings(), (right - left, bottom - top))
        return canvas

    def _surroundings(self) -> RGBImage:
        """A square of an image outside its only face."""
        rng = self._rng
        while True:
            image = self._pick(self._lone)
            (x, y, width, height), (down, across) = image.faces[0].box, image.pixels.shape[:2]
            sides = (
                (0, 0, x - 0.05 * width, down),
                (x + 1.05 * width, 0, across, down),
                (0, 0, across, y - 0.1 * height),
                (0, y + 1.05 * height, across, down),
            )
            wide = [side for side in sides if side[2] - side[0] > 20 and side[3] - side[1] > 20]
            if wide:
                left, top, right, bottom = (int(value) for value in self._pick(wide))
                part = image.pixels[max(top, 0) : bottom, max(left, 0) : right]
                if min(part.shape[:2]) >= 20:
                    return self._square(part, int(min(part.shape[:2]) * rng.uniform(0.6, 1)))

    def _pick(self, items: Sequence[Item]) -> Item:
        return items[int(self._rng.integers(len(items)))]

    def _square(self, image: RGBImage, side: int) -> RGBImage:
        top, left = (int(self._rng.integers(0, length - side + 1)) for length in image.shape[:2])
        return image[top : top + side, left : left + side]

    def _occlude(self, canvas: RGBImage, faces: Sequence[SceneFace]) -> RGBImage:
        """Lay an oval over the edge of some faces."""
        rng = self._rng
        for face in faces:
            if rng.random() < 0.15:
                angle, radius = rng.uniform(0, 2 * np.pi), face.side * rng.uniform(0.15, 0.35)
                at = np.array([face.x, face.y]) + np.array([np.cos(angle), np.sin(angle)]) * face.side * 0.55
                axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.4, 1))))
                color = [int(value) for value in rng.integers(0, 256, 3)]
                cv2.ellipse(canvas, (int(at[0]), int(at[1])), axes, rng.uniform(0, 180), 0, 360, color, -1)
        return canvas

    def _degrade(self, canvas: RGBImage) -> RGBImage:
        """Blur, noise, another gamma and JPEG, each sometimes."""
        rng = self._rng
        if rng.random() < 0.25:
            scale = rng.uniform(0.5, 0.9)
            small = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            canvas = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.2:
            canvas = self._noise(canvas, 14)
        if rng.random() < 0.25:
            canvas = (255 * (canvas / 255.0) ** rng.uniform(0.5, 2)).astype(np.uint8)
        if rng.random() < 0.3:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
            decoded = cv2.imdecode(cv2.imencode(".jpg", canvas, quality)[1], cv2.IMREAD_COLOR)
            assert decoded is not None
            return decoded.astype(np.uint8, copy=False)
        return canvas

    def _noise(self, image: RGBImage, strongest: float) -> RGBImage:
        noise = self._rng.normal(0, self._rng.uniform(2, strongest), image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)


def _centre(face: Detection) -> npt.NDArray[np.float64]:
    return np.array([face.box.x + face.box.width / 2, face.box.y + face.box.height / 2])


def _scene_face(face: Detection, matrix: npt.NDArray[np.float64], *, required: bool) -> SceneFace:
    on_canvas = moved(face, matrix)
    x, y = _centre(on_canvas)
    return SceneFace(float(x), float(y), max(on_canvas.box[2:]), required)
