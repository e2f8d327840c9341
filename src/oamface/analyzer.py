"""The one pipeline: an image to its faces. The CLI, the service, video and bulk jobs all call it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import apply, crop_face, crop_transform, template
from oamface.detection import Detection, Detector, prominent
from oamface.errors import FaceError, ImageError, OamfaceError
from oamface.images import Decoded, RGBImage, Source, check_image, decode
from oamface.labels import TASKS, check_tasks
from oamface.predictor import Predictions, Predictor
from oamface.results import UNCERTAIN, Age, Classification, Face, Failure, ImageResult
from oamface.weights import WEIGHTS

ImageInput = Source | RGBImage | Decoded
Named = str | os.PathLike[str] | tuple[str, Source | OSError]

_FARTHEST = 2**24  # pixels, from which on float32 no longer tells neighbours apart
TOGETHER = 16  # images whose faces are answered in one go
# Pixels of a box's long side below which nothing is said. Of faces of UTKFace shrunk to 20, 16, 12 and 8 pixels
# 90 % intervals held 85, 83, 82 and 73 % of the ages (benchmarks/small_faces.py).
LEAST_FACE = 16

# The five landmarks in a box as CenterFace draws it, as shares of its width and height: the medians of 404 faces of
# UTKFace and FairFace, made symmetric.
_IN_BOX = np.array([[0.27, 0.327], [0.73, 0.327], [0.5, 0.529], [0.314, 0.716], [0.686, 0.716]])


class Analyzer:
    """Finds every face of an image and answers about it. Safe to share between threads.

    weights: the package's "oam" (the best, for research only), the same in eight bits ("oam-int8", unless another is
    named), the smaller "oam-small", or "oam-open" (free for commercial use); or an exported file.
    tasks: which of age, gender, race, mask to answer; all by default.
    threads: CPU threads of the networks, 0 for all cores. detector: another one, e.g. with its own threshold.
    Raises ModelError, LabelError (unknown task).
    """

    def __init__(
        self,
        weights: str | Path = WEIGHTS[0],
        *,
        tasks: Sequence[str] = tuple(TASKS),
        threads: int = 0,
        detector: Detector | None = None,
    ) -> None:
        self.tasks = check_tasks(tasks)
        self.predictor = Predictor(weights, threads=threads)
        self.detector = Detector(threads=threads) if detector is None else detector

    def analyze(
        self,
        image: ImageInput,
        *,
        boxes: npt.ArrayLike | None = None,
        landmarks: npt.ArrayLike | None = None,
        crop: bool = False,
    ) -> ImageResult:
        """All faces of one image: a path, a file's bytes, an open file, a PIL image, or an (H, W, 3) uint8 RGB array.

        boxes: (N, 4) x, y, width, height, where the caller already knows the faces; landmarks: (N, 5, 2) likewise, or
        beside boxes. Both in the image's pixels; an empty list is no face. crop: the image shows one face that fills
        it; then there is always exactly one answer. Of animations and pages the first is analyzed; an image of more
        than 50 megapixels is decoded at a reduced size. Raises ImageError, FaceError (boxes or landmarks that describe
        no face).
        """
        decoded = _read(image, reduced=boxes is None and landmarks is None)
        found = self._find(decoded.image, boxes, landmarks, crop)
        answers = self.predictor.predict([crop_face(decoded.image, face.landmarks) for face in found])
        source = os.fspath(image) if isinstance(image, str | os.PathLike) else None
        faces = tuple(self.faces(_in_file(found, decoded), answers))
        return ImageResult(decoded.width, decoded.height, faces, source, len(decoded.pages))

    def analyze_all(self, images: Iterable[Named], *, crop: bool = False) -> Iterator[ImageResult | Failure]:
        """Analyze many images, in their order, faces of several in one pass; a bad one is a Failure.

        images: paths, or pairs of a name and anything that `analyze` takes, or of a name and why it could not be had.
        Of a file with several pages each is an image of its own, the second named NAME#2 and so on.
        """
        pages = (page for item in images for page in self._pages(item, crop))
        while group := list(islice(pages, TOGETHER)):
            faces = self.faces(
                [face for item in group if isinstance(item, _Found) for face in item.faces],
                self.predictor.predict([crop for item in group if isinstance(item, _Found) for crop in item.crops]),
            )
            for item in group:
                if isinstance(item, Failure):
                    yield item
                else:
                    found = tuple(islice(faces, len(item.faces)))
                    yield ImageResult(item.width, item.height, found, item.name)

    def _pages(self, item: Named, crop: bool) -> Iterator["_Found | Failure"]:
        """Every page of one source with its faces cut out, or why there is none."""
        name, data = item if isinstance(item, tuple) else (os.fspath(item), os.fspath(item))
        pages: tuple[int, ...] = (0,)
        number = 0
        while number < len(pages):
            page_name = name if number == 0 else f"{name}#{number + 1}"
            try:
                if isinstance(data, OSError):
                    raise ImageError(f"{name}: cannot be read ({data.strerror or data})")
                decoded = _read(data, page=pages[number])
                pages = decoded.pages
                found = self._find(decoded.image, None, None, crop)
                crops = [crop_face(decoded.image, face.landmarks) for face in found]
                yield _Found(page_name, decoded.width, decoded.height, _in_file(found, decoded), crops)
            except OamfaceError as error:
                yield Failure(page_name, error)
            number += 1

    def _find(
        self, image: RGBImage, boxes: npt.ArrayLike | None, landmarks: npt.ArrayLike | None, crop: bool
    ) -> list[Detection]:
        if landmarks is not None:
            return _given(image, landmarks, boxes)
        if boxes is not None:
            return [self._in_box(image, box) for box in _checked_boxes(image, boxes)]
        found = self.detector.detect(image)
        if not crop:
            return found
        height, width = image.shape[:2]
        return [prominent(found, image) if found else assumed((0.0, 0.0, float(width), float(height)), crop=True)]

    def _in_box(self, image: RGBImage, box: tuple[float, float, float, float]) -> Detection:
        """The caller's box, with landmarks that the detector finds around it, or else the usual ones."""
        x, y, width, height = box
        low = np.clip(np.floor([x - width / 2, y - height / 2]), 0, None).astype(int)
        high = np.clip(np.ceil([x + 1.5 * width, y + 1.5 * height]), 0, image.shape[1::-1]).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        centre = np.array([x + width / 2, y + height / 2])
        for face in self.detector.detect(part) if part.size else ():
            landmarks = face.landmarks + low
            if (np.abs(landmarks.mean(0) - centre) < np.array([width, height]) / 2).all():
                return Detection(box, landmarks.astype(np.float32), face.score)
        return assumed(box)

    def faces(self, found: Sequence[Detection], answers: Predictions) -> Iterator[Face]:
        """What answers, one row a face, say about faces that were found, in the tasks asked for.

        Of a face below LEAST_FACE pixels nothing: every label is "uncertain" and the age's interval is 0 to 100.
        """
        blind = np.array([face.assumed for face in found], bool)
        low, high = answers.age_bounds(np.where(blind[:, None], self.predictor.undetected, self.predictor.quantiles))
        level = self.predictor.description["intervals"]["level"]
        years, visibility = answers.years, answers.visibility()
        for row, face in enumerate(found):
            tiny = max(face.box[2:]) < LEAST_FACE
            thresholds = self.predictor.description["thresholds"]
            chosen = {
                task: _choice(task, answers.probabilities[task][row], np.inf if tiny else thresholds[task])
                for task in ("gender", "race", "mask")
                if task in self.tasks
            }
            bounds = (0.0, 100.0) if tiny else (float(low[row]), float(high[row]))
            age = Age(float(years[row]), *bounds, level)
            yield Face(
                face.box,
                None if np.isnan(face.score) else face.score,
                tuple((float(x), float(y)) for x, y in face.landmarks),
                float(visibility[row]),
                detected=not face.assumed,
                age=age if "age" in self.tasks else None,
                attention=answers.attention[row],
                **chosen,
            )


