"""The default detector: finds every face of an image, small, covered and turned ones too, in two steps.

`FaceScanner` gives candidates: places that may show a face, each with its size. `CenterFace` gets a close-up of each,
decides whether it is a face and gives its landmarks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real

import cv2
import numpy as np
import numpy.typing as npt

from oamface.centerface import CenterFace
from oamface.detection import Detection, moved, suppress, tilt
from oamface.errors import OptionError
from oamface.face_scanner import Candidate, FaceScanner
from oamface.images import RGBImage, check_image, rescale

SCAN_SIDES = ((640, 1250), (320, 600))  # long sides of images, and of what the scanner gets of them; linear between
MIN_SCAN_SIDE = 320  # to which small images are enlarged
MAX_SCAN_SIDE = 2000  # of crowds and of images without a face, unless min_face asks for more; bounds time and memory
OVERVIEW_SIDE = 160  # long side of a second scan, for faces that fill the image
SMALLEST = 12  # the scanner's pixels of a face that is surely found
CROWD_FACE, CROWD_SCORE, CROWD = 24, 0.3, 30  # most scanner's pixels, least score and least number of faces of a crowd
CANDIDATE_SCORE = 0.5  # from which a candidate gets a close-up
FAINT_SCORE, MAX_FAINT = 0.1, 32  # likewise where no face was found, for so many of the best
CERTAIN_SCORE = 0.65  # from which a candidate gets more close-ups where the first shows no face:
ROTATIONS, WIDER = (180.0, 90.0, 270.0), 1.35  # turned by so many degrees, then of a side so many times larger
UNCERTAIN_MARGIN = 0.05  # by which the close-up of a candidate that is not certain has to exceed the threshold
CLOSE_UP, CLOSE_UP_FACE = 128, 60  # pixels of a close-up and of the face in it
REACH = 96  # of its pixels that are cut out around its centre: more than half its diagonal
BATCH = 8  # close-ups of one pass of the network
TILTED = 20.0  # degrees from which a face gets a close-up turned upright: landmarks drift on tilted faces
GREY = (127, 127, 127)
LEAST_MIN_FACE, LEAST_MAX_SIDE = 4, 64  # pixels


class _Pyramid:
    """An image and what it was scaled to: each scale is made once, from the next larger one."""

    def __init__(self, image: RGBImage) -> None:
        self.image, self._levels = image, {1.0: image}

    def at(self, scale: float) -> RGBImage:
        """The image with its sides times `scale`."""
        if scale not in self._levels:
            larger = min(other for other in self._levels if other >= min(scale, 1.0))
            self._levels[scale] = rescale(self._levels[larger], scale / larger)
        return self._levels[scale]

    def least(self, scale: float) -> RGBImage:
        """The smallest level of at least `scale`, or the image itself."""
        return self._levels[min((other for other in self._levels if other >= scale), default=1.0)]


class FaceDetector:
    """A `Detector`. Safe to share between threads.

    threshold: least score of a face, 0..1.
    min_face: least long side of a face in the image's pixels that is surely looked for; None: 2 % of the image's long
    side, and at least 20 pixels. max_side: long side in pixels to which images are shrunk at most for it; None: as
    min_face needs. Both trade time for small faces; of strips and panoramas each square part counts.
    device: see `devices.DEVICES`. threads: CPU threads of one pass; 0 means all cores.
    Raises OptionError: a size or threshold that is out of range; DeviceError: a device that is not there.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.4,
        min_face: float | None = None,
        max_side: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        for name, value in (("threshold", threshold), ("min_face", min_face), ("max_side", max_side)):
            if not isinstance(value, Real) and (value is not None or name == "threshold"):
                raise OptionError(f"{name} {value!r}: expected a number")
        if not 0 < threshold < 1:
            raise OptionError(f"threshold {threshold}: expected a value between 0 and 1")
        if min_face is not None and not LEAST_MIN_FACE <= min_face < np.inf:
            raise OptionError(f"min_face {min_face}: expected at least {LEAST_MIN_FACE} pixels")
        if max_side is not None and not max_side >= LEAST_MAX_SIDE:
            raise OptionError(f"max_side {max_side}: expected at least {LEAST_MAX_SIDE} pixels")
        self.threshold, self.min_face, self.max_side = threshold, min_face, max_side
        self._scanner = FaceScanner(device=device, threads=1)  # too small for more
        self._network = CenterFace(device=device, threads=threads)

    def detect(self, image: RGBImage) -> list[Detection]:
        """Every face of an (H, W, 3) uint8 RGB image, best score first; an empty list when there is none.

        Raises ImageError for another array.
        """
        pyramid = _Pyramid(check_image(image))
        scale = self._scale(image)
        overview = min(OVERVIEW_SIDE, self.max_side or OVERVIEW_SIDE) / max(image.shape[:2])
        candidates = self._scan(pyramid, (scale, overview))
        while scale < self._largest(image, 1.0) and _is_crowd(candidates, scale):
            scale = min(2 * scale, self._largest(image, 1.0))
            candidates = suppress([*candidates, *self._scan(pyramid, (scale,))])
        faint = [place for place in candidates if place.score < CANDIDATE_SCORE][:MAX_FAINT]
        faces = self._confirm(pyramid, _at_least(CANDIDATE_SCORE, candidates))
        faces = faces or self._confirm(pyramid, faint)
        faces = faces or self._network.detect_in(image, MIN_SCAN_SIDE, self.threshold)
        while not faces and scale < self._largest(image, 2.0):
            scale = min(2 * scale, self._largest(image, 2.0))
            faces = self._confirm(pyramid, _at_least(CANDIDATE_SCORE, self._scan(pyramid, (scale,))))
        return faces

    def _scan(self, pyramid: _Pyramid, scales: Sequence[float]) -> list[Candidate]:
        """Every place that is at least faint at any of the scales, in the image's pixels, best first."""
        candidates: list[Candidate] = []
        for scale in scales:
            level = pyramid.at(scale)
            x, y = pyramid.image.shape[1] / level.shape[1], pyramid.image.shape[0] / level.shape[0]
            candidates += [
                Candidate(x * place.x, y * place.y, (x * y) ** 0.5 * place.side, place.score)
                for place in self._scanner.scan(level, FAINT_SCORE)
            ]
        return suppress(candidates)

    def _scale(self, image: RGBImage) -> float:
        """The scanner's pixels for each of the image's."""
        # A strip's faces are as large as its short side allows, however long it is.
        side = min(max(image.shape[:2]), 2 * min(image.shape[:2]))
        scanned = float(np.interp(side, *SCAN_SIDES)) if self.min_face is None else side * SMALLEST / self.min_face
        scale = max(scanned, MIN_SCAN_SIDE) / side
        # Beyond twice an image's size nothing new shows; very small images alone are enlarged to the least scan.
        scale = min(scale, max(2.0, MIN_SCAN_SIDE / max(image.shape[:2])))
        if scale <= 0.5:  # images are shrunk fastest by a whole factor
            scale = 1 / int(1 / scale + 1e-9)
        return min(scale, (self.max_side or np.inf) / side)

    def _largest(self, image: RGBImage, scale: float) -> float:
        """The scale of the closest scan that is not asked for by min_face, at most `scale`."""
        return min(scale, (self.max_side or MAX_SCAN_SIDE) / max(image.shape[:2]))

    def _confirm(self, pyramid: _Pyramid, candidates: Sequence[Candidate]) -> list[Detection]:
        """The faces that close-ups show at the candidates' places, best first.

        Turned close-ups come last: a large thing around an upright face may look like a turned one.
        """
        faces: list[Detection] = []
        missed: list[Candidate] = []

        def look_upright(places: Sequence[Candidate]) -> None:
            missed.extend(_at_least(CERTAIN_SCORE, self._detect_at(pyramid, places, 0.0, faces)))

        def look_turned(places: Sequence[Candidate]) -> None:
            left = list(places)
            for degrees in ROTATIONS:
                left = self._detect_at(pyramid, left, degrees, faces)
            self._detect_at(pyramid, [replace(place, side=WIDER * place.side) for place in left], 0.0, faces)

        _judge(candidates, look_upright, faces)
        certain = [_candidate(face) for face in faces if face.score >= CERTAIN_SCORE]
        unsolved = [place for place in missed if not any(_within(face, [place]) for face in certain)]
        _judge(sorted(unsolved, key=lambda place: -place.score), look_turned, faces)
        best: list[Detection] = []
        for face in suppress(faces):
            if not _within(_candidate(face), [_candidate(better) for better in best]):
                best.append(face)
        return best

    def _detect_at(
        self, pyramid: _Pyramid, places: Sequence[Candidate], degrees: float, faces: list[Detection]
    ) -> list[Candidate]:
        """Append the faces that close-ups turned by `degrees` show at places, and return the places that show none."""
        missed: list[Candidate] = []
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            for place, face in zip(batch, self._faces_at(pyramid, batch, degrees), strict=True):
                if face is None:
                    missed.append(place)
                else:
                    faces.append(face)
        return missed

    def _faces_at(self, pyramid: _Pyramid, places: Sequence[Candidate], degrees: float) -> list[Detection | None]:
        """The face at each place, if there is one; tilted ones get a close-up turned upright, for better landmarks."""
        faces = self._close_ups(pyramid, places, [degrees] * len(places))
        tilts = [degrees if face is None else tilt(face) for face in faces]
        again = [number for number, value in enumerate(tilts) if abs(_half_turn(value - degrees)) >= TILTED]
        upright = self._close_ups(pyramid, [places[number] for number in again], [tilts[number] for number in again])
        for number, face in zip(again, upright, strict=True):
            faces[number] = face or faces[number]
        return faces

    def _close_ups(
        self, pyramid: _Pyramid, places: Sequence[Candidate], turns: Sequence[float]
    ) -> list[Detection | None]:
        """The face at each place, if a close-up turned counter-clockwise by so many degrees shows one."""
        if not places:
            return []
        close_ups = [_close_up(pyramid, place, degrees) for place, degrees in zip(places, turns, strict=True)]
        detected = self._network.detect(np.stack([pixels for pixels, _ in close_ups]), self.threshold)
        faces: list[Detection | None] = []
        for place, (_, to_image), detections in zip(places, close_ups, detected, strict=True):
            least = self.threshold + (0.0 if place.score >= CERTAIN_SCORE else UNCERTAIN_MARGIN)
            moved_back = [moved(face, to_image) for face in detections if face.score >= least]
            in_place = [face for face in moved_back if _within(_candidate(face), [place])]
            faces.append(max(in_place, key=lambda face: face.score, default=None))
        return faces


