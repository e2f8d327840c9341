import threading

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.errors import FaceError, ImageError, LabelError
from oamface.results import Failure, ImageResult

LANDMARKS = np.array([[203, 102], [245, 104], [224, 125], [203, 140], [244, 141]])  # read off the enlarged portrait


@pytest.fixture(scope="module")
def analyzer(untrained_model) -> Analyzer:
    return Analyzer(untrained_model)


def test_a_path_bytes_and_an_array_give_the_same_answer(analyzer, portrait, tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(portrait).save(path)
    from_path, from_bytes, from_array = (analyzer.analyze(item) for item in (path, path.read_bytes(), portrait))
    assert from_path.faces == from_bytes.faces == from_array.faces
    assert (from_path.source, from_bytes.source) == (str(path), None)
    assert (from_path.width, from_path.height) == (512, 512)
    assert len(from_path.faces) == 1


def test_no_face_is_an_answer(analyzer) -> None:
    assert analyzer.analyze(np.zeros((1, 1, 3), np.uint8)).faces == ()
    assert analyzer.analyze(np.full((400, 300, 3), 200, np.uint8)).faces == ()


def test_every_face_of_a_crowd(analyzer, portrait) -> None:
    face = cv2.resize(portrait[40:220, 140:320], (48, 48), interpolation=cv2.INTER_AREA)
    found = analyzer.analyze(np.tile(face, (25, 40, 1))).faces
    assert len(found) >= 950
    assert all(face.age is not None and face.mask is not None for face in found)


def test_a_callers_boxes_and_landmarks(analyzer, portrait) -> None:
    seen = analyzer.analyze(portrait).faces[0]
    boxed = analyzer.analyze(portrait, boxes=[seen.box]).faces[0]
    assert np.allclose(boxed.landmarks, seen.landmarks, atol=8)
    assert boxed.box == seen.box
    marked = analyzer.analyze(portrait, landmarks=[LANDMARKS, LANDMARKS + 5]).faces
    assert len(marked) == 2
    assert marked[0].score is None
    assert np.allclose(marked[0].landmarks, LANDMARKS)
    x, y, width, height = marked[0].box
    assert np.allclose((x, y, width, height), seen.box, atol=0.3 * seen.box[2])
    both = analyzer.analyze(portrait, boxes=[[1, 2, 3, 4]], landmarks=[LANDMARKS]).faces[0]
    assert both.box == (1, 2, 3, 4)


def test_a_box_in_which_nobody_finds_a_face_is_still_answered(analyzer) -> None:
    empty = np.full((200, 200, 3), 90, np.uint8)
    face = analyzer.analyze(empty, boxes=[[50, 40, 80, 100]]).faces[0]
    landmarks = np.array(face.landmarks)
    assert face.score is None
    assert not face.detected
    assert ((landmarks > (50, 40)) & (landmarks < (130, 140))).all()


@pytest.mark.parametrize(
    "given",
    [
        {"boxes": [[0, 0, 0, 10]]},
        {"boxes": [[0, 0, np.nan, 10]]},
        {"boxes": [1, 2, 3]},
        {"landmarks": np.zeros((2, 4, 2))},
        {"landmarks": np.zeros((1, 5, 2))},
        {"landmarks": [LANDMARKS], "boxes": [[0, 0, 9, 9]] * 2},
        {"boxes": [[512, 0, 10, 10]]},
        {"boxes": [[0, -10, 10, 10]]},
        {"boxes": [[0, 0, np.inf, 10]]},
        {"boxes": [["0", "0", "9", "9"]]},
        {"boxes": ["face"]},
        {"boxes": [[0, 0, None, 9]]},
        {"boxes": [[0, 0, 9, 9], [0, 0, 9]]},
        {"boxes": [[]]},
        {"boxes": 3},
        {"landmarks": [LANDMARKS + 600]},
        {"landmarks": [LANDMARKS - 600]},
        {"landmarks": [None]},
    ],
)
def test_boxes_and_landmarks_that_are_no_face(analyzer, portrait, given) -> None:
    with pytest.raises(FaceError):
        analyzer.analyze(portrait, **given)


@pytest.mark.parametrize("none", [[], (), np.zeros((0, 4))])
def test_no_boxes_are_no_faces(analyzer, portrait, none) -> None:
    assert analyzer.analyze(portrait, boxes=none).faces == ()


@pytest.mark.parametrize("none", [[], np.zeros((0, 5, 2))])
def test_no_landmarks_are_no_faces(analyzer, portrait, none) -> None:
    assert analyzer.analyze(portrait, landmarks=none).faces == ()
    assert analyzer.analyze(portrait, landmarks=none, boxes=[]).faces == ()


_ANY = st.floats(allow_nan=False, allow_infinity=False)
_NEAR = st.floats(-50, 150)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(box=st.tuples(*[_NEAR | _ANY] * 4))
@example(box=(-1e30, 3, 2e30, 4))
@example(box=(-(2.0**23), 0.0, 2.0**23 + 1, 2.0**24 - 1))
@example(box=(5.0, 5.0, 2.0**24 - 1, 2.0**24 - 1))
@example(box=(5.0, 5.0, 5e-324, 5e-324))
def test_any_box_is_one_face_or_refused(analyzer, portrait, box) -> None:
    image = portrait[60:180:2, 170:290:2]
    try:
        (face,) = analyzer.analyze(image, boxes=[box]).faces
    except FaceError:
        return
    assert face.box == box
    assert 0 <= face.age.low <= face.age.high <= 100


def test_a_crop_always_has_exactly_one_face(analyzer, portrait) -> None:
    assert len(analyzer.analyze(portrait[60:180, 170:285], crop=True).faces) == 1
    assert len(analyzer.analyze(np.hstack([portrait] * 2), crop=True).faces) == 1
    nothing = analyzer.analyze(np.full((80, 60, 3), 90, np.uint8), crop=True).faces
    assert nothing[0].box == (0, 0, 60, 80)
    assert nothing[0].score is None
    assert not nothing[0].detected
    assert nothing[0].to_dict()["detected"] is False


def test_landmarks_that_were_found_or_given_are_detected(analyzer, portrait) -> None:
    seen = analyzer.analyze(portrait, crop=True).faces[0]
    assert seen.detected
    for known in ({"boxes": [seen.box]}, {"landmarks": [LANDMARKS]}):
        assert analyzer.analyze(portrait, **known).faces[0].detected


def test_an_undetected_face_has_the_interval_of_undetected_faces(untrained_model) -> None:
    analyzer = Analyzer(untrained_model)
    crop = np.full((80, 60, 3), 90, np.uint8)
    unknown = analyzer.analyze(crop, crop=True).faces[0].age  # the model file holds no table for such faces
    assert (unknown.low, unknown.high) == (0, 100)
    analyzer.predictor.undetected = np.full(101, 1.0, np.float32)
    narrow = analyzer.analyze(crop, crop=True).faces[0].age
    assert unknown.low < narrow.low < narrow.years < narrow.high < unknown.high


def test_many_images_say_which_faces_were_not_detected(analyzer, portrait, tmp_path) -> None:
    for name, image in (("a", np.full((80, 60, 3), 90, np.uint8)), ("b", portrait)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    results = analyzer.analyze_all([tmp_path / "a.png", tmp_path / "b.png"], crop=True)
    assert [item.faces[0].detected for item in results] == [False, True]


def test_many_files_in_order_and_bad_ones_beside_them(analyzer, portrait, tmp_path) -> None:
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.roll(portrait, 4 * number, 1)).save(paths[-1])
    paths[3].write_text("text")
    paths[17] = tmp_path / "missing.png"
    results = list(analyzer.analyze_all(paths))
    assert [type(item) for item in results] == [Failure if n in (3, 17) else ImageResult for n in range(20)]
    assert [item.source for item in results] == [str(path) for path in paths]
    assert results[5].faces[0].age.years == pytest.approx(analyzer.analyze(paths[5]).faces[0].age.years, abs=1e-3)
    assert results[3].to_dict()["error"]["type"] == "ImageError"


def test_tasks_may_be_left_out(untrained_model, portrait) -> None:
    face = Analyzer(untrained_model, tasks=["age", "mask"]).analyze(portrait).faces[0]
    assert face.gender is None
    assert face.race is None
    assert set(face.to_dict()) == {"box", "score", "detected", "landmarks", "age", "mask", "visibility"}
    for tasks in (["hair"], []):
        with pytest.raises(LabelError, match="known are age"):
            Analyzer(untrained_model, tasks=tasks)


def test_what_would_be_a_guess_is_uncertain(untrained_model, portrait) -> None:
    analyzer = Analyzer(untrained_model)
    thresholds = analyzer.predictor.description["thresholds"]
    face = analyzer.analyze(portrait).faces[0]
    for task, threshold in thresholds.items():
        answer = getattr(face, task)
        best = max(answer.probabilities, key=answer.probabilities.get)
        assert answer.probability == answer.probabilities[best]
        assert answer.label == (best if answer.probability >= threshold else "uncertain")
    assert "uncertain" in {face.gender.label, face.race.label, face.mask.label}  # a network that learnt nothing
    thresholds |= dict.fromkeys(thresholds, 0.0)
    assert analyzer.analyze(portrait).faces[0].race.label in face.race.probabilities


def test_threads_share_an_analyzer(analyzer, portrait) -> None:
    wanted, found = analyzer.analyze(portrait), []
    threads = [threading.Thread(target=lambda: found.append(analyzer.analyze(portrait))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.faces[0].box for item in found] == [wanted.faces[0].box] * 4


def test_bad_pictures(analyzer, tmp_path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    for image in (tmp_path / "empty.jpg", tmp_path / "missing.jpg", b"text", np.zeros((9, 9), np.uint8)):
        with pytest.raises(ImageError):
            analyzer.analyze(image)
