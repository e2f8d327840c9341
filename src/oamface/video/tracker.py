"""Follows each face of a video: detections become tracks, optical flow fills in between, predictions are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import apply, crop_face
from oamface.analyzer import Analyzer
from oamface.detection import Detection, iou
from oamface.images import RGBImage
from oamface.predictor import Predictions
from oamface.results import Box, Face

MIN_IOU = 0.25  # of a track's box and a detection, to be matched by place
MIN_SIMILARITY = 0.6  # of a track's and a detection's embedding, to be matched though the boxes do not overlap
MAX_DISTANCE = 1.0  # face widths between these boxes; grows by as much every second
MIN_MISSES = 2  # detection passes in a row without the face before its track may end
_EMBEDDING_UPDATE = 0.3  # weight of a new embedding in a track's running mean
_EMBEDDING_SIDE = 16  # pixels
_CLEAR_EYES = 30  # pixels between the eyes from which a larger face does not count more
_FLOW_SIDE = 640  # pixels of the frame's long side for optical flow
_MIN_FLOW_POINTS = 8  # that agree on a motion
_FLOW_SETTINGS: dict[str, Any] = {
    "winSize": (21, 21),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
}

FloatArray = npt.NDArray[np.float32]
GrayImage = npt.NDArray[np.uint8]


class _AveragePrediction:
    """A weighted running mean of one face's predictions, attention and measures by name."""

    def __init__(self) -> None:
        self._weight = 0.0
        self.means: dict[str, FloatArray] = {}

    def add(self, predictions: Predictions, row: int, weight: float, *, decay: float = 1.0) -> None:
        """Add one row of predictions. decay: factor, 0..1, on the weight of everything before."""
        self._weight = self._weight * decay + weight
        share = np.float32(weight / self._weight)
        tables = {**predictions.probabilities, "attention": predictions.attention}
        if predictions.measures is not None:
            tables["measures"] = predictions.measures
        for name, table in tables.items():
            mean = self.means.get(name, table[row])
            self.means[name] = mean + (table[row] - mean) * share


@dataclass
class Track:
    """One face followed through a video.

    id: from 1, in order of appearance. first, last, frames: seconds of the first and last frame that show the face, and
    how many do. detection: where it is in the current frame. visible: whether the last detection pass found it;
    misses: passes in a row that did not. detected_box, detected_seconds: where and when a pass found it last.
    velocity: (2,), pixels per second. embedding: see `_embed`. recent, overall: its averaged predictions, the former of
    the last seconds.
    """

    id: int
    detection: Detection
    first: float
    last: float
    embedding: FloatArray
    detected_box: Box
    detected_seconds: float
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    visible: bool = True
    misses: int = 0
    frames: int = 0
    recent: _AveragePrediction = field(default_factory=_AveragePrediction)
    overall: _AveragePrediction = field(default_factory=_AveragePrediction)


