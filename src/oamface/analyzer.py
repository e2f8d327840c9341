"""The one pipeline: a photograph to its faces. The CLI, the service, video and bulk jobs all call it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from oamface.align import apply, chip_transform, cut_chip, template
from oamface.detect import Detection, Detector, prominent
from oamface.engine import Answers, Engine
from oamface.errors import FaceError, ImageError, OamfaceError
from oamface.faces import UNCERTAIN, Age, Choice, Face, Failure, Photograph
from oamface.imaging import RGBImage, check_image, read_image
from oamface.labels import TASKS, check_tasks
from oamface.weights import WEIGHTS

Picture = str | os.PathLike[str] | bytes | RGBImage
Named = str | os.PathLike[str] | tuple[str, bytes | OSError]

TOGETHER = 16  # pictures whose faces are answered in one go

# The five landmarks in a box as CenterFace draws it, as shares of its width and height: the medians of 404 faces of
# UTKFace and FairFace, made symmetric.
_IN_BOX = np.array([[0.27, 0.327], [0.73, 0.327], [0.5, 0.529], [0.314, 0.716], [0.686, 0.716]])


class Analyzer:
    """Finds every face of a photograph and answers about it. Safe to share between threads.

    weights: the package's "oam" (the best, for research only), the same in eight bits ("oam-int8", unless another is
    named), the smaller "oam-medium" and "oam-small", or "oam-open" (free for commercial use); or an exported file.
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
        self.engine = Engine(weights, threads=threads)
        self.detector = Detector(threads=threads) if detector is None else detector

    def analyze(
        self,
        picture: Picture,
        *,
        boxes: npt.ArrayLike | None = None,
        landmarks: npt.ArrayLike | None = None,
        crop: bool = False,
    ) -> Photograph:
        """All faces of one picture: a path, a file's bytes, or an (H, W, 3) uint8 RGB array.

        boxes: (N, 4) x, y, width, height, where the caller already knows the faces; landmarks: (N, 5, 2) likewise, or
        beside boxes. Both in the picture's pixels. crop: the picture shows one face that fills it; then there is
        always exactly one answer. Raises ImageError, FaceError (boxes or landmarks that describe no face).
        """
        image = _read(picture)
        found = self._find(image, boxes, landmarks, crop)
        answers = self.engine.answer([cut_chip(image, face.landmarks) for face in found])
        source = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        return Photograph(image.shape[1], image.shape[0], tuple(self.faces(found, answers)), source)

    def analyze_all(self, pictures: Iterable[Named], *, crop: bool = False) -> Iterator[Photograph | Failure]:
        """Analyse many pictures, in their order, faces of several in one pass; a bad one is a Failure.

        pictures: paths, or pairs of a name and a file's bytes, or of a name and why these could not be had.
        """
        rest = iter(pictures)
        while group := list(islice(rest, TOGETHER)):
            read: list[tuple[str, int, int, list[Detection]] | Failure] = []
            chips: list[RGBImage] = []
            for item in group:
                name, data = item if isinstance(item, tuple) else (os.fspath(item), os.fspath(item))
                try:
                    if isinstance(data, OSError):
                        raise ImageError(f"{name}: cannot be read ({data})")
                    image = read_image(data)
                    found = self._find(image, None, None, crop)
                    chips += [cut_chip(image, face.landmarks) for face in found]
                    read.append((name, image.shape[1], image.shape[0], found))
                except OamfaceError as error:
                    read.append(Failure(name, error))
            faces = self.faces(
                [face for item in read if not isinstance(item, Failure) for face in item[3]], self.engine.answer(chips)
            )
            for told in read:
                if isinstance(told, Failure):
                    yield told
                else:
                    source, width, height, found = told
                    yield Photograph(width, height, tuple(islice(faces, len(found))), source)

    def _find(
        self, image: RGBImage, boxes: npt.ArrayLike | None, landmarks: npt.ArrayLike | None, crop: bool
    ) -> list[Detection]:
        if landmarks is not None:
            return _given(landmarks, boxes)
        if boxes is not None:
            return [self._in_box(image, box) for box in _checked_boxes(boxes)]
        found = self.detector.detect(image)
        if not crop:
            return found
        height, width = image.shape[:2]
        return [prominent(found, image) if found else _assumed((0.0, 0.0, float(width), float(height)), crop=True)]

    def _in_box(self, image: RGBImage, box: tuple[float, float, float, float]) -> Detection:
        """The caller's box, with landmarks that the detector finds around it, or else the usual ones."""
        x, y, width, height = box
        low = np.clip(np.floor([x - width / 2, y - height / 2]), 0, None).astype(int)
        high = np.clip(np.ceil([x + 1.5 * width, y + 1.5 * height]), 0, image.shape[1::-1]).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        centre = np.array([x + width / 2, y + height / 2])
        for face in self.detector.detect(part) if part.size else ():
            marks = face.landmarks + low
            if (np.abs(marks.mean(0) - centre) < np.array([width, height]) / 2).all():
                return Detection(box, marks.astype(np.float32), face.score)
        return _assumed(box)

    def faces(self, found: Sequence[Detection], answers: Answers) -> Iterator[Face]:
        """What answers, one row a face, say about faces that were found, in the tasks asked for."""
        intervals = self.engine.description["intervals"]
        low, high = answers.age_bounds(intervals["quantiles"])
        years, visibility = answers.years, answers.visibility()
        for row, face in enumerate(found):
            chosen = {
                task: _choice(task, answers.probabilities[task][row], self.engine.description["thresholds"][task])
                for task in ("gender", "race", "mask")
                if task in self.tasks
            }
            age = Age(float(years[row]), float(low[row]), float(high[row]), intervals["level"])
            yield Face(
                face.box,
                None if np.isnan(face.score) else face.score,
                tuple((float(x), float(y)) for x, y in face.landmarks),
                float(visibility[row]),
                age=age if "age" in self.tasks else None,
                attention=answers.attention[row],
                **chosen,
            )


