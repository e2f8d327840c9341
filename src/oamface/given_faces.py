"""Faces that a caller or the caller's detector gives: checked, and completed to detections."""

from collections.abc import Sequence
from numbers import Real

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import apply, crop_transform, template
from oamface.detection import LANDMARKS_IN_BOX, Detection
from oamface.errors import FaceError
from oamface.images import RGBImage
from oamface.results import Box

_FARTHEST = 2**24  # pixels, from which on float32 no longer tells neighbours apart


def check_boxes(image: RGBImage, boxes: npt.ArrayLike) -> list[Box]:
    """(N, 4) x, y, width, height as boxes; N may be 0.

    Raises FaceError: another shape, no numbers, a side that is not above 0, or a box outside the image.
    """
    table = _numbers("boxes", boxes, (4,))
    if not (table[:, 2:] > 0).all():
        raise FaceError("boxes: expected x, y, width, height, the last two above 0")
    for number, box in enumerate(table):
        text = ", ".join(f"{value:g}" for value in box)
        _check_inside(image, f"boxes[{number}] = {text} (x, y, width, height)", box[:2], box[:2] + box[2:])
    return [Box(*map(float, box)) for box in table]


def from_landmarks(image: RGBImage, landmarks: npt.ArrayLike, boxes: npt.ArrayLike | None) -> list[Detection]:
    """(N, 5, 2) landmarks as detections, with the caller's boxes or else those that a detector would draw.

    Raises FaceError: another shape, no numbers, landmarks outside the image, or another number of boxes.
    """
    table = _numbers("landmarks", landmarks, (5, 2))
    for number, points in enumerate(table):
        _check_inside(image, f"landmarks[{number}]", points.min(0), points.max(0))
    checked: Sequence[Box] = [_box_around(points) for points in table] if boxes is None else check_boxes(image, boxes)
    if len(checked) != len(table):
        raise FaceError(f"{len(checked)} boxes, but landmarks of {len(table)} faces")
    return [Detection(box, points.astype(np.float32), np.nan) for box, points in zip(checked, table, strict=True)]


def check_detections(image: RGBImage, detections: object) -> list[Detection]:
    """What a detector gave, without faces outside the image.

    Raises FaceError: anything but Detections with a box of some size, five landmarks and a score within 0 to 1.
    """
    size, inside = image.shape[1::-1], []
    if not isinstance(detections, Sequence) or not all(isinstance(face, Detection) for face in detections):
        raise FaceError(f"the detector gave {type(detections).__name__}, expected a list of oamface.Detection")
    for face in detections:
        landmarks = np.asarray(face.landmarks)
        if not _is_sound(face, landmarks):
            raise FaceError(
                f"the detector gave {' '.join(repr(face).split())}, expected an oamface.Box with sides above 0, finite "
                "landmarks (5, 2) at several places, a score within 0 to 1, and True or False for assumed"
            )
        if (landmarks.max(0) > 0).all() and (landmarks.min(0) < size).all():
            inside.append(face)
    return inside


def _is_sound(face: Detection, landmarks: npt.NDArray[np.generic]) -> bool:
    if not isinstance(face.box, Box) or landmarks.shape != (5, 2) or landmarks.dtype.kind not in "iuf":
        return False
    numbers = (*face.box, *landmarks.flat, face.score)
    if not all(isinstance(value, Real) for value in numbers) or not isinstance(face.assumed, bool | np.bool_):
        return False
    scored = 0 <= face.score <= 1 or (face.assumed and np.isnan(face.score))  # NaN: nobody gave one
    sized = min(face.box.width, face.box.height) > 0 and (np.ptp(landmarks, axis=0) > 0).any()
    return bool(scored and sized and np.isfinite(numbers[:-1]).all())


def _numbers(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """(N, *shape); N is 0 for an empty list. Raises FaceError: other shapes, no numbers, or far off any image."""
    wanted = f"{name}: expected numbers (N, {', '.join(map(str, shape))})"
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise FaceError(f"{wanted}, but rows differ in length") from error
    if given.shape == (0,):
        return np.zeros((0, *shape))
    if given.dtype.kind not in "iuf" or given.ndim != len(shape) + 1 or given.shape[1:] != shape:
        raise FaceError(f"{wanted}, got {given.dtype} {given.shape}")
    table = given.astype(np.float64)
    if not (np.abs(table) < _FARTHEST).all():
        raise FaceError(f"{name}: expected pixels of the image, all finite and below {_FARTHEST}")
    return table


def _check_inside(image: RGBImage, name: str, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
    """Raises FaceError where nothing between two corners (x, y) lies in the image."""
    width, height = image.shape[1::-1]
    if (low >= (width, height)).any() or (high <= 0).any():
        raise FaceError(f"{name} lies outside the image of {width} x {height} pixels")


def _box_around(landmarks: npt.NDArray[np.float64]) -> Box:
    """The box that the detector would draw around an upright face with these landmarks."""
    to_image = cv2.invertAffineTransform(crop_transform(landmarks))
    usual = template().astype(np.float64)
    # The crop is to the box what the spread of its template is to that of the landmarks in a box.
    scale = usual.std(0) / LANDMARKS_IN_BOX.std(0)
    corner = usual.mean(0) - LANDMARKS_IN_BOX.mean(0) * scale
    corners = apply(np.array([corner, corner + (scale[0], 0), corner + scale, corner + (0, scale[1])]), to_image)
    return Box(*map(float, (*corners.min(0), *np.ptp(corners, axis=0))))
