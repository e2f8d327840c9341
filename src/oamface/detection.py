"""What a face detector gives, and who can be one; which face of several is meant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage
from oamface.results import Box, FloatArray

# The five landmarks in a box as CenterFace draws it, as shares of its width and height: the medians of 404 faces of
# UTKFace and FairFace, made symmetric.
LANDMARKS_IN_BOX = np.array([[0.27, 0.327], [0.73, 0.327], [0.5, 0.529], [0.314, 0.716], [0.686, 0.716]])

CROP_SHARE = 0.75  # of a crop that the box of its face takes, where no face was found
SAME_FACE_IOU = 0.3  # intersection over union above which two boxes are one face


@dataclass(frozen=True)
class Detection:
    """One face found. Pixels of the image; x to the right, y down.

    box: x, y, width, height; may reach outside the image.
    landmarks: (5, 2) float32: left eye, right eye, nose, left and right corner of the mouth, as seen in the image.
    score: 0..1; NaN where a caller gave the face. assumed: landmarks were not found but put where they usually lie.
    """

    box: Box
    landmarks: FloatArray
    score: float
    assumed: bool = False


class Detector(Protocol):
    """Finds faces; `FaceDetector` is the one that comes with the package."""

    def detect(self, image: RGBImage) -> Sequence[Detection]:
        """Every face of an (H, W, 3) uint8 RGB image, best score first; empty when there is none."""


class _HasBox(Protocol):
    @property
    def box(self) -> Box: ...


class _HasScore(_HasBox, Protocol):
    @property
    def score(self) -> float: ...


Boxed = TypeVar("Boxed", bound=_HasBox)
Scored = TypeVar("Scored", bound=_HasScore)


def prominent(faces: Sequence[Detection], image: RGBImage) -> Detection:
    """The face that an image of one person is about: large, near the centre and sure. faces: one or more."""
    centre = np.array(image.shape[1::-1]) / 2

    def weight(face: Detection) -> float:
        x, y, width, height = face.box
        away = np.linalg.norm((np.array([x + width / 2, y + height / 2]) - centre) / centre)
        return float(np.sqrt(max(width * height, 0.0)) * max(2.0 - away, 0.1) * np.nan_to_num(face.score))

    return max(faces, key=weight)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    a, b = np.array(one), np.array(other)
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    return shared / max(float(a[2] * a[3] + b[2] * b[3]) - shared, 1e-9)


def suppress(candidates: Sequence[Scored]) -> list[Scored]:
    """Non-maximum suppression: of those whose boxes overlap the best alone, best score first."""
    if not candidates:
        return []
    boxes, scores = [one.box for one in candidates], [one.score for one in candidates]
    return [candidates[number] for number in cv2.dnn.NMSBoxes(boxes, scores, 0.0, SAME_FACE_IOU)]


def moved(face: Detection, matrix: npt.NDArray[np.floating]) -> Detection:
    """The face under a similarity given as a 2 x 3 matrix; the box keeps its centre and shape and stays upright."""
    x, y, width, height = face.box
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    centre = matrix[:, :2] @ (x + width / 2, y + height / 2) + matrix[:, 2]
    left, top = (float(value) for value in centre - np.array([width, height]) * scale / 2)
    landmarks = (face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return replace(face, box=Box(left, top, width * scale, height * scale), landmarks=landmarks)


def tilt(face: Detection) -> float:
    """Degrees by which a face has to be turned counter-clockwise to stand upright, -180..180."""
    right, down = face.landmarks[1] - face.landmarks[0], face.landmarks[3:].mean(0) - face.landmarks[:2].mean(0)
    axis = complex(*right) * 1j + complex(*down)  # eyes and mouth both point to the chin
    return float(np.degrees(np.angle(axis / 1j)))


def nearest(candidates: Iterable[Boxed], box: Box, least: float) -> Boxed | None:
    """Of things with a box the one that overlaps a given one most, or None when none does by more than `least`."""
    near = max(candidates, key=lambda face: iou(face.box, box), default=None)
    return near if near is not None and iou(near.box, box) > least else None


def assumed(box: Box, *, crop: bool = False) -> Detection:
    """A face whose landmarks were not found: where they usually lie in a box, or in a crop with a little margin."""
    shares = (LANDMARKS_IN_BOX - 0.5) * CROP_SHARE + 0.5 if crop else LANDMARKS_IN_BOX
    points = shares * (box.width, box.height) + (box.x, box.y)
    return Detection(box, points.astype(np.float32), np.nan, assumed=True)
