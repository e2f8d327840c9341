"""The same face from frame to frame: followed between detections, and its answers averaged over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.align import apply, cut_chip
from oamface.analyzer import Analyzer
from oamface.detect import Box, Detection, overlap
from oamface.engine import Answers
from oamface.faces import Face
from oamface.imaging import RGBImage

SAME = 0.25  # least intersection over union of a followed box and a detected one that are taken for one face
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
    """One person's way through a video. number: from 1 in order of appearance. first, last: seconds.

    found: where the face is now. seen: whether the last look found it. frames: in how many it was followed.
    """

    number: int
    found: Detection
    first: float
    last: float
    seen: bool = True
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

    def add(self, answers: Answers, row: int, weight: float, keep: float) -> None:
        """keep: the share of what was there that still counts."""
        total = self.weight * keep + weight
        for task, table in answers.probabilities.items():
            old = self.probabilities.get(task, table[row])
            self.probabilities[task] = old + (table[row] - old) * np.float32(weight / total)
        self.weight, self.attention = total, answers.attention[row]


class Tracker:
    """Finds, follows and answers for the faces of one video, frame after frame.

    every: frames from one look for faces to the next; in between they are followed by optical flow (Lucas and Kanade,
    1981). half_life: seconds after which an answer counts half. patience: seconds for which a face that is not found
    is still awaited before it counts as another one.
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
            for track in self._here:
                track.found = _followed(track.found, self._before, grey, scale)
        else:
            self._until_look = 0  # the first frame, or one of another size
        self._before = grey
        if self._until_look <= 0:
            self._look(frame, seconds)
            self._until_look = self.every
        self._until_look -= 1
        self._here = [track for track in self._here if seconds - track.last <= self.patience]
        shown = [track for track in self._here if track.seen]
        for track in shown:
            track.frames += 1
        return list(zip(shown, self._faces(shown, [track.recent for track in shown]), strict=True))

    def summary(self) -> list[tuple[Track, Face]]:
        """Every track with the answers of its whole length."""
        return list(zip(self.tracks, self._faces(self.tracks, [track.whole for track in self.tracks]), strict=True))

    def _look(self, frame: RGBImage, seconds: float) -> None:
        found = self.analyzer.detector.detect(frame)
        pairs = sorted(
            (
                (overlap(track.found.box, face.box), number, at)
                for number, track in enumerate(self._here)
                for at, face in enumerate(found)
            ),
            reverse=True,
        )
        owner: dict[int, Track] = {}
        taken: set[int] = set()
        for share, number, at in pairs:
            if share >= SAME and number not in taken and at not in owner:
                owner[at] = self._here[number]
                taken.add(number)
        for track in self._here:
            track.seen = False
        answers = self.analyzer.engine.answer([cut_chip(frame, face.landmarks) for face in found])
        visible = answers.visibility()
        for at, face in enumerate(found):
            if at not in owner:
                owner[at] = Track(len(self.tracks) + 1, face, seconds, seconds, answered=seconds)
                self.tracks.append(owner[at])
                self._here.append(owner[at])
            track = owner[at]
            track.found, track.seen, track.last = face, True, seconds
            # A face that is large, sure and bare says more; 30 pixels between the eyes are enough to see all.
            eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
            weight = max(1e-3, face.score * float(visible[at]) * min(1.0, eyes / 30))
            track.recent.add(answers, at, weight, 0.5 ** ((seconds - track.answered) / self.half_life))
            track.whole.add(answers, at, weight, 1.0)
            track.answered = seconds

    def _faces(self, tracks: Sequence[Track], means: Sequence[_Mean]) -> list[Face]:
        if not tracks:
            return []
        tasks = means[0].probabilities
        answers = Answers(
            {task: np.stack([mean.probabilities[task] for mean in means]) for task in tasks},
            np.stack([mean.attention for mean in means]),
        )
        return list(self.analyzer.faces([track.found for track in tracks], answers))


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
