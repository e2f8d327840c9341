"""The one pipeline: image -> detect -> align -> predict -> ImageResult, for command line, service, video and bulk."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from oamface.age_policy import AgePolicy
from oamface.age_thresholds import calibrated_tails, check_thresholds
from oamface.alignment import CROP_SIZE, crop_face, crop_transform
from oamface.detection import Detection, Detector, assumed, prominent
from oamface.errors import FaceError, ImageError, OamfaceError, OptionError
from oamface.face_detector import FaceDetector
from oamface.given_faces import check_boxes, check_detections, from_landmarks
from oamface.images import Decoded, ImageFile, RGBImage, Source, from_array
from oamface.labels import TASKS, check_tasks
from oamface.parallel import cores, map_ahead
from oamface.predictor import Predictions, Predictor
from oamface.quality import MEASURES, assess, measure, widening
from oamface.results import UNCERTAIN, Age, Box, Classification, Face, Failure, ImageResult, Quality
from oamface.weights import WEIGHTS

ImageInput = Source | npt.NDArray[np.uint8] | Decoded
BatchInput = ImageInput | OSError | tuple[str, ImageInput | OSError]
Color = Literal["rgb", "bgr"]

BATCH = 16  # images whose faces are predicted together
# Long side to which a larger JPEG is decoded, which takes half the time; it is decoded whole for the crops of faces
# that are then smaller than a crop.
DECODED_SIDE = 2000
# Pixels of a box's long side below which nothing is predicted. Of faces of UTKFace shrunk to 20, 16, 12 and 8 pixels
# 90 % intervals held 85, 83, 82 and 73 % of the ages (benchmarks/small_faces.py).
LEAST_FACE = 16


class Analyzer:
    """Finds every face of an image and predicts age, gender, race and mask. Safe to share between threads.

    weights: a name from `oamface.list_models()`, or an exported file. tasks: which of age, gender, race, mask to
    predict; all by default. device: "auto", "cpu", "cuda", "tensorrt", "coreml", "directml" or "openvino", for both
    networks. threads: CPU threads, 0 for all cores. detector: another one than FaceDetector with its defaults; it is
    never called by two threads at once. at_least: years for which the JSON has the probability of looking so old or
    older; `Age.at_least` gives that of any. policy: decides about every face, and refers images without one.
    Raises ModelError, LabelError (unknown task), DeviceError (a device that is not there), OptionError.
    """

    def __init__(
        self,
        weights: str | Path = WEIGHTS[0],
        *,
        tasks: Sequence[str] = tuple(TASKS),
        device: str = "auto",
        threads: int = 0,
        detector: Detector | None = None,
        at_least: Sequence[int] | None = (),
        policy: AgePolicy | None = None,
    ) -> None:
        self.tasks, self.at_least, self.policy = check_tasks(tasks), check_thresholds(at_least), policy
        if policy is not None and not isinstance(policy, AgePolicy):
            raise OptionError(f"policy {policy!r}: expected an oamface.AgePolicy; AgePolicy.parse reads a text")
        if (policy is not None or self.at_least) and "age" not in self.tasks:
            raise OptionError("policy and at_least are about the age, which tasks leaves out")
        if detector is not None and (isinstance(detector, type) or not callable(getattr(detector, "detect", None))):
            raise OptionError(f"detector {detector!r}: expected an object with a method detect(image)")
        self.predictor = Predictor(weights, device=device, threads=threads)
        self.detector: Detector = FaceDetector(device=device, threads=threads) if detector is None else detector
        self._workers = threads or cores()
        # What a caller's detector can bear is not known.
        own = isinstance(self.detector, FaceDetector)
        self._detector_lock = nullcontext() if own else threading.Lock()

    @property
    def description(self) -> dict[str, Any]:
        """The metadata of the model file."""
        return self.predictor.description

    @property
    def digest(self) -> str:
        """The SHA-256 of the model file."""
        return self.predictor.digest

    def analyze(
        self,
        image: ImageInput,
        *,
        boxes: npt.ArrayLike | None = None,
        landmarks: npt.ArrayLike | None = None,
        crop: bool = False,
        color: Color = "rgb",
    ) -> ImageResult:
        """All faces of one image.

        image: a path, a file's bytes, an open file, a PIL image, or an array of uint8, (H, W, 3) or gray (H, W).
        color: the order of an array's channels; "bgr" as OpenCV reads images.
        boxes: (N, 4) x, y, width, height, where the faces are known; landmarks: (N, 5, 2) likewise, alone or with
        boxes. Both in the image's pixels; an empty list is no face. crop: the image shows one face that fills it; the
        result then has exactly one face. Of animations and pages the first is analyzed; an image of more than 50
        megapixels is decoded at a reduced size. Raises ImageError; FaceError (boxes, landmarks or a detector's results
        that are no faces); OptionError (boxes or landmarks of a crop, another color).
        """
        if crop and (boxes is not None or landmarks is not None):
            raise OptionError("crop: the image is one face, so neither boxes nor landmarks can be given")
        whole = boxes is not None or landmarks is not None
        with _opened(image, color) as file:
            decoded = file.decode(decoded_pixels=None) if whole else file.decode(least_side=DECODED_SIDE)
            detections = self._detections(decoded.image, boxes, landmarks, crop)
            page = _Page.cut(_name(image), file, 0, decoded, detections)
        (result,) = self._results([page])
        return replace(result, pages=decoded.pages)

    def analyze_batch(
        self, images: Iterable[BatchInput], *, crop: bool = False, color: Color = "rgb"
    ) -> Iterator[ImageResult | Failure]:
        """The result of every image, in order, faces of several predicted together; a bad one gives a Failure.

        Images are read, decoded and searched for faces by as many threads as the analyzer has, some images ahead.

        images: anything that `analyze` takes, or pairs of a name and such an input or the OSError that reading it gave.
        Of a file with several pages each is an image of its own, the second named NAME#2 and so on; a PIL image is
        its current page alone. crop, color: see `analyze`. Raises OptionError: one image instead of several.
        """
        if _is_one(images):
            raise OptionError(f"expected a list or another iterable of images, got {type(images).__name__}")
        pages = map_ahead(partial(self._pages, crop=crop, color=color), images, self._workers, ahead=BATCH)
        return self._in_batches(chain.from_iterable(pages))

    def _in_batches(self, pages: Iterator["_Page | Failure"]) -> Iterator[ImageResult | Failure]:
        while group := list(islice(pages, BATCH)):
            results = self._results([item for item in group if isinstance(item, _Page)])
            yield from (item if isinstance(item, Failure) else next(results) for item in group)

    def _results(self, pages: Sequence["_Page"]) -> Iterator[ImageResult]:
        """The result of each page, faces of all of them predicted together."""
        detections = [face for page in pages for face in page.detections]
        crops = [face_crop for page in pages for face_crop in page.crops]
        faces = self.faces(detections, _with_measures(self.predictor.predict(crops), crops, detections))
        for page in pages:
            result = ImageResult(page.width, page.height, tuple(islice(faces, len(page.detections))), page.name)
            yield result if self.policy is None else self.policy.apply(result)

    def detect(self, image: RGBImage) -> list[Detection]:
        """Every face of an (H, W, 3) uint8 RGB image, best score first: the first step of `analyze`.

        Raises FaceError: the detector fails, or gives something else than faces in the image.
        """
        try:
            with self._detector_lock:
                return check_detections(image, self.detector.detect(image))
        except OamfaceError:
            raise
        except Exception as error:  # a caller's detector may raise anything, and must not end a batch
            raise FaceError(f"the detector {type(self.detector).__name__} failed: {error!r}") from error

    def predict(self, image: RGBImage, detections: Sequence[Detection]) -> Predictions:
        """The network's predictions for detected faces, one row each: the second step. N may be 0."""
        crops = [crop_face(image, face.landmarks) for face in detections]
        return _with_measures(self.predictor.predict(crops), crops, detections)

    def faces(self, detections: Sequence[Detection], predictions: Predictions) -> Iterator[Face]:
        """Detections and their predictions as results, in the requested tasks: the last step.

        Of a face below LEAST_FACE pixels nothing is predicted: every label is "uncertain" and the age 0 to 100.
        """
        undetected = np.array([face.assumed for face in detections], bool)[:, None]
        quantiles = np.where(undetected, self.predictor.undetected_quantiles, self.predictor.quantiles)
        years, visibility = predictions.years, predictions.visibility()
        quality: list[Quality | None] = [None] * len(detections)
        if predictions.measures is not None:
            assessed = [assess(row) for row in np.column_stack([predictions.measures, visibility])]
            quantiles = quantiles * widening([one.score for one in assessed])[:, None]
            quality = [*assessed]
        low, high = predictions.age_bounds(quantiles)
        tails = calibrated_tails(predictions.probabilities["age"], self.predictor.at_least)
        thresholds, level = self.description["thresholds"], self.description["intervals"]["level"]
        for row, face in enumerate(detections):
            tiny = max(face.box.width, face.box.height) < LEAST_FACE
            results: dict[str, Age | Classification] = {}
            for task in self.tasks:
                probabilities = predictions.probabilities[task][row]
                if task == "age":
                    bounds = (0.0, 100.0) if tiny else (float(low[row]), float(high[row]))
                    results[task] = Age(float(years[row]), *bounds, level, probabilities, tails[row], self.at_least)
                else:
                    results[task] = _classification(task, probabilities, np.inf if tiny else thresholds[task])
            yield Face(
                face.box,
                face.landmarks,
                face.score,
                float(visibility[row]),
                results,
                detected=not face.assumed,
                attention=predictions.attention[row],
                quality=quality[row],
            )

    def _pages(self, item: BatchInput, *, crop: bool, color: Color) -> list["_Page | Failure"]:
        """Every page of one input with its faces cut out, or why there is none."""
        name, image = item if isinstance(item, tuple) and len(item) == 2 else (_name(item), item)
        results: list[_Page | Failure] = []
        try:
            if isinstance(image, OSError):
                raise ImageError(f"{name or 'the image'}: cannot be read ({image.strerror or image})")
            with _opened(image, color) as file:
                for number in range(file.pages):
                    page_name = name if number == 0 else f"{name or ''}#{number + 1}"
                    try:
                        decoded = file.decode(number, least_side=DECODED_SIDE)
                        detections = self._detections(decoded.image, None, None, crop)
                        results.append(_Page.cut(page_name, file, number, decoded, detections))
                    except OamfaceError as error:
                        results.append(Failure(page_name, error))
        except OamfaceError as error:
            results.append(Failure(name, error))
        return results

    def _detections(
        self, image: RGBImage, boxes: npt.ArrayLike | None, landmarks: npt.ArrayLike | None, crop: bool
    ) -> list[Detection]:
        if landmarks is not None:
            return from_landmarks(image, landmarks, boxes)
        if boxes is not None:
            return [self._in_box(image, box) for box in check_boxes(image, boxes)]
        detections = self.detect(image)
        if not crop:
            return detections
        height, width = image.shape[:2]
        return [prominent(detections, image) if detections else assumed(Box(0, 0, width, height), crop=True)]

    def _in_box(self, image: RGBImage, box: Box) -> Detection:
        """The caller's box, with landmarks that the detector finds around it, or else the usual ones."""
        x, y, width, height = box
        low = np.clip(np.floor([x - width / 2, y - height / 2]), 0, None).astype(int)
        high = np.clip(np.ceil([x + 1.5 * width, y + 1.5 * height]), 0, image.shape[1::-1]).astype(int)
        surroundings = image[low[1] : high[1], low[0] : high[0]]
        centre = np.array([x + width / 2, y + height / 2])
        for face in self.detect(surroundings) if surroundings.size else ():
            landmarks = face.landmarks + low
            if (np.abs(landmarks.mean(0) - centre) < np.array([width, height]) / 2).all():
                return replace(face, box=box, landmarks=landmarks.astype(np.float32))
        return assumed(box)


