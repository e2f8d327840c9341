"""The tracker's own logic, with a detector and a predictor that say what a test wants."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from oamface.analyzer import Analyzer
from oamface.detection import Detection
from oamface.labels import TASKS
from oamface.predictor import Predictions
from oamface.video.tracker import Tracker

BOX = np.array([[0.27, 0.327], [0.73, 0.327], [0.5, 0.529], [0.314, 0.716], [0.686, 0.716]])
RNG = np.random.default_rng(0)
TEXTURE = RNG.integers(0, 256, (120, 160, 3)).astype(np.uint8)


def face(x: float, y: float, size: float = 60, score: float = 0.9) -> Detection:
    return Detection((x, y, size, size), (BOX * size + (x, y)).astype(np.float32), score)


def frame(*places: tuple[int, int]) -> np.ndarray:
    """Grey with a textured square of 60 pixels at each place."""
    image = np.full((240, 320, 3), 120, np.uint8)
    for number, (x, y) in enumerate(places):
        image[y : y + 60, x : x + 60] = TEXTURE[:60, 60 * number : 60 * number + 60]
    return image


@pytest.fixture
def staged(untrained_model):
    """An analyzer whose detector gives what `seen` holds and whose predictor says `years` of everybody."""
    analyzer = Analyzer(untrained_model)
    stage = SimpleNamespace(seen=[], years=30, looks=0)

    def detect(image):
        stage.looks += 1
        return list(stage.seen)

    def answer(crops):
        tables = {task: np.full((len(crops), len(TASKS[task])), 0.0, np.float32) for task in TASKS}
        for task, table in tables.items():
            table[:, stage.years if task == "age" else 0] = 1
        return Predictions(tables, np.ones((len(crops), 4, 4), np.float32))

    analyzer.detector = SimpleNamespace(detect=detect)
    analyzer.predictor.answer = answer
    stage.analyzer = analyzer
    return stage


def test_a_face_keeps_its_number_and_is_followed_between_looks(staged) -> None:
    tracker = Tracker(staged.analyzer, every=10)
    staged.seen = [face(40, 80)]
    for step in range(10):
        ((track, found),) = tracker.update(frame((40 + 3 * step, 80)), step / 25)
        assert track.number == 1
        assert found.box[0] == pytest.approx(40 + 3 * step, abs=2.5)
        assert found.landmarks[2][0] == pytest.approx(70 + 3 * step, abs=2.5)
    assert staged.looks == 1


def test_two_faces_that_cross_the_frame_stay_two(staged) -> None:
    tracker, numbers = Tracker(staged.analyzer, every=2), set()
    for step in range(12):
        places = (20 + 8 * step, 20), (200 - 8 * step, 140)
        staged.seen = [face(*place) for place in places]
        for track, found in tracker.update(frame(*places), step / 25):
            upper = found.box[1] < 100
            numbers.add((upper, track.number))
    assert len(numbers) == 2
    assert [track.frames for track, _ in tracker.summary()] == [12, 12]


def test_a_face_that_is_lost_for_a_moment_is_the_same_and_later_another(staged) -> None:
    tracker = Tracker(staged.analyzer, every=1, patience=1.0)
    staged.seen = [face(100, 80)]
    assert [track.number for track, _ in tracker.update(frame((100, 80)), 0.0)] == [1]
    staged.seen = []
    assert tracker.update(frame((100, 80)), 0.5) == []  # not seen, so not said
    staged.seen = [face(102, 80)]
    assert [track.number for track, _ in tracker.update(frame((102, 80)), 0.9)] == [1]
    staged.seen = []
    tracker.update(frame(), 1.5)
    tracker.update(frame(), 3.0)
    staged.seen = [face(102, 80)]
    assert [track.number for track, _ in tracker.update(frame((102, 80)), 3.1)] == [2]


def test_answers_are_averaged_and_the_old_ones_forgotten(staged) -> None:
    tracker = Tracker(staged.analyzer, every=1, half_life=1.0)
    staged.seen = [face(100, 80)]
    years = []
    for seconds, said in ((0.0, 20), (1.0, 50), (2.0, 50), (10.0, 50)):
        staged.years = said
        tracker.patience = 20
        ((_, found),) = tracker.update(frame((100, 80)), seconds)
        years.append(found.age.years)
    assert years[0] == pytest.approx(20)
    assert years[1] == pytest.approx((20 * 0.5 + 50) / 1.5, abs=0.1)  # the old answer counts half
    assert years == sorted(years)
    assert years[3] == pytest.approx(50, abs=0.1)
    ((_, whole),) = tracker.summary()
    assert whole.age.years == pytest.approx((20 + 3 * 50) / 4, abs=0.1)  # nothing is forgotten there


def test_a_small_or_unsure_face_counts_less(staged) -> None:
    tracker = Tracker(staged.analyzer, every=1, half_life=1e9)
    staged.seen, staged.years = [face(100, 80, size=60, score=0.9)], 20
    tracker.update(frame((100, 80)), 0.0)
    staged.seen, staged.years = [face(100, 80, size=60, score=0.45)], 50
    ((_, found),) = tracker.update(frame((100, 80)), 0.1)
    assert found.age.years == pytest.approx(30, abs=0.5)


def test_nobody_and_frames_of_another_size(staged) -> None:
    tracker = Tracker(staged.analyzer, every=5)
    assert tracker.update(frame(), 0.0) == []
    assert tracker.summary() == []
    staged.seen = [face(10, 10)]
    larger = np.zeros((480, 640, 3), np.uint8)
    assert len(tracker.update(larger, 0.1)) == 1  # looked at once, though no look was due


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=some.lists(some.floats(0.001, 120), min_size=1, max_size=40), every=some.integers(1, 50))
def test_a_still_face_is_one_track_in_every_frame_at_any_times(staged, gaps, every) -> None:
    tracker, image = Tracker(staged.analyzer, every=every), frame((100, 80))
    staged.seen = [face(100, 80)]
    for seconds in np.cumsum([0.0, *gaps]):
        assert [track.number for track, _ in tracker.update(image, float(seconds))] == [1]
    ((track, _),) = tracker.summary()
    assert track.frames == len(gaps) + 1


def test_a_face_is_given_up_only_after_looks_that_missed_it(staged) -> None:
    """One look that misses it is not enough, however long it took; two within the patience are not either."""
    for times, number in (((0.0, 10.0, 20.0), 1), ((0.0, 0.1, 0.2, 0.3), 1), ((0.0, 10.0, 20.0, 30.0), 2)):
        tracker = Tracker(staged.analyzer, every=1, patience=1.0)
        for seconds in times:
            staged.seen = [] if seconds not in (times[0], times[-1]) else [face(100, 80)]
            told = tracker.update(frame((100, 80)), seconds)
        assert [track.number for track, _ in told] == [number]


def test_a_face_that_moved_far_between_two_looks_keeps_its_number(staged) -> None:
    tracker = Tracker(staged.analyzer, every=1)
    for step, x in enumerate((10, 100, 190)):
        staged.seen = [face(x, 80)]
        assert [track.number for track, _ in tracker.update(frame((x, 80)), float(step))] == [1]


def test_people_who_cross_keep_their_numbers(staged) -> None:
    """For two looks the one in front hides the other."""
    tracker, sides = Tracker(staged.analyzer, every=3), {}
    for step in range(60):
        left, right = (4 * step, 90), (240 - 4 * step, 90)  # the second is in front
        apart = abs(left[0] - right[0]) > 40
        staged.seen = [face(*left), face(*right)] if apart else [face(*right)]
        for track, found in tracker.update(frame(left, right), step / 25):
            if step in (0, 57):
                sides.setdefault(step, {})[found.box[0] < 120] = track.number
    assert sides[57] == {True: sides[0][False], False: sides[0][True]}
