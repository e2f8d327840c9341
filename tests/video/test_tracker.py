"""The tracker's logic, with detections and predictions that the test chooses."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oamface.age_policy import AgePolicy
from oamface.analyzer import Analyzer
from oamface.detection import Detection, assumed
from oamface.labels import TASKS
from oamface.predictor import Predictions
from oamface.results import Box
from oamface.video import Tracker

TEXTURE = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)


def detection(x: float, y: float, size: float = 60, score: float = 0.9) -> Detection:
    box = Box(x, y, size, size)
    return Detection(box, assumed(box).landmarks, score)


def draw_frame(*corners: tuple[int, int]) -> np.ndarray:
    """Gray with a textured square of 60 pixels at each corner."""
    image = np.full((240, 320, 3), 120, np.uint8)
    for number, (x, y) in enumerate(corners):
        image[y : y + 60, x : x + 60] = TEXTURE[:60, 60 * number : 60 * number + 60]
    return image


class FakeAnalyzer(Analyzer):
    """Detects what `detections` holds and predicts `years` and `attention` for each; counts its detection passes."""

    def __init__(self, weights, policy=None) -> None:
        super().__init__(weights, policy=policy)
        self.detections: list[Detection] = []
        self.years = 30
        self.attention = 1.0
        self.passes = 0

    def detect(self, image) -> list[Detection]:
        self.passes += 1
        return list(self.detections)

    def predict(self, image, detections) -> Predictions:
        count = len(detections)
        tables = {task: np.zeros((count, len(classes)), np.float32) for task, classes in TASKS.items()}
        for task, table in tables.items():
            table[:, self.years if task == "age" else 0] = 1
        return Predictions(tables, np.full((count, 4, 4), self.attention, np.float32))


@pytest.fixture
def analyzer(untrained_model) -> FakeAnalyzer:
    return FakeAnalyzer(untrained_model)


def ids(tracked) -> list[int]:
    return [track.id for track, _ in tracked]


def test_face_keeps_its_id_and_is_followed_between_passes(analyzer) -> None:
    tracker = Tracker(analyzer, every=10)
    analyzer.detections = [detection(40, 80)]
    for step in range(10):
        ((track, face),) = tracker.update(draw_frame((40 + 3 * step, 80)), step / 25)
        assert track.id == 1
        assert face.box.x == pytest.approx(40 + 3 * step, abs=2.5)
        assert face.landmarks[2][0] == pytest.approx(70 + 3 * step, abs=2.5)
    assert analyzer.passes == 1


def test_followed_face_is_still_assumed(analyzer) -> None:
    tracker = Tracker(analyzer, every=10)
    analyzer.detections = [assumed(Box(40, 80, 60, 60))]
    for step in range(3):
        ((_, face),) = tracker.update(draw_frame((40 + 3 * step, 80)), step / 25)
        assert not face.detected
    assert face.box.x == pytest.approx(46, abs=2.5)


def test_two_moving_faces_keep_their_ids(analyzer) -> None:
    tracker, pairs = Tracker(analyzer, every=2), set()
    for step in range(12):
        corners = (20 + 8 * step, 20), (200 - 8 * step, 140)
        analyzer.detections = [detection(*corner) for corner in corners]
        for track, face in tracker.update(draw_frame(*corners), step / 25):
            pairs.add((face.box.y < 100, track.id))
    assert len(pairs) == 2
    assert [track.frames for track, _ in tracker.summary()] == [12, 12]


def test_missed_face_keeps_its_id_within_patience_only(analyzer) -> None:
    tracker = Tracker(analyzer, every=1, patience=1.0)
    analyzer.detections = [detection(100, 80)]
    assert ids(tracker.update(draw_frame((100, 80)), 0.0)) == [1]
    analyzer.detections = []
    assert tracker.update(draw_frame((100, 80)), 0.5) == []
    analyzer.detections = [detection(102, 80)]
    assert ids(tracker.update(draw_frame((102, 80)), 0.9)) == [1]
    analyzer.detections = []
    tracker.update(draw_frame(), 1.5)
    tracker.update(draw_frame(), 3.0)
    analyzer.detections = [detection(102, 80)]
    assert ids(tracker.update(draw_frame((102, 80)), 3.1)) == [2]


def test_predictions_are_averaged_with_half_life(analyzer) -> None:
    tracker = Tracker(analyzer, every=1, half_life=1.0, patience=20)
    analyzer.detections = [detection(100, 80)]
    years = []
    for seconds, analyzer.years in ((0.0, 20), (1.0, 50), (2.0, 50), (10.0, 50)):
        ((_, face),) = tracker.update(draw_frame((100, 80)), seconds)
        years.append(face.age.years)
    assert years[0] == pytest.approx(20)
    assert years[1] == pytest.approx((20 * 0.5 + 50) / 1.5, abs=0.1)
    assert years == sorted(years)
    assert years[3] == pytest.approx(50, abs=0.1)
    ((_, overall),) = tracker.summary()
    assert overall.age.years == pytest.approx((20 + 3 * 50) / 4, abs=0.1)  # without decay


def test_decision_follows_from_the_whole_track_and_not_from_its_last_seconds(untrained_model) -> None:
    analyzer = FakeAnalyzer(untrained_model, AgePolicy(18, max_false_accept=0.5))
    tracker = Tracker(analyzer, every=1)
    analyzer.detections = [detection(100, 80)]
    for second in range(10):
        analyzer.years = 30 if second < 7 else 12
        ((_, face),) = tracker.update(draw_frame((100, 80)), float(second))
    assert face.age.years < 18
    ((_, summary),) = tracker.summary()
    assert summary.age.at_least(18) == pytest.approx(0.7, abs=1e-5)
    assert (face.decision.outcome, face.decision.probability) == ("accept", summary.age.at_least(18))
    assert summary.decision == face.decision


def test_visibility_of_a_track_is_averaged(analyzer) -> None:
    tracker = Tracker(analyzer, every=1, half_life=1.0)
    analyzer.detections = [detection(100, 80)]
    visibilities = []
    for second, analyzer.attention in enumerate((1.0, 1.0, 0.25, *[0.25] * 30)):
        ((_, face),) = tracker.update(draw_frame((100, 80)), float(second))
        visibilities.append(face.visibility)
    assert visibilities[:2] == [1, 1]
    assert 0.5 < visibilities[2] < 1
    assert visibilities[-1] == pytest.approx(0.25, abs=0.01)
    ((_, overall),) = tracker.summary()
    assert overall.visibility > visibilities[-1] + 0.02


def test_low_score_counts_less(analyzer) -> None:
    tracker = Tracker(analyzer, every=1, half_life=1e9)
    analyzer.detections, analyzer.years = [detection(100, 80, score=0.9)], 20
    tracker.update(draw_frame((100, 80)), 0.0)
    analyzer.detections, analyzer.years = [detection(100, 80, score=0.45)], 50
    ((_, face),) = tracker.update(draw_frame((100, 80)), 0.1)
    assert face.age.years == pytest.approx(30, abs=0.5)


def test_small_face_counts_less(analyzer) -> None:
    tracker = Tracker(analyzer, every=1, half_life=1e9)
    analyzer.detections, analyzer.years = [detection(100, 80, size=66)], 20  # 30 pixels between the eyes
    tracker.update(draw_frame((100, 80)), 0.0)
    analyzer.detections, analyzer.years = [detection(110, 90, size=44)], 50
    ((_, face),) = tracker.update(draw_frame((100, 80)), 0.1)
    assert face.age.years == pytest.approx((20 + 50 * 2 / 3) / (1 + 2 / 3), abs=0.5)


def test_frame_without_faces(analyzer) -> None:
    tracker = Tracker(analyzer, every=5)
    assert tracker.update(draw_frame(), 0.0) == []
    assert tracker.summary() == []


def test_frame_of_another_size_gets_a_detection_pass(analyzer) -> None:
    tracker = Tracker(analyzer, every=5)
    tracker.update(draw_frame(), 0.0)
    analyzer.detections = [detection(10, 10)]
    assert len(tracker.update(np.zeros((480, 640, 3), np.uint8), 0.1)) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.floats(0.001, 120), min_size=1, max_size=40), every=st.integers(1, 50))
def test_still_face_is_one_track_at_any_frame_times(analyzer, gaps, every) -> None:
    tracker, image = Tracker(analyzer, every=every), draw_frame((100, 80))
    analyzer.detections = [detection(100, 80)]
    for seconds in np.cumsum([0.0, *gaps]):
        assert ids(tracker.update(image, float(seconds))) == [1]
    ((track, _),) = tracker.summary()
    assert track.frames == len(gaps) + 1


@pytest.mark.parametrize(
    ("times", "track"),
    [
        ((0.0, 10.0, 20.0), 1),  # one missed pass is not enough, however long it took
        ((0.0, 0.1, 0.2, 0.3), 1),  # nor are two within the patience
        ((0.0, 10.0, 20.0, 30.0), 2),
    ],
)
def test_track_ends_after_missed_passes_and_patience(analyzer, times, track) -> None:
    """The face is detected at the first and the last of the times."""
    tracker = Tracker(analyzer, every=1, patience=1.0)
    for seconds in times:
        analyzer.detections = [detection(100, 80)] if seconds in (times[0], times[-1]) else []
        tracked = tracker.update(draw_frame((100, 80)), seconds)
    assert ids(tracked) == [track]


def test_fast_face_keeps_its_id_between_distant_passes(analyzer) -> None:
    tracker = Tracker(analyzer, every=1)
    for step, x in enumerate((10, 100, 190)):
        analyzer.detections = [detection(x, 80)]
        assert ids(tracker.update(draw_frame((x, 80)), float(step))) == [1]


def test_crossing_faces_keep_their_ids(analyzer) -> None:
    """For two passes the one in front hides the other."""
    tracker, sides = Tracker(analyzer, every=3), {}
    for step in range(60):
        left, right = (4 * step, 90), (240 - 4 * step, 90)  # the second is in front
        apart = abs(left[0] - right[0]) > 40
        analyzer.detections = [detection(*left), detection(*right)] if apart else [detection(*right)]
        for track, face in tracker.update(draw_frame(left, right), step / 25):
            if step in (0, 57):
                sides.setdefault(step, {})[face.box.x < 120] = track.id
    assert sides[57] == {True: sides[0][False], False: sides[0][True]}
