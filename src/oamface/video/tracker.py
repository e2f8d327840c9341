"""The same face from frame to frame: followed between detections, and its answers averaged over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import apply, crop_face
from oamface.analyzer import Analyzer
from oamface.detection import Box, Detection, overlap
from oamface.images import RGBImage
from oamface.predictor import Predictions
from oamface.results import Face

SAME = 0.25  # least intersection over union of a followed box and a detected one that are taken for one face
ALIKE = 0.6  # least likeness of two crops of one face that has left its box meanwhile
REACH = 1.0  # widths of a face that it may be away from where it is expected, and as many more each second
LOOKS = 2  # in a row that have to miss a face before it may be given up
_LOOK_SIDE = 16  # pixels of a crop's side in which likeness is measured
_SIDE = 640  # pixels of the frame's long side in which motion is followed
_LEAST = 8  # points that have to agree on a motion
_FLOW: dict[str, Any] = {
    "winSize": (21, 21),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
}

FloatArray = npt.NDArray[np.float32]


@dataclass
class Track:
    """One person's way through a video. number: from 1 in order of appearance.

    first, last: seconds of the frames that show it. frames: how many these are. found: where the face is now.
    seen: whether the last look found it. missed: looks in a row that did not. at, answered: where, and at which second,
    a look found it last. pace: pixels a second, (2,). looks: how its crops look, see `_appearance`.
    """

    number: int
    found: Detection
    first: float
    last: float
    at: Box
    looks: FloatArray
    pace: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    seen: bool = True
    missed: int = 0
    frames: int = 0
    answered: float = 0.0
    recent: "_Mean" = field(default_factory=lambda: _Mean())
    whole: "_Mean" = field(default_factory=lambda: _Mean())


class _Mean:
    """A weighted mean of answers that may forget."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.probabilities: dict[str, FloatArray] = {}
        self.attention: FloatArray = np.zeros((0, 0), np.float32)

    def add(self, answers: Predictions, row: int, weight: float, keep: float) -> None:
        """keep: the share of what was there that still counts."""
        total = self.weight * keep + weight
        for task, table in answers.probabilities.items():
            old = self.probabilities.get(task, table[row])
            self.probabilities[task] = old + (table[row] - old) * np.float32(weight / total)
        self.weight, self.attention = total, answers.attention[row]