def _judge(
    places: Sequence[Candidate], look: Callable[[Sequence[Candidate]], None], faces: Sequence[Detection]
) -> None:
    """Have all places looked at but those within a face. look: appends what it finds to `faces`.

    Inside a face smaller places look like faces too: a place inside a better one waits until that is judged.
    """
    while places:
        first = [place for number, place in enumerate(places) if not _within(place, places[:number])]
        look(first)
        confirmed, judged = [_candidate(face) for face in faces], frozenset(first)
        places = [place for place in places if place not in judged and not _within(place, confirmed)]


def _close_up(pyramid: _Pyramid, place: Candidate, degrees: float) -> tuple[RGBImage, npt.NDArray[np.float64]]:
    """A place at a size that suits the network, turned by `degrees`, and the 2 x 3 matrix back to the image."""
    image = pyramid.least(CLOSE_UP_FACE / place.side)
    ratio = np.array(image.shape[1::-1]) / pyramid.image.shape[1::-1]
    scale = CLOSE_UP_FACE / place.side / float(np.sqrt(ratio.prod()))
    centre, reach = np.array([place.x, place.y]) * ratio, REACH / scale
    low = np.clip(np.floor(centre - reach), 0, np.array(image.shape[1::-1]) - 1).astype(int)
    high = np.clip(np.ceil(centre + reach), low + 1, image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    small = rescale(part, min(1.0, scale))  # a warp samples single pixels: shrink first
    stretch = np.array([part.shape[1] / small.shape[1], part.shape[0] / small.shape[0]])
    inside = (centre - low) / stretch
    to_close_up = cv2.getRotationMatrix2D(tuple(inside), degrees, max(1.0, scale))
    to_close_up[:, 2] += CLOSE_UP / 2 - inside
    pixels = cv2.warpAffine(small, to_close_up, (CLOSE_UP, CLOSE_UP), flags=cv2.INTER_LINEAR, borderValue=GREY)
    to_image = np.diag(stretch / ratio) @ cv2.invertAffineTransform(to_close_up)
    to_image[:, 2] += low / ratio
    return pixels, to_image


def _is_crowd(candidates: Sequence[Candidate], scale: float) -> bool:
    """Whether an image shows so many small faces that it is worth a closer scan."""
    return sum(place.score >= CROWD_SCORE and place.side * scale < CROWD_FACE for place in candidates) >= CROWD


def _at_least(score: float, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [place for place in candidates if place.score >= score]


def _candidate(face: Detection) -> Candidate:
    x, y, width, height = face.box
    return Candidate(x + width / 2, y + height / 2, max(width, height), face.score)


def _within(place: Candidate, others: Sequence[Candidate]) -> bool:
    """Whether the centre of a place lies in another one of which the size differs by less than three times."""
    return any(
        max(abs(place.x - other.x), abs(place.y - other.y)) < other.side / 2
        and place.side / 3 < other.side < 3 * place.side
        for other in others
    )


def _half_turn(degrees: float) -> float:
    """An angle as -180..180."""
    return (degrees + 180) % 360 - 180
