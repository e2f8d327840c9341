"""Draws results onto an image: boxes, predictions, and which parts of a face the network takes to be visible."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import CROP_SIZE, crop_corners, crop_transform
from oamface.images import RGBImage, check_image
from oamface.results import UNCERTAIN, Age, Face, ImageResult

_MASKS = {"none": "no mask", "incorrect": "mask worn wrongly", "worn": "mask"}
_BOX, _TEXT, _SHADE = (64, 200, 120), (255, 255, 255), (20, 20, 20)


def annotate(image: RGBImage, result: ImageResult, *, attention: bool = True) -> RGBImage:
    """A copy of the (H, W, 3) uint8 RGB image with every face's box and predictions.

    The image may be smaller than its file, whose pixels the result is in.
    attention: tint the parts of a face that the network takes to be occluded red, visible ones green.
    Raises ImageError for another array.
    """
    drawn = check_image(image).copy()
    faces = [_scaled(face, drawn.shape[1] / result.width) for face in result.faces]
    if attention:
        for face in faces:
            _tint(drawn, face)
    # Lines and letters grow with the image, so that they show at any size.
    scale = max(0.4, min(drawn.shape[:2]) / 900)
    for face in faces:
        x, y, width, height = (round(value) for value in face.box)
        cv2.rectangle(drawn, (x, y), (x + width, y + height), _BOX, max(1, round(2 * scale)), cv2.LINE_AA)
        lines = describe(face)
        step = round(26 * scale)
        below = y + height + step * len(lines) < drawn.shape[0]
        first = y + height + step if below else max(step, y - step * (len(lines) - 1) - round(8 * scale))
        for number, line in enumerate(lines):
            where = (max(0, x), first + number * step)
            for colour, thickness in ((_SHADE, 3), (_TEXT, 1)):
                weight = max(1, round(thickness * scale * 1.2))
                cv2.putText(drawn, line, where, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * scale, colour, weight, cv2.LINE_AA)
    return drawn


def describe(face: Face) -> list[str]:
    """A face's predictions in a few short lines of ASCII."""
    lines = [] if face.detected else ["no face detected"]
    for task in face.tasks:
        prediction = face.predictions[task]
        if isinstance(prediction, Age):
            lines.append(f"{prediction.years:.0f} years ({prediction.low:.0f}-{prediction.high:.0f})")
        elif prediction.label == UNCERTAIN:
            lines.append(f"{task} {UNCERTAIN}")
        else:
            lines.append(f"{_MASKS.get(prediction.label, prediction.label)} {prediction.probability:.0%}")
    return lines


def _scaled(face: Face, scale: float) -> Face:
    if scale == 1:
        return face
    return replace(face, box=face.box.scaled(scale, scale), landmarks=face.landmarks * np.float32(scale))


def _tint(image: RGBImage, face: Face) -> None:
    """Lay the attention map over the face, in place."""
    if face.attention is None:
        return
    transform = crop_transform(face.landmarks)
    to_image = cv2.invertAffineTransform(transform)
    corners = crop_corners(transform)
    low = np.clip(np.floor(corners.min(0)), 0, image.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, image.shape[1::-1]).astype(int)
    pixels = image[low[1] : high[1], low[0] : high[0]]
    if not pixels.size:
        return
    visible = cv2.resize(face.attention, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    rim = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
    cv2.ellipse(rim, (CROP_SIZE // 2, round(CROP_SIZE * 0.52)), (44, 58), 0, 0, 360, 1, -1)
    rim = cv2.GaussianBlur(rim, (0, 0), 4)
    to_pixels = to_image.copy()
    to_pixels[:, 2] -= low
    size = (pixels.shape[1], pixels.shape[0])
    visible, rim = (cv2.warpAffine(layer, to_pixels, size, flags=cv2.INTER_LINEAR) for layer in (visible, rim))
    colour = _colours(visible)
    alpha = 0.4 * rim[..., None]
    pixels[:] = np.clip(pixels * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def _colours(visible: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    red, green = np.array([230, 50, 40], np.float32), np.array([40, 200, 90], np.float32)
    return visible[..., None] * green + (1 - visible[..., None]) * red