class Tracker:
    """Finds, follows and answers for the faces of one video, frame after frame.

    every: frames from one look for faces to the next; in between they are followed by optical flow (Lucas and Kanade,
    1981). A look gives each face to the track whose place and appearance fit best. half_life: seconds after which an
    answer counts half. patience: seconds for which a face that is not found is still awaited before it counts as
    another one; at least LOOKS looks, so that no frame rate and no `every` gives up a face that was not looked for.
    """

    def __init__(self, analyzer: Analyzer, *, every: int = 5, half_life: float = 1.5, patience: float = 1.0) -> None:
        self.analyzer, self.every, self.half_life, self.patience = analyzer, every, half_life, patience
        self.tracks: list[Track] = []  # all there ever were
        self._here: list[Track] = []
        self._before: npt.NDArray[np.uint8] | None = None
        self._until_look = 0

    def update(self, frame: RGBImage, seconds: float) -> list[tuple[Track, Face]]:
        """The faces of the next frame, (H, W, 3) uint8 RGB, at its time, with their answers of late."""
        scale = min(1.0, _SIDE / max(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
        grey: npt.NDArray[np.uint8] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        if self._before is not None and self._before.shape == grey.shape:
            for track in self._shown():
                track.found = _followed(track.found, self._before, grey, scale)
        else:
            self._until_look = 0  # the first frame, or one of another size
        self._before = grey
        if self._until_look <= 0:
            self._look(frame, seconds)
            self._until_look = self.every
        self._until_look -= 1
        shown = self._shown()
        for track in shown:
            track.frames, track.last = track.frames + 1, seconds
        return list(zip(shown, self._faces(shown, [track.recent for track in shown]), strict=True))

    def summary(self) -> list[tuple[Track, Face]]:
        """Every track with the answers of its whole length."""
        return list(zip(self.tracks, self._faces(self.tracks, [track.whole for track in self.tracks]), strict=True))

    def _shown(self) -> list[Track]:
        return [track for track in self._here if track.seen]

    def _look(self, frame: RGBImage, seconds: float) -> None:
        found = self.analyzer.detector.detect(frame)
        crops = [crop_face(frame, face.landmarks) for face in found]
        looks = [_appearance(crop) for crop in crops]
        owner = self._owners(found, looks, seconds)
        for track in self._here:
            track.seen, track.missed = False, track.missed + 1
        answers = self.analyzer.predictor.predict(crops)
        visible = answers.visibility()
        for row, face in enumerate(found):
            track = owner.get(row) or self._begun(face, looks[row], seconds)
            track.pace = _pace(track, face, seconds)
            track.looks = track.looks + (looks[row] - track.looks) * np.float32(0.3)
            track.found, track.at, track.seen, track.missed = face, face.box, True, 0
            # A face that is large, sure and bare says more; 30 pixels between the eyes are enough to see all.
            eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
            weight = max(1e-3, face.score * float(visible[row]) * min(1.0, eyes / 30))
            track.recent.add(answers, row, weight, 0.5 ** ((seconds - track.answered) / self.half_life))
            track.whole.add(answers, row, weight, 1.0)
            track.answered = seconds
        self._here = [
            track for track in self._here if track.missed < LOOKS or seconds - track.answered <= self.patience
        ]

    def _begun(self, face: Detection, looks: FloatArray, seconds: float) -> Track:
        track = Track(len(self.tracks) + 1, face, seconds, seconds, face.box, looks, answered=seconds)
        self.tracks.append(track)
        self._here.append(track)
        return track

    def _owners(self, found: Sequence[Detection], looks: Sequence[FloatArray], seconds: float) -> dict[int, Track]:
        """Which track each detection, by its row, goes on; the best pairs first."""
        pairs = sorted(
            (
                (score, number, row)
                for number, track in enumerate(self._here)
                for row, face in enumerate(found)
                if (score := _fit(track, face, looks[row], seconds)) is not None
            ),
            reverse=True,
        )
        owner: dict[int, Track] = {}
        taken: set[int] = set()
        for _, number, row in pairs:
            if number not in taken and row not in owner:
                owner[row] = self._here[number]
                taken.add(number)
        return owner

    def _faces(self, tracks: Sequence[Track], means: Sequence[_Mean]) -> list[Face]:
        if not tracks:
            return []
        tasks = means[0].probabilities
        answers = Predictions(
            {task: np.stack([mean.probabilities[task] for mean in means]) for task in tasks},
            np.stack([mean.attention for mean in means]),
        )
        return list(self.analyzer.faces([track.found for track in tracks], answers))


def _fit(track: Track, face: Detection, looks: FloatArray, seconds: float) -> float | None:
    """How well a detection goes on a track, by place and appearance; None if it cannot."""
    likeness = float(np.dot(track.looks, looks) / max(float(np.linalg.norm(track.looks)), 1e-9))
    gap = max(seconds - track.answered, 0.0)
    expected = _moved(track.at, track.pace * min(gap, 1.0))
    # Flow may have gone over to a face that passed in front; the pace of before has not.
    share = max(overlap(track.found.box, face.box) if track.seen else 0.0, overlap(expected, face.box))
    if share >= SAME:
        return share + likeness
    size = (track.at[2] + face.box[2]) / 2
    away = min(_distance(place, face.box) for place in (track.at, track.found.box, expected)) / max(size, 1e-9)
    alike = likeness >= ALIKE and 0.6 < face.box[2] / max(track.at[2], 1e-9) < 1.7
    return likeness - 0.1 * away if alike and away <= REACH * (1 + gap) else None


def _pace(track: Track, face: Detection, seconds: float) -> FloatArray:
    """Pixels a second after a look found the face again: half as it was, half as it moved since."""
    gap = seconds - track.answered
    if gap <= 0:
        return track.pace
    moved = np.array(_centre(face.box)) - _centre(track.at)
    return (0.5 * track.pace + 0.5 * moved / gap).astype(np.float32)


def _appearance(crop: RGBImage) -> FloatArray:
    """A crop's middle as a vector of length 1 whose product with another's says how alike they look, -1..1."""
    rim = crop.shape[0] // 8
    small = cv2.resize(crop[rim:-rim, rim:-rim], (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA)
    vector = small.astype(np.float32).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _distance(one: Box, other: Box) -> float:
    return float(np.hypot(*(np.array(_centre(one)) - _centre(other))))


def _moved(box: Box, by: FloatArray) -> Box:
    return box[0] + float(by[0]), box[1] + float(by[1]), box[2], box[3]


def _followed(face: Detection, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], scale: float) -> Detection:
    """Where a face has gone from one grey frame to the next, by the motion that most points of it share."""
    x, y, width, height = face.box
    across, down = np.meshgrid(np.linspace(0.2, 0.8, 7), np.linspace(0.25, 0.85, 7))
    grid = np.stack([x + across.ravel() * width, y + down.ravel() * height], 1)
    points = (np.concatenate([face.landmarks, grid]) * scale).astype(np.float32)[:, None]
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, **_FLOW)
    kept = found.ravel() == 1
    if kept.sum() < _LEAST:
        return face
    motion, agreed = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=2.0)
    if motion is None or agreed.sum() < _LEAST:
        return face
    motion[:, 2] /= scale
    growth = float(np.hypot(motion[0, 0], motion[1, 0]))
    if not 0.7 < growth < 1.4:  # no face does that from one frame to the next
        return face
    centre = apply(np.array([[x + width / 2, y + height / 2]]), motion)[0]
    box: Box = (
        float(centre[0] - width * growth / 2),
        float(centre[1] - height * growth / 2),
        width * growth,
        height * growth,
    )
    return Detection(box, apply(face.landmarks, motion).astype(np.float32), face.score)