@dataclass(frozen=True)
class _Found:
    """An image with its faces found and cut out. width, height, faces: in the file's pixels."""

    name: str
    width: int
    height: int
    faces: list[Detection]
    crops: list[RGBImage]


def _read(image: ImageInput, *, page: int = 0, reduced: bool = True) -> Decoded:
    """reduced: large images may be decoded at a reduced size. Raises ImageError."""
    if isinstance(image, Decoded):
        return image
    if isinstance(image, np.ndarray):
        array = check_image(image)
        return Decoded(array, array.shape[1], array.shape[0])
    return decode(image, page=page) if reduced else decode(image, page=page, decoded_pixels=None)


def _in_file(found: list[Detection], decoded: Decoded) -> list[Detection]:
    """Detections in a decoded image as they lie in its file, which may be larger."""
    scale = np.array([decoded.width, decoded.height]) / decoded.image.shape[1::-1]
    if (scale == 1).all():
        return found
    return [
        replace(
            face,
            box=(face.box[0] * scale[0], face.box[1] * scale[1], face.box[2] * scale[0], face.box[3] * scale[1]),
            landmarks=(face.landmarks * scale).astype(np.float32),
        )
        for face in found
    ]


def _choice(task: str, probabilities: npt.NDArray[np.float32], threshold: float) -> Classification:
    named = {str(name): float(value) for name, value in zip(TASKS[task], probabilities, strict=True)}
    label = max(named, key=lambda name: named[name])
    return Classification(label if named[label] >= threshold else UNCERTAIN, named[label], named)


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


