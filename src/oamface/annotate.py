"""Draws results onto an image: boxes, labels on plates, and which parts of a face the network takes to be visible."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from oamface.alignment import CROP_SIZE, crop_corners, crop_transform
from oamface.images import RGBImage, check_image
from oamface.label_placement import overlap, place_label
from oamface.results import UNCERTAIN, Age, AgeDecision, Box, Classification, Face, ImageResult, Outcome

Colour = tuple[int, int, int]

ANNOTATED = {"oamface": "annotated"}  # text inside a PNG that oamface has annotated, by which it is recognised
_ANNOTATED_BYTES = b"tEXtoamface\0annotated"
_HEAD = 512  # bytes of a file that hold the text above

_MASKS = {"none": "no mask", "incorrect": "mask worn wrongly", "worn": "mask"}
# Okabe and Ito's colours, which colour-blind people tell apart too; labels say the same in words.
_BLUE, _ORANGE, _VERMILION, _GREY = (86, 180, 233), (230, 159, 0), (213, 94, 0), (187, 187, 187)
_BOX_COLOURS = {"none": _BLUE, "worn": _ORANGE, "incorrect": _VERMILION, UNCERTAIN: _GREY}
_DECISION_COLOURS: dict[Outcome, Colour] = {"accept": (0, 158, 115), "refer": (240, 228, 66), "refuse": _VERMILION}
_TEXT, _PLATE = (255, 255, 255), (24, 24, 27)
_SMALLEST_TEXT = 11  # pixels of the font that can still be read


def is_annotated(data: bytes) -> bool:
    """Whether a file's bytes, or its first 512, are a PNG that oamface has annotated."""
    return _ANNOTATED_BYTES in data[:_HEAD]


class Label(NamedTuple):
    """A label as it is drawn. place: of its plate, in whole pixels. size: of the font, in pixels."""

    place: Box
    lines: tuple[str, ...]
    size: int


def annotate(
    image: RGBImage, result: ImageResult, *, attention: bool = True, titles: Sequence[str] | None = None
) -> RGBImage:
    """A copy of the (H, W, 3) uint8 RGB image with every face's box and predictions.

    A label lies inside the image and never over another face or label: it becomes smaller where there is little room,
    then shows its first line alone, and is left out where even that has no place.
    A dashed box is a face that was not detected or whose mask is uncertain. Where a policy decided, its decision comes
    first, and colours stand for it instead of for the mask; that about an image without a face is at the top left.
    The image may be smaller than its file, whose pixels the result is in.
    attention: tint the parts of a face that the network takes to be occluded orange, visible ones blue.
    titles: a first line for each face's label, such as its number. Raises ImageError for another array.
    """
    drawn = check_image(image).copy()
    faces = [_scaled(face, drawn.shape[1] / result.width) for face in result.faces]
    if attention:
        for face in faces:
            _tint(drawn, face)
    texts = [_with_title(titles[number] if titles else "", face) for number, face in enumerate(faces)]
    labels = place_labels([face.box for face in faces], texts, drawn.shape[1::-1])
    for face, label in zip(faces, labels, strict=True):
        _draw_box(drawn, face)
        if label is not None:
            _draw_leader(drawn, face, label.place)
    for face, label in zip(faces, labels, strict=True):
        if label is not None:
            _draw_label(drawn, label, _colour(face))
    if result.decision is not None and not faces:
        _draw_decision(drawn, result.decision)
    return drawn


def place_labels(boxes: Sequence[Box], texts: Sequence[tuple[str, ...]], image: tuple[int, int]) -> list[Label | None]:
    """The label of every face, or None where it has no lines or no place. image: width and height in pixels."""
    visible = [box if overlap(box, Box(0, 0, *image)) > 0 else None for box in boxes]
    placed: list[Label | None] = []
    for number, (box, lines) in enumerate(zip(visible, texts, strict=True)):
        others = [other for other in (*visible[:number], *visible[number + 1 :]) if other is not None]
        taken = [*others, *(label.place for label in placed if label is not None)]
        placed.append(_fit(lines, box, taken, image) if box is not None and lines else None)
    return placed


def _fit(lines: tuple[str, ...], face: Box, taken: Sequence[Box], image: tuple[int, int]) -> Label | None:
    """A large label that touches its face, else a smaller or farther one, else the first line alone."""
    side = np.sqrt(image[0] * image[1])
    size = max(_SMALLEST_TEXT, round(np.clip(0.11 * face.height, side / 90, side / 34)))
    best: Label | None = None
    least = np.inf
    for scale in (1.0, 0.8, 0.6):
        font = max(_SMALLEST_TEXT, round(scale * size))
        placement = place_label(_plate_size(lines, font), face, taken, image)
        if placement is not None and placement.cost + 2 * (1 - scale) < least:
            best, least = Label(placement.place, lines, font), placement.cost + 2 * (1 - scale)
        if placement is not None and placement.near:
            break
    for fewer in (lines, lines[:1]):
        last = None if best else place_label(_plate_size(fewer, _SMALLEST_TEXT), face, taken, image)
        if last is not None:
            best = Label(last.place, fewer, _SMALLEST_TEXT)
    return best