class Tracker:
    """Detects and follows the faces of one video, frame by frame, and averages their predictions.

    A detection pass matches each face to the track that fits best by place and appearance; between passes faces are
    followed by optical flow (Lucas and Kanade, 1981).
    every: frames from one detection pass to the next. half_life: seconds after which a prediction counts half.
    patience: seconds that a missed face keeps its track; at least MIN_MISSES passes, whatever the frame rate.
    tracks: all so far, ended ones included.
    """

    def __init__(self, analyzer: Analyzer, *, every: int = 5, half_life: float = 1.5, patience: float = 1.0) -> None:
        self.analyzer, self.every, self.half_life, self.patience = analyzer, every, half_life, patience
        self.tracks: list[Track] = []
        self._active: list[Track] = []
        self._previous: GrayImage | None = None
        self._frames_to_pass = 0

    def update(self, frame: RGBImage, seconds: float) -> list[tuple[Track, Face]]:
        """The faces of the next frame, (H, W, 3) uint8 RGB, at its time, with their predictions of late.

        A policy of the analyzer decides by the mean prediction over all detections of the track so far.
        """
        scale = min(1.0, _FLOW_SIDE / max(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
        gray: GrayImage = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        if self._previous is not None and self._previous.shape == gray.shape:
            for track in self._visible():
                track.detection = _follow(track.detection, self._previous, gray, scale)
        else:
            self._frames_to_pass = 0  # the first frame, or one of another size
        self._previous = gray
        if self._frames_to_pass <= 0:
            self._detect(frame, seconds)
            self._frames_to_pass = self.every
        self._frames_to_pass -= 1
        visible = self._visible()
        for track in visible:
            track.frames, track.last = track.frames + 1, seconds
        faces = self._with_faces(visible, [track.recent for track in visible])
        return faces if self.analyzer.policy is None else self._decided(faces, self._overall(visible))

    def summary(self) -> list[tuple[Track, Face]]:
        """Every track with the mean prediction over all its detections."""
        faces = self._overall(self.tracks)
        return self._decided(faces, faces)

    def _overall(self, tracks: Sequence[Track]) -> list[tuple[Track, Face]]:
        return self._with_faces(tracks, [track.overall for track in tracks])

    def _decided(self, faces: list[tuple[Track, Face]], overall: list[tuple[Track, Face]]) -> list[tuple[Track, Face]]:
        """The faces with the policy's decisions, if there is one, about the same tracks' `overall` faces."""
        policy = self.analyzer.policy
        if policy is None:
            return faces
        return [
            (track, replace(face, decision=policy.decide(mean)))
            for (track, face), (_, mean) in zip(faces, overall, strict=True)
        ]

    def _visible(self) -> list[Track]:
        return [track for track in self._active if track.visible]

    def _detect(self, frame: RGBImage, seconds: float) -> None:
        """A detection pass: update matched tracks, start new ones, end those that were missed for too long."""
        detections = self.analyzer.detect(frame)
        predictions = self.analyzer.predict(frame, detections)
        visibility = predictions.visibility()
        embeddings = [_embed(crop_face(frame, detection.landmarks)) for detection in detections]
        matches = self._match(detections, embeddings, seconds)
        for track in self._active:
            track.visible, track.misses = False, track.misses + 1
        for row, detection in enumerate(detections):
            track = matches.get(row) or self._start(detection, embeddings[row], seconds)
            elapsed = seconds - track.detected_seconds
            track.velocity = _velocity(track, detection.box, elapsed)
            track.embedding = track.embedding + (embeddings[row] - track.embedding) * np.float32(_EMBEDDING_UPDATE)
            track.detection, track.visible, track.misses = detection, True, 0
            track.detected_box, track.detected_seconds = detection.box, seconds
            # A large, certain, unoccluded face says more.
            eyes = float(np.linalg.norm(detection.landmarks[1] - detection.landmarks[0]))
            weight = max(1e-3, detection.score * float(visibility[row]) * min(1.0, eyes / _CLEAR_EYES))
            track.recent.add(predictions, row, weight, decay=0.5 ** (elapsed / self.half_life))
            track.overall.add(predictions, row, weight)
        self._active = [
            track
            for track in self._active
            if track.misses < MIN_MISSES or seconds - track.detected_seconds <= self.patience
        ]

    def _start(self, detection: Detection, embedding: FloatArray, seconds: float) -> Track:
        track = Track(len(self.tracks) + 1, detection, seconds, seconds, embedding, detection.box, seconds)
        self.tracks.append(track)
        self._active.append(track)
        return track

    def _match(
        self, detections: Sequence[Detection], embeddings: Sequence[FloatArray], seconds: float
    ) -> dict[int, Track]:
        """The track that each detection, by its row, continues; pairs are taken greedily, best score first."""
        pairs = [
            (score, index, row)
            for index, track in enumerate(self._active)
            for row, detection in enumerate(detections)
            if (score := _match_score(track, detection.box, embeddings[row], seconds)) is not None
        ]
        matches: dict[int, Track] = {}
        matched: set[int] = set()
        for _, index, row in sorted(pairs, reverse=True):
            if index not in matched and row not in matches:
                matches[row] = self._active[index]
                matched.add(index)
        return matches

    def _with_faces(self, tracks: Sequence[Track], averages: Sequence[_AveragePrediction]) -> list[tuple[Track, Face]]:
        if not tracks:
            return []
        tables = {name: np.stack([average.means[name] for average in averages]) for name in averages[0].means}
        attention, measures = tables.pop("attention"), tables.pop("measures", None)
        predictions = Predictions(tables, attention, measures)
        faces = self.analyzer.faces([track.detection for track in tracks], predictions)
        return list(zip(tracks, faces, strict=True))


def _match_score(track: Track, box: Box, embedding: FloatArray, seconds: float) -> float | None:
    """How well a detection continues a track, by place and appearance; None if it cannot."""
    similarity = float(np.dot(track.embedding, embedding) / max(float(np.linalg.norm(track.embedding)), 1e-9))
    elapsed = max(seconds - track.detected_seconds, 0.0)
    expected = _shift(track.detected_box, track.velocity * min(elapsed, 1.0))
    # Optical flow may have jumped to a face that passed in front; the velocity from before has not.
    best_iou = max(iou(track.detection.box, box) if track.visible else 0.0, iou(expected, box))
    if best_iou >= MIN_IOU:
        return best_iou + similarity
    width = (track.detected_box.width + box.width) / 2
    nearest = min(_distance(place, box) for place in (track.detected_box, track.detection.box, expected))
    distance = nearest / max(width, 1e-9)
    same_size = 0.6 < box.width / max(track.detected_box.width, 1e-9) < 1.7
    if similarity >= MIN_SIMILARITY and same_size and distance <= MAX_DISTANCE * (1 + elapsed):
        return similarity - 0.1 * distance
    return None


def _velocity(track: Track, box: Box, elapsed: float) -> FloatArray:
    """Pixels per second after a detection at `box`: the mean of the old velocity and the motion since then."""
    if elapsed <= 0:
        return track.velocity
    motion = _center(box) - _center(track.detected_box)
    return (0.5 * track.velocity + 0.5 * motion / elapsed).astype(np.float32)


def _embed(crop: RGBImage) -> FloatArray:
    """The middle of a crop as a vector of length 1; the product of two, -1..1, is their similarity."""
    border = crop.shape[0] // 8
    inner = crop[border:-border, border:-border]
    small = cv2.resize(inner, (_EMBEDDING_SIDE, _EMBEDDING_SIDE), interpolation=cv2.INTER_AREA)
    embedding = small.astype(np.float32).ravel()
    embedding -= embedding.mean()
    return embedding / max(float(np.linalg.norm(embedding)), 1e-9)


def _center(box: Box) -> npt.NDArray[np.float64]:
    return np.array([box.x + box.width / 2, box.y + box.height / 2])


def _distance(first: Box, second: Box) -> float:
    return float(np.hypot(*(_center(first) - _center(second))))


def _shift(box: Box, offset: FloatArray) -> Box:
    return Box(box.x + float(offset[0]), box.y + float(offset[1]), box.width, box.height)


def _follow(detection: Detection, previous: GrayImage, current: GrayImage, scale: float) -> Detection:
    """Where a face moved from one gray frame to the next, by the similarity transform that most of its points follow.

    scale: of the gray frames to the detection's pixels. The same detection where too few points agree.
    """
    x, y, width, height = detection.box.xywh
    columns, rows = np.meshgrid(np.linspace(0.2, 0.8, 7), np.linspace(0.25, 0.85, 7))
    grid = np.stack([x + columns.ravel() * width, y + rows.ravel() * height], 1)
    points = (np.concatenate([detection.landmarks, grid]) * scale).astype(np.float32)[:, None]
    moved, status, _ = cv2.calcOpticalFlowPyrLK(previous, current, points, None, **_FLOW_SETTINGS)
    tracked = status.ravel() == 1
    if tracked.sum() < _MIN_FLOW_POINTS:
        return detection
    transform, inliers = cv2.estimateAffinePartial2D(points[tracked], moved[tracked], ransacReprojThreshold=2.0)
    if transform is None or inliers.sum() < _MIN_FLOW_POINTS:
        return detection
    transform[:, 2] /= scale
    growth = float(np.hypot(transform[0, 0], transform[1, 0]))
    if not 0.7 < growth < 1.4:  # no face changes its size as much from one frame to the next
        return detection
    center_x, center_y = (float(value) for value in apply(_center(detection.box)[None], transform)[0])
    width, height = width * growth, height * growth
    box = Box(center_x - width / 2, center_y - height / 2, width, height)
    return replace(detection, box=box, landmarks=apply(detection.landmarks, transform).astype(np.float32))