def _checked_boxes(image: RGBImage, boxes: npt.ArrayLike) -> list[tuple[float, float, float, float]]:
    table = _numbers("boxes", boxes, (4,))
    if not (table[:, 2:] > 0).all():
        raise FaceError("boxes: expected x, y, width, height, the last two above 0")
    for box in table:
        _check_inside(image, "box", box[:2], box[:2] + box[2:])
    return [(float(x), float(y), float(width), float(height)) for x, y, width, height in table]


def _check_inside(image: RGBImage, name: str, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
    """Raises FaceError where nothing between two corners (x, y) lies in the image."""
    width, height = image.shape[1::-1]
    if (low >= (width, height)).any() or (high <= 0).any():
        place = ", ".join(f"{value:g}" for value in (*low, *high))
        raise FaceError(f"{name} from {place} (x, y, x, y): lies outside the image of {width} x {height} pixels")


def _given(image: RGBImage, landmarks: npt.ArrayLike, boxes: npt.ArrayLike | None) -> list[Detection]:
    """The caller's landmarks; boxes of the template's extent where none are given."""
    table = _numbers("landmarks", landmarks, (5, 2))
    for points in table:
        _check_inside(image, "landmarks", points.min(0), points.max(0))
    known = [_box_around(points) for points in table] if boxes is None else _checked_boxes(image, boxes)
    if len(known) != len(table):
        raise FaceError(f"{len(known)} boxes, but landmarks of {len(table)} faces")
    return [Detection(box, points.astype(np.float32), np.nan) for box, points in zip(known, table, strict=True)]


def _box_around(landusual: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The box that the detector would draw around an upright face with these landusual."""
    back = cv2.invertAffineTransform(crop_transform(landusual))
    usual = template().astype(np.float64)
    # The crop is to the box what the template's spread is to that of _IN_BOX.
    scale = usual.std(0) / _IN_BOX.std(0)
    corner = usual.mean(0) - _IN_BOX.mean(0) * scale
    corners = apply(np.array([corner, corner + (scale[0], 0), corner + scale, corner + (0, scale[1])]), back)
    (x, y), (width, height) = corners.min(0), np.ptp(corners, axis=0)
    return float(x), float(y), float(width), float(height)


def assumed(box: tuple[float, float, float, float], *, crop: bool = False) -> Detection:
    """A face whose landmarks nobody found: where they usually lie in a box, or in a crop with a little rim."""
    x, y, width, height = box
    shares = (_IN_BOX - 0.5) * 0.75 + 0.5 if crop else _IN_BOX
    points = shares * (width, height) + (x, y)
    return Detection(box, points.astype(np.float32), np.nan, assumed=True)