def _read(picture: Picture) -> RGBImage:
    return check_image(picture) if isinstance(picture, np.ndarray) else read_image(picture)


def _choice(task: str, probabilities: npt.NDArray[np.float32], threshold: float) -> Choice:
    named = {str(name): float(value) for name, value in zip(TASKS[task], probabilities, strict=True)}
    label = max(named, key=lambda name: named[name])
    return Choice(label if named[label] >= threshold else UNCERTAIN, named[label], named)


def _checked_boxes(boxes: npt.ArrayLike) -> list[tuple[float, float, float, float]]:
    table = np.asarray(boxes, np.float64)
    if table.ndim != 2 or table.shape[1] != 4 or not np.isfinite(table).all() or not (table[:, 2:] > 0).all():
        raise FaceError(f"boxes: expected finite (N, 4) x, y, width, height of a size above 0, got {table.shape}")
    return [(float(x), float(y), float(width), float(height)) for x, y, width, height in table]


def _given(landmarks: npt.ArrayLike, boxes: npt.ArrayLike | None) -> list[Detection]:
    """The caller's landmarks; boxes of the template's extent where none are given."""
    table = np.asarray(landmarks, np.float64)
    if table.ndim != 3 or table.shape[1:] != (5, 2):
        raise FaceError(f"landmarks: expected (N, 5, 2), got {table.shape}")
    known = [_box_around(points) for points in table] if boxes is None else _checked_boxes(boxes)
    if len(known) != len(table):
        raise FaceError(f"{len(known)} boxes, but landmarks of {len(table)} faces")
    return [Detection(box, points.astype(np.float32), np.nan) for box, points in zip(known, table, strict=True)]


def _box_around(landmarks: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The box that the detector would draw around an upright face with these landmarks."""
    back = cv2.invertAffineTransform(chip_transform(landmarks))
    marks = template().astype(np.float64)
    # The chip is to the box what the template's spread is to that of _IN_BOX.
    scale = marks.std(0) / _IN_BOX.std(0)
    corner = marks.mean(0) - _IN_BOX.mean(0) * scale
    corners = apply(np.array([corner, corner + (scale[0], 0), corner + scale, corner + (0, scale[1])]), back)
    (x, y), (width, height) = corners.min(0), np.ptp(corners, axis=0)
    return float(x), float(y), float(width), float(height)


def _assumed(box: tuple[float, float, float, float], *, crop: bool = False) -> Detection:
    """A face whose landmarks nobody found: where they usually lie in a box, or in a crop with a little rim."""
    x, y, width, height = box
    shares = (_IN_BOX - 0.5) * 0.75 + 0.5 if crop else _IN_BOX
    points = shares * (width, height) + (x, y)
    return Detection(box, points.astype(np.float32), np.nan)