@dataclass(frozen=True)
class _Page:
    """An image with its detections and their crops. width, height, detections: in the file's pixels."""

    name: str | None
    width: int
    height: int
    detections: list[Detection]
    crops: list[RGBImage]

    @classmethod
    def cut(
        cls, name: str | None, file: "ImageFile | _Pixels", page: int, decoded: Decoded, detections: list[Detection]
    ) -> "_Page":
        """detections: in the decoded image's pixels. file: gives that page again, larger, for small faces."""
        size = (decoded.width, decoded.height)
        in_file = _rescaled(detections, decoded.image.shape[1::-1], size)
        if decoded.image.shape[1] < decoded.width and any(_is_enlarged(face) for face in detections):
            decoded = file.decode(page)
            detections = _rescaled(in_file, size, decoded.image.shape[1::-1])
        return cls(name, *size, in_file, [crop_face(decoded.image, face.landmarks) for face in detections])


@dataclass(frozen=True)
class _Pixels:
    """An image that is in memory, used as an ImageFile of one page."""

    decoded: Decoded
    pages: int = 1

    def decode(self, page: int = 0, **_: int | None) -> Decoded:
        return self.decoded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def _opened(image: ImageInput, color: Color) -> ImageFile | _Pixels:
    """Any input. Raises ImageError, OptionError."""
    if isinstance(image, Decoded):
        return _Pixels(image)
    if isinstance(image, np.ndarray):
        pixels = from_array(image, color=color)
        return _Pixels(Decoded(pixels, pixels.shape[1], pixels.shape[0]))
    return ImageFile(image)


