"""Identity switches and fragments of oamface's tracker and ByteTrack on synthetic clips with known ground truth.

python benchmarks/tracking.py    needs oamface[synth,video], and the package `trackers` for ByteTrack.

Clips are rendered at 30 frames per second; lower rates take every n-th frame. Both trackers get the same detections.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import cv2
import numpy as np
import numpy.typing as npt

from oamface.analyzer import Analyzer
from oamface.detection import Detection, iou
from oamface.images import RGBImage
from oamface.labels import TASKS
from oamface.predictor import Predictions
from oamface.results import Box
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import Person
from oamface.synthetic.scene import Scene
from oamface.video import Tracker

FPS = 30  # of the rendered clips
SIDE = 150  # pixels of a head's image
MIN_IOU = 0.4  # of a face and its detection or track
HEIGHT, WIDTH = 360, 640
SETTINGS = ((30, 1), (30, 5), (30, 30), (10, 2), (5, 1), (2, 1), (1, 1))  # frames per second, every
PEOPLE = (
    Person(24, "female", "Asian", 3),
    Person(75, "male", "White", 8),
    Person(40, "male", "Black", 5),
    Person(20, "male", "White", 2),
    Person(60, "female", "White", 11),
    Person(33, "male", "Asian", 7),
)

Path = Callable[[float], tuple[float, float] | None]  # seconds to the upper left corner of a head; None: not visible
Head = tuple[RGBImage, npt.NDArray[np.float32]]  # an image, and its opacity (SIDE, SIDE, 1) in 0..1
Output = list[tuple[int, Box]]  # ids and boxes of the tracks of a frame


@dataclass
class Clip:
    """paths: one for each person, those behind first."""

    name: str
    seconds: float
    paths: list[Path]


def line(start: tuple[float, float], velocity: tuple[float, float], since: float = 0.0, until: float = 1e9) -> Path:
    """At `start` at second 0, with a velocity in pixels per second."""
    return lambda t: (start[0] + velocity[0] * t, start[1] + velocity[1] * t) if since <= t < until else None


def clips() -> list[Clip]:
    swing = lambda t: (240 + 220 * np.sin(1.1 * t), 100.0)  # noqa: E731
    return [
        Clip("still", 8, [line((60, 100), (0, 0)), line((400, 100), (0, 0))]),
        Clip("cross, apart", 6, [line((0, 10), (80, 0)), line((480, 190), (-80, 0))]),
        Clip("cross, one behind", 6, [line((0, 100), (80, 0)), line((480, 110), (-80, 0))]),
        Clip("cross, fast", 4, [line((0, 100), (180, 0)), line((490, 110), (-180, 0))]),
        Clip(
            "pass in front of two still",
            6,
            [line((120, 100), (0, 0)), line((360, 100), (0, 0)), line((-150, 105), (140, 0))],
        ),
        Clip(
            "meet and turn back",
            8,
            [lambda t: (60 + 45 * min(t, 8 - t), 100.0), lambda t: (430 - 45 * min(t, 8 - t), 108.0)],
        ),
        Clip(
            "enter and leave",
            9,
            [
                line((-150, 20), (110, 0)),
                line((20, 190), (0, 0), 2, 7),
                line((250, 190), (0, 0), 4),
                line((640, 40), (-90, 0)),
            ],
        ),
        Clip("another takes the seat", 9, [line((250, 100), (0, 0), 0, 4), line((250, 100), (0, 0), 6)]),
        Clip(
            "hidden for half a second", 6, [line((250, 100), (0, 0)), lambda t: (250.0, 100.0) if 2 < t < 2.5 else None]
        ),
        Clip(
            "crowd of six",
            8,
            [
                line((0, 10), (60, 15)),
                line((480, 10), (-60, 18)),
                swing,
                line((10, 200), (70, -15)),
                line((300, 200), (-20, -20)),
                line((490, 200), (-75, -5)),
            ],
        ),
    ]


def heads() -> list[Head]:
    """Each person's head on gray."""
    scenes = [Scene(fill=0.8, noise=0.0)] * len(PEOPLE)
    images = [rendered.image for rendered in render_images(HeadModel(), PEOPLE, scenes, size=SIDE, workers=0)]
    opacity = np.zeros((SIDE, SIDE, 1), np.float32)
    cv2.ellipse(opacity, (SIDE // 2, SIDE // 2), (round(SIDE * 0.42), round(SIDE * 0.5)), 0, 0, 360, 1, -1)
    return [(image, opacity) for image in images]


class RenderedClip:
    """The frames of a clip, their ground truth and their detections, each computed once."""

    def __init__(self, clip: Clip, people: list[Head], face_boxes: list[Box], analyzer: Analyzer) -> None:
        rng = np.random.default_rng(0)
        background = cv2.resize(rng.integers(90, 170, (12, 20, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        self.clip, self._people, self._face_boxes, self._background = clip, people, face_boxes, background
        self._analyzer = analyzer
        self._detections: dict[int, list[Detection]] = {}
        self._frames: dict[int, RGBImage] = {}

    def frame(self, number: int) -> RGBImage:
        if number not in self._frames:
            canvas = self._background.astype(np.float32)
            for path, (head, opacity) in zip(self.clip.paths, self._people, strict=False):
                corner = path(number / FPS)
                if corner is not None:
                    shift = np.array([[1, 0, corner[0]], [0, 1, corner[1]]], np.float32)
                    alpha = cv2.warpAffine(opacity, shift, (WIDTH, HEIGHT))[..., None]
                    canvas += alpha * (cv2.warpAffine(head.astype(np.float32), shift, (WIDTH, HEIGHT)) - canvas)
            self._frames[number] = canvas.astype(np.uint8)
        return self._frames[number]

    def detections(self, number: int) -> list[Detection]:
        if number not in self._detections:
            self._detections[number] = self._analyzer.detect(self.frame(number))
        return self._detections[number]

    def truth(self, number: int) -> list[tuple[int, Box]]:
        """Person and box of the faces that are inside the frame and not more than a third occluded."""
        boxes: list[tuple[int, Box]] = []
        for person, (path, box) in enumerate(zip(self.clip.paths, self._face_boxes, strict=False)):
            corner = path(number / FPS)
            if corner is not None:
                boxes.append((person, Box(box.x + corner[0], box.y + corner[1], box.width, box.height)))
        visible = []
        for person, box in boxes:
            left, top, right, bottom = box.xyxy
            inside = left >= 0 and top >= 0 and right <= WIDTH and bottom <= HEIGHT
            in_front = [other for nearer, other in boxes if nearer > person]
            if inside and all(occluded_share(box, other) < 1 / 3 for other in in_front):
                visible.append((person, box))
        return visible


def occluded_share(box: Box, front: Box) -> float:
    """Share of a box that the one in front of it hides."""
    width = min(box.xyxy[2], front.xyxy[2]) - max(box.x, front.x)
    height = min(box.xyxy[3], front.xyxy[3]) - max(box.y, front.y)
    return max(0.0, width) * max(0.0, height) / (box.width * box.height)


class StoredDetections(Analyzer):
    """Returns a clip's stored detections of frame `number`, and no predictions, which tracking does not need."""

    def __init__(self, clip: RenderedClip) -> None:
        super().__init__()
        self.clip, self.number = clip, 0

    def detect(self, image: RGBImage) -> list[Detection]:
        return self.clip.detections(self.number)

    def predict(self, image: RGBImage, detections: Sequence[Detection]) -> Predictions:
        count = len(detections)
        tables = {task: np.full((count, len(names)), 1 / len(names), np.float32) for task, names in TASKS.items()}
        return Predictions(tables, np.ones((count, 4, 4), np.float32))


def oamface_tracker(clip: RenderedClip, numbers: list[int], every: int, fps: float) -> Iterator[Output]:
    analyzer = StoredDetections(clip)
    tracker = Tracker(analyzer, every=every)
    for number in numbers:
        analyzer.number = number
        yield [(track.id, face.box) for track, face in tracker.update(clip.frame(number), number / FPS)]


def byte_track(clip: RenderedClip, numbers: list[int], every: int, fps: float, patience: float) -> Iterator[Output]:
    """In the frames of detection passes only."""
    import supervision
    from trackers import ByteTrackTracker

    passes = max(2, round(patience * fps / every))
    tracker = ByteTrackTracker(
        lost_track_buffer=passes, frame_rate=30, track_activation_threshold=0.4, minimum_consecutive_frames=1
    )
    for index, number in enumerate(numbers):
        if index % every:
            yield []
            continue
        faces = clip.detections(number)
        detections = supervision.Detections(
            xyxy=np.array([face.box.xyxy for face in faces]).reshape(-1, 4),
            confidence=np.array([face.score for face in faces]),
            class_id=np.zeros(len(faces), int),
        )
        tracked = tracker.update(detections)
        rows = zip(tracked.xyxy, tracked.tracker_id if tracked.tracker_id is not None else (), strict=False)
        yield [
            (int(track_id), Box(left, top, right - left, bottom - top))
            for (left, top, right, bottom), track_id in rows
            if track_id >= 0
        ]


@dataclass
class Count:
    """faces: visible and detected ones, in frames of detection passes. missed: those of them without a track.

    switches: faces that continue under another id, or under an id that was another person's.
    fragments: faces that continue under their own id after they were missed.
    """

    faces: int = 0
    missed: int = 0
    switches: int = 0
    fragments: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def count_errors(clip: RenderedClip, numbers: list[int], outputs: list[Output], every: int) -> Count:
    total = Count()
    last_id: dict[int, int] = {}  # by person
    tracked: dict[int, bool] = {}  # by person: whether the last frame had a track
    owner: dict[int, int] = {}  # the person of each id
    for number, output in list(zip(numbers, outputs, strict=True))[::every]:
        detections = clip.detections(number)
        unmatched = list(output)
        for person, box in clip.truth(number):
            if all(iou(box, face.box) < MIN_IOU for face in detections):
                continue  # missed by the detector, so by any tracker
            total.faces += 1
            best = max(unmatched, key=lambda item: iou(box, item[1]), default=None)
            if best is None or iou(box, best[1]) < MIN_IOU:
                total.missed += 1
                tracked[person] = False
                continue
            unmatched.remove(best)
            track_id = best[0]
            if last_id.get(person, track_id) != track_id or owner.get(track_id, person) != person:
                total.switches += 1
            elif not tracked.get(person, True):
                total.fragments += 1
            last_id[person], tracked[person], owner[track_id] = track_id, True, person
    return total


def find_face_boxes(people: list[Head], analyzer: Analyzer) -> list[Box]:
    """Where the detector finds the face in each head's image."""
    boxes = []
    for head, _ in people:
        canvas = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
        canvas[100 : 100 + SIDE, 200 : 200 + SIDE] = head
        x, y, width, height = analyzer.detect(canvas)[0].box
        boxes.append(Box(x - 200, y - 100, width, height))
    return boxes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", help="the name of the only clip to measure")
    name = parser.parse_args().clip
    analyzer, people = Analyzer(), heads()
    face_boxes = find_face_boxes(people, analyzer)
    trackers: dict[str, Callable[[RenderedClip, list[int], int, float], Iterator[Output]]] = {
        "oamface": oamface_tracker
    }
    if find_spec("trackers") is not None:
        for patience in (1.0, 2.0):
            trackers[f"ByteTrack, {patience:g} s"] = partial(byte_track, patience=patience)
    print("| frames per second, every | clip | tracker | faces | missed | switches | fragments |")
    print("|---|---|---|---|---|---|---|")
    totals = {(setting, tracker): Count() for setting in SETTINGS for tracker in trackers}
    for clip in clips():
        if name not in (None, clip.name):
            continue
        rendered = RenderedClip(clip, people, face_boxes, analyzer)
        for fps, every in SETTINGS:
            numbers = list(range(0, round(clip.seconds * FPS), FPS // fps))
            for tracker, run in trackers.items():
                count = count_errors(rendered, numbers, list(run(rendered, numbers, every, fps)), every)
                totals[(fps, every), tracker] += count
                if count.missed or count.switches or count.fragments:
                    print_row(f"{fps}, {every}", clip.name, tracker, count)
    for ((fps, every), tracker), total in totals.items():
        print_row(f"{fps}, {every}", "all", tracker, total)
    for tracker in trackers:
        print_row("all", "all", tracker, sum((totals[setting, tracker] for setting in SETTINGS), Count()))


def print_row(setting: str, clip: str, tracker: str, count: Count) -> None:
    cells = setting, clip, tracker, count.faces, count.missed, count.switches, count.fragments
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