def describe(face: Face) -> list[str]:
    """The decision about a face, if there is one, and its predictions in a few short lines of ASCII."""
    lines: list[str] = [] if face.decision is None else [face.decision.outcome]
    lines += [] if face.detected else ["no face detected"]
    for task in face.tasks:
        prediction = face.predictions[task]
        if isinstance(prediction, Age):
            lines.append(f"{prediction.years:.0f} years ({prediction.low:.0f}-{prediction.high:.0f})")
        elif prediction.label == UNCERTAIN:
            lines.append(f"{task} {UNCERTAIN}")
        else:
            lines.append(f"{_MASKS.get(prediction.label, prediction.label)} {prediction.probability:.0%}")
    return lines


def _with_title(title: str, face: Face) -> tuple[str, ...]:
    """The lines of a face's label; a decision stands beside the title, so that one line has both."""
    lines = describe(face)
    if title and face.decision is not None:
        return f"{title} {lines[0]}", *lines[1:]
    return (title, *lines) if title else tuple(lines)


def _colour(face: Face) -> Colour:
    if face.decision is not None:
        return _DECISION_COLOURS[face.decision.outcome]
    mask = face.predictions.get("mask")
    return _BOX_COLOURS[mask.label] if isinstance(mask, Classification) else _BLUE


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)  # quick; ASCII needs no more


def _line_height(size: int) -> int:
    return round(1.3 * size)


def _plate_size(lines: tuple[str, ...], size: int) -> tuple[int, int]:
    """Width and height of a label's plate: a bar on the left, then the lines with a margin around them."""
    width = max(_line(line, size).shape[1] for line in lines)
    return round(width + 1.3 * size), _line_height(size) * len(lines) + round(0.4 * size)


@lru_cache(maxsize=1024)  # a video shows most lines again and again
def _line(text: str, size: int) -> RGBImage:
    """A line of a label as wide as its text."""
    image = Image.new("RGB", (round(_font(size).getlength(text)) + 1, _line_height(size)), _PLATE)
    ImageDraw.Draw(image).text((0, image.height / 2), text, font=_font(size), fill=_TEXT, anchor="lm")
    return np.asarray(image)


def _draw_label(image: RGBImage, label: Label, colour: Colour) -> None:
    x, y, width, height = (int(value) for value in label.place)
    plate = image[y : y + height, x : x + width]
    plate[:] = _PLATE
    plate[:, : max(2, round(0.3 * label.size))] = colour
    left, top = round(0.8 * label.size), round(0.2 * label.size)
    for number, text in enumerate(label.lines):
        line = _line(text, label.size)
        start = top + number * len(line)
        plate[start : start + len(line), left : left + line.shape[1]] = line


def _draw_decision(image: RGBImage, decision: AgeDecision) -> None:
    """The decision about an image without a face, if the image has room for it."""
    lines = (decision.outcome, *decision.reasons)
    size = max(_SMALLEST_TEXT, round(min(image.shape[:2]) / 20))
    width, height = _plate_size(lines, size)
    if width <= image.shape[1] and height <= image.shape[0]:
        _draw_label(image, Label(Box(0, 0, width, height), lines, size), _DECISION_COLOURS[decision.outcome])


def _draw_box(image: RGBImage, face: Face) -> None:
    left, top, right, bottom = (round(value) for value in face.box.xyxy)
    mask = face.predictions.get("mask")
    solid = face.detected and not (isinstance(mask, Classification) and mask.label == UNCERTAIN)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    ends = zip(corners, np.roll(corners, -1, 0), strict=True)
    dashes = np.concatenate([np.linspace(start, end, 2 if solid else 14).reshape(-1, 2, 2) for start, end in ends])
    _draw_lines(image, face, dashes)


def _draw_leader(image: RGBImage, face: Face, place: Box) -> None:
    """A line from a label that does not touch its face."""
    (left, top, right, bottom), (x1, y1, x2, y2) = place.xyxy, face.box.xyxy
    ends = np.array([_nearest(left, right, x1, x2), _nearest(top, bottom, y1, y2)]).T
    if np.ptp(ends, axis=0).max() > 2:
        _draw_lines(image, face, ends[None])


def _nearest(low: float, high: float, start: float, stop: float) -> tuple[float, float]:
    """Where two intervals are nearest to each other: in the middle of what they share, or at the ends that face."""
    if max(low, start) <= min(high, stop):
        middle = (max(low, start) + min(high, stop)) / 2
        return middle, middle
    return (high, start) if high < start else (low, stop)


def _draw_lines(image: RGBImage, face: Face, lines: npt.NDArray[np.float64]) -> None:
    """(n, 2, 2) lines from point to point in the face's colour, with a dark rim that shows on any ground."""
    thickness = max(1, round(min(*image.shape[:2], 6 * face.box.height) / 450))
    points = list(lines.round().astype(np.int32))
    for colour, weight in ((_PLATE, thickness + 2), (_colour(face), thickness)):
        cv2.polylines(image, points, False, colour, weight, cv2.LINE_AA)


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
    for shown, colour, strength in ((visible, _BLUE, 0.15), (1 - visible, _VERMILION, 0.5)):
        alpha = (strength * rim * shown)[..., None]
        pixels[:] = (pixels * (1 - alpha) + np.array(colour, np.float32) * alpha).astype(np.uint8)
