"""Identity switches and fragments of oamface's tracker on drawn clips whose truth is known, beside ByteTrack's.

python benchmarks/tracking.py    needs oamface[synth]; ByteTrack takes part where the package `trackers` is installed.

Every clip is drawn at 30 frames a second and then thinned. Both trackers get the same detections.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import cv2
import numpy as np

from oamface.analyzer import Analyzer
from oamface.detection import Box, Detection, overlap
from oamface.images import RGBImage
from oamface.labels import TASKS
from oamface.predictor import Predictions
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import Person
from oamface.synthetic.scene import Scene
from oamface.video.tracker import Tracker

RATE = 30  # frames a second of the drawn clips
SIDE = 150  # pixels of a head's image
HEIGHT, WIDTH = 360, 640
SETTINGS = ((30, 1), (30, 5), (30, 30), (10, 2), (5, 1), (2, 1), (1, 1))  # frames a second, every
PEOPLE = (
    Person(24, "female", "Asian", 3),
    Person(75, "male", "White", 8),
    Person(40, "male", "Black", 5),
    Person(20, "male", "White", 2),
    Person(60, "female", "White", 11),
    Person(33, "male", "Asian", 7),
)

Way = Callable[[float], tuple[float, float] | None]  # seconds to the left upper corner of a head; None: not there
Output = list[tuple[int, Box]]  # number of a track, where it is


@dataclass
class Clip:
    """ways: one for each person, those behind first."""

    name: str
    seconds: float
    ways: list[Way]


def line(start: tuple[float, float], pace: tuple[float, float], since: float = 0.0, until: float = 1e9) -> Way:
    """At `start` at second 0, then so many pixels a second."""
    return lambda t: (start[0] + pace[0] * t, start[1] + pace[1] * t) if since <= t < until else None


def clips() -> list[Clip]:
    swing = lambda t: (240 + 220 * np.sin(1.1 * t), 100.0)  # noqa: E731
    return [
        Clip("still", 8, [line((60, 100), (0, 0)), line((400, 100), (0, 0))]),
        Clip("cross, apart", 6, [line((0, 10), (80, 0)), line((480, 190), (-80, 0))]),
        Clip("cross, one behind", 6, [line((0, 100), (80, 0)), line((480, 110), (-80, 0))]),
        Clip("cross, fast", 4, [line((0, 100), (180, 0)), line((490, 110), (-180, 0))]),
        Clip(
            "pass before two still",
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


def heads() -> list[tuple[RGBImage, RGBImage]]:
    """Each person's head on grey, and where it covers what is behind, (SIDE, SIDE, 1) in 0..1."""
    scenes = [Scene(fill=0.8, noise=0.0)] * len(PEOPLE)
    drawn = [image.image for image in draw(Shapes(), PEOPLE, scenes, size=SIDE, workers=0)]
    cover = np.zeros((SIDE, SIDE, 1), np.float32)
    cv2.ellipse(cover, (SIDE // 2, SIDE // 2), (round(SIDE * 0.42), round(SIDE * 0.5)), 0, 0, 360, 1, -1)
    return [(head, cover) for head in drawn]


class Scenery:
    """The frames of a clip, their truth and their detections, each made once."""

    def __init__(
        self, clip: Clip, people: list[tuple[RGBImage, RGBImage]], inner: list[Box], analyzer: Analyzer
    ) -> None:
        rng = np.random.default_rng(0)
        rough = cv2.resize(rng.integers(90, 170, (12, 20, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        self.clip, self._people, self._inner, self._ground = clip, people, inner, rough
        self._detect = analyzer.detector.detect
        self._known: dict[int, list[Detection]] = {}
        self._frames: dict[int, RGBImage] = {}

    def frame(self, number: int) -> RGBImage:
        if number not in self._frames:
            canvas = self._ground.astype(np.float32)
            for way, (head, cover) in zip(self.clip.ways, self._people, strict=False):
                place = way(number / RATE)
                if place is not None:
                    shift = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
                    alpha = cv2.warpAffine(cover, shift, (WIDTH, HEIGHT))[..., None]
                    canvas += alpha * (cv2.warpAffine(head.astype(np.float32), shift, (WIDTH, HEIGHT)) - canvas)
            self._frames[number] = canvas.astype(np.uint8)
        return self._frames[number]

    def detections(self, number: int) -> list[Detection]:
        if number not in self._known:
            self._known[number] = self._detect(self.frame(number))
        return self._known[number]

    def truth(self, number: int) -> list[tuple[int, Box]]:
        """The faces that are whole inside the frame and not covered by more than a third: person, box."""
        boxes: list[tuple[int, Box]] = []
        for person, (way, inner) in enumerate(zip(self.clip.ways, self._inner, strict=False)):
            place = way(number / RATE)
            if place is not None:
                boxes.append((person, (inner[0] + place[0], inner[1] + place[1], inner[2], inner[3])))
        shown = []
        for person, box in boxes:
            inside = box[0] >= 0 and box[1] >= 0 and box[0] + box[2] <= WIDTH and box[1] + box[3] <= HEIGHT
            before = [other for nearer, other in boxes if nearer > person]
            if inside and all(_covered(box, other) < 1 / 3 for other in before):
                shown.append((person, box))
        return shown


def _covered(box: Box, other: Box) -> float:
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height) / (box[2] * box[3])


def ours(scenery: Scenery, numbers: list[int], every: int, rate: float, analyzer: Analyzer) -> Iterator[Output]:
    tracker = Tracker(analyzer, every=every)
    now = 0
    tracker.analyzer.detector.detect = lambda image: scenery.detections(now)  # type: ignore[method-assign]
    for now in numbers:
        yield [(track.number, face.box) for track, face in tracker.update(scenery.frame(now), now / RATE)]


def byte_track(scenery: Scenery, numbers: list[int], every: int, rate: float, patience: float) -> Iterator[Output]:
    """At every look alone: what lies between is not its business."""
    import supervision
    from trackers import ByteTrackTracker

    looks = max(2, round(patience * rate / every))
    tracker = ByteTrackTracker(
        lost_track_buffer=looks, frame_rate=30, track_activation_threshold=0.4, minimum_consecutive_frames=1
    )
    for at, number in enumerate(numbers):
        if at % every:
            yield []
            continue
        found = scenery.detections(number)
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (face.box for face in found)]).reshape(-1, 4)
        given = supervision.Detections(
            xyxy=boxes, confidence=np.array([face.score for face in found]), class_id=np.zeros(len(found), int)
        )
        told = tracker.update(given)
        rows = zip(told.xyxy, told.tracker_id if told.tracker_id is not None else (), strict=False)
        yield [(int(name), (x, y, r - x, b - y)) for (x, y, r, b), name in rows if name >= 0]


def _nothing(crops: Iterable[RGBImage]) -> Predictions:
    """Predictions cost time and play no part in who is who."""
    count = len(list(crops))
    tables = {task: np.full((count, len(names)), 1 / len(names), np.float32) for task, names in TASKS.items()}
    return Predictions(tables, np.ones((count, 4, 4), np.float32))


@dataclass
class Count:
    """faces: that are shown, looked for and detected. missed: those of them that have no track.

    switches: a face that goes on under another number, or under a number that was another person's.
    fragments: a face that goes on under its own number after it was missed.
    """

    faces: int = 0
    missed: int = 0
    switches: int = 0
    fragments: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def count(scenery: Scenery, numbers: list[int], outputs: list[Output], every: int) -> Count:
    total, last, seen, owner = Count(), {}, {}, {}
    for number, output in list(zip(numbers, outputs, strict=True))[::every]:
        found = scenery.detections(number)
        left = list(output)
        for person, box in scenery.truth(number):
            if all(overlap(box, face.box) < 0.4 for face in found):
                continue  # what the detector misses no tracker can find
            total.faces += 1
            best = max(left, key=lambda item: overlap(box, item[1]), default=None)
            if best is None or overlap(box, best[1]) < 0.4:
                total.missed += 1
                seen[person] = False
                continue
            left.remove(best)
            if last.get(person, best[0]) != best[0] or owner.get(best[0], person) != person:
                total.switches += 1
            elif not seen.get(person, True):
                total.fragments += 1
            last[person], seen[person], owner[best[0]] = best[0], True, person
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", help="this one alone")
    chosen = parser.parse_args().clip
    analyzer, people = Analyzer(), heads()
    analyzer.predictor.answer = _nothing  # type: ignore[method-assign]
    inner = []
    for head, _ in people:
        canvas = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
        canvas[100 : 100 + SIDE, 200 : 200 + SIDE] = head
        x, y, width, height = analyzer.detector.detect(canvas)[0].box
        inner.append((x - 200, y - 100, width, height))
    sceneries = [Scenery(clip, people, inner, analyzer) for clip in clips() if chosen in (None, clip.name)]
    peers: dict[str, Callable[[Scenery, list[int], int, float], Iterator[Output]]] = {
        "oamface": partial(ours, analyzer=analyzer)
    }
    if find_spec("trackers") is not None:
        for patience in (1.0, 2.0):
            peers[f"ByteTrack, {patience:g} s"] = partial(byte_track, patience=patience)
    print("| frames a second, every | clip | tracker | faces | missed | switches | fragments |")
    print("|---|---|---|---|---|---|---|")
    sums = {(setting, name): Count() for setting in SETTINGS for name in peers}
    for scenery in sceneries:
        for rate, every in SETTINGS:
            numbers = list(range(0, round(scenery.clip.seconds * RATE), RATE // rate))
            for name, run in peers.items():
                told = list(run(scenery, numbers, every, rate))
                counted = count(scenery, numbers, told, every)
                sums[(rate, every), name] += counted
                if counted.missed or counted.switches or counted.fragments:
                    row = f"{counted.faces} | {counted.missed} | {counted.switches} | {counted.fragments}"
                    print(f"| {rate}, {every} | {scenery.clip.name} | {name} | {row} |", flush=True)
    for (rate, every), name in sums:
        total = sums[(rate, every), name]
        row = f"{total.faces} | {total.missed} | {total.switches} | {total.fragments}"
        print(f"| {rate}, {every} | all | {name} | {row} |")
    for name in peers:
        total = sum((sums[setting, name] for setting in SETTINGS), Count())
        print(f"| all | all | {name} | {total.faces} | {total.missed} | {total.switches} | {total.fragments} |")


if __name__ == "__main__":
    main()