def _with_measures(predictions: Predictions, crops: Sequence[RGBImage], detections: Sequence[Detection]) -> Predictions:
    """Predictions with what quality is measured by. detections: in the original image's pixels."""
    rows = [measure(crop, face.landmarks) for crop, face in zip(crops, detections, strict=True)]
    return replace(predictions, measures=np.array(rows, np.float32).reshape(len(rows), len(MEASURES) - 1))


def _is_one(images: object) -> bool:
    """Whether this is one image, or nothing at all, instead of several."""
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OU":  # an array of paths is several images
        return images.ndim < 4
    one = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(images, "read")
    return one or not isinstance(images, Iterable)


def _name(image: object) -> str | None:
    """A path, or that of an open file."""
    name = getattr(image, "name", None) if hasattr(image, "read") else image
    return os.fspath(name) if isinstance(name, str | os.PathLike) else None


def _is_enlarged(face: Detection) -> bool:
    """Whether a face is smaller in the image than in its crop."""
    return float(np.linalg.norm(crop_transform(face.landmarks, CROP_SIZE)[0, :2])) > 1


def _rescaled(detections: list[Detection], size: Sequence[int], other: Sequence[int]) -> list[Detection]:
    """Detections in an image of a size (width, height) as they lie in the same image of another size."""
    x, y = other[0] / size[0], other[1] / size[1]
    if x == y == 1:
        return detections
    return [
        replace(face, box=face.box.scaled(x, y), landmarks=(face.landmarks * (x, y)).astype(np.float32))
        for face in detections
    ]


def _classification(task: str, probabilities: npt.NDArray[np.float32], threshold: float) -> Classification:
    by_name = {str(name): float(value) for name, value in zip(TASKS[task], probabilities, strict=True)}
    label = max(by_name, key=lambda name: by_name[name])
    return Classification(label if by_name[label] >= threshold else UNCERTAIN, by_name[label], by_name)
