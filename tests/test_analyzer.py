import io
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.detection import Detection, assumed
from oamface.errors import DeviceError, FaceError, ImageError, LabelError, ModelError, OptionError, TaskError
from oamface.face_detector import FaceDetector
from oamface.images import read_image
from oamface.results import Box, Failure, ImageResult

LANDMARKS = np.array([[203, 102], [245, 104], [224, 125], [203, 140], [244, 141]])  # read off the enlarged portrait


@pytest.fixture(scope="module")
def analyzer(untrained_model) -> Analyzer:
    return Analyzer(untrained_model)


def test_analyze_gives_the_same_result_for_every_kind_of_input(analyzer, portrait, tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(portrait).save(path)
    data = path.read_bytes()
    wanted = analyzer.analyze(path)
    assert len(wanted) == 1
    assert (wanted.source, wanted.width, wanted.height) == (str(path), 512, 512)
    for image in (str(path), data, bytearray(data), io.BytesIO(data), Image.open(path), portrait):
        result = analyzer.analyze(image)
        assert result.faces == wanted.faces
        assert result.source in (None, str(path))
    bgr = np.ascontiguousarray(portrait[..., ::-1])
    assert analyzer.analyze(bgr, color="bgr").faces == wanted.faces
    assert analyzer.analyze(bgr).faces != wanted.faces


def test_analyze_takes_gray_arrays_as_gray_images(analyzer, portrait) -> None:
    gray = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    wanted = analyzer.analyze(np.dstack([gray] * 3)).faces
    for same in (gray, gray[..., None], np.asmatrix(gray)):
        assert analyzer.analyze(same).faces == wanted != ()


def test_analyze_rejects_unknown_channel_orders(analyzer, portrait) -> None:
    with pytest.raises(OptionError):
        analyzer.analyze(portrait, color="hsv")


def test_any_object_with_a_detect_method_is_a_detector(untrained_model, portrait) -> None:
    class Fixed:
        def detect(self, image):
            return [Detection(Box(180.0, 60.0, 90.0, 120.0), LANDMARKS.astype(np.float32), 0.5)]

    (face,) = Analyzer(untrained_model, detector=Fixed()).analyze(portrait)
    assert (face.box, face.score) == (Box(180.0, 60.0, 90.0, 120.0), 0.5)


def test_detector_options_reach_the_analyzer(untrained_model, portrait) -> None:
    assert len(Analyzer(untrained_model, detector=FaceDetector(threshold=0.999)).analyze(portrait)) == 0


class Gives:
    """A detector that gives anything."""

    def __init__(self, result) -> None:
        self.result = result

    def detect(self, image):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


DETECTOR_FAILURES = {
    "nothing": None,
    "tuples": [((0, 0, 9, 9), LANDMARKS, 1.0)],
    "a box that is a tuple": [Detection((0, 0, 9, 9), LANDMARKS, 1.0)],
    "three landmarks": [Detection(Box(0, 0, 9, 9), LANDMARKS[:3], 1.0)],
    "a height of NaN": [Detection(Box(0, 0, 9, np.nan), LANDMARKS, 1.0)],
    "negative sides": [Detection(Box(9, 9, -5, -5), LANDMARKS, 1.0)],
    "landmarks on one point": [Detection(Box(0, 0, 9, 9), np.full((5, 2), 7.0), 1.0)],
    "no score": [Detection(Box(0, 0, 9, 9), LANDMARKS, None)],
    "a score of NaN": [Detection(Box(0, 0, 9, 9), LANDMARKS, np.nan)],
    "a score of 7": [Detection(Box(0, 0, 9, 9), LANDMARKS, 7.0)],
    "assumed is a text": [Detection(Box(0, 0, 9, 9), LANDMARKS, 1.0, assumed="x")],
    "an exception": ValueError("broken"),
}


@pytest.mark.parametrize("result", DETECTOR_FAILURES.values(), ids=DETECTOR_FAILURES)
def test_a_detector_that_fails_is_an_error_and_ends_no_batch(untrained_model, portrait, result) -> None:
    analyzer = Analyzer(untrained_model, detector=Gives(result))
    with pytest.raises(FaceError, match="detector"):
        analyzer.analyze(portrait)
    assert [type(item) for item in analyzer.analyze_batch([portrait] * 2)] == [Failure] * 2


def test_landmarks_that_a_detector_assumed_are_so_in_a_box_that_is_given(untrained_model, portrait) -> None:
    analyzer = Analyzer(untrained_model, detector=Gives([assumed(Box(45.0, 60.0, 90.0, 120.0))]))
    assert not analyzer.analyze(portrait, boxes=[Box(180.0, 60.0, 90.0, 120.0)])[0].detected


def test_detections_outside_the_image_are_left_out(untrained_model, portrait) -> None:
    outside = Detection(Box(1800.0, 60.0, 90.0, 120.0), (LANDMARKS + 5000).astype(np.float32), 1.0)
    assert len(Analyzer(untrained_model, detector=Gives([outside])).analyze(portrait)) == 0


@pytest.mark.parametrize(
    "options",
    [
        *({"detector": "x"}, {"detector": FaceDetector}, {"threads": -1}, {"threads": "x"}),
        *({"policy": "age=18"}, {"policy": {"age": 18}}, {"tasks": ["mask"], "at_least": [18]}),
    ],
)
def test_analyzer_rejects_options_out_of_range(untrained_model, options) -> None:
    with pytest.raises(OptionError):
        Analyzer(untrained_model, **options)


@pytest.mark.parametrize("weights", [None, 3, "", "oam-smal"])
def test_analyzer_names_the_weights_there_are(weights) -> None:
    with pytest.raises(ModelError, match="oam-int8"):
        Analyzer(weights)


@pytest.mark.parametrize("given", [{"boxes": []}, {"landmarks": []}])
def test_analyze_rejects_boxes_and_landmarks_of_a_crop(analyzer, portrait, given) -> None:
    with pytest.raises(OptionError):
        analyzer.analyze(portrait, crop=True, **given)


@pytest.mark.parametrize("device", ["cuda", "directml", "coreml"])
def test_a_device_that_is_not_there_is_an_error(untrained_model, device) -> None:
    import onnxruntime

    if onnxruntime.get_device() != "CPU":
        pytest.skip("this ONNX Runtime has other devices")
    with pytest.raises(DeviceError, match="device"):
        Analyzer(untrained_model, device=device)
    with pytest.raises(ValueError, match="known are auto"):
        Analyzer(untrained_model, device="gpu")


def test_analyze_gives_no_faces_for_images_without_one(analyzer) -> None:
    assert analyzer.analyze(np.zeros((1, 1, 3), np.uint8)).faces == ()
    assert analyzer.analyze(np.full((400, 300, 3), 200, np.uint8)).faces == ()


def test_analyze_finds_every_face_of_a_crowd(analyzer, portrait) -> None:
    face = cv2.resize(portrait[40:220, 140:320], (48, 48), interpolation=cv2.INTER_AREA)
    found = analyzer.analyze(np.tile(face, (8, 20, 1))).faces
    assert len(found) >= 152
    assert all(face.tasks == ("age", "gender", "race", "mask") for face in found)


def test_analyze_takes_boxes_and_landmarks(analyzer, portrait) -> None:
    seen = analyzer.analyze(portrait).faces[0]
    boxed = analyzer.analyze(portrait, boxes=[seen.box]).faces[0]
    assert np.allclose(boxed.landmarks, seen.landmarks, atol=8)
    assert boxed.box == seen.box
    placed = analyzer.analyze(portrait, landmarks=[LANDMARKS, LANDMARKS + 5]).faces
    assert len(placed) == 2
    assert np.isnan(placed[0].score)
    assert np.allclose(placed[0].landmarks, LANDMARKS)
    x, y, width, height = placed[0].box
    assert np.allclose((x, y, width, height), seen.box, atol=0.3 * seen.box[2])
    both = analyzer.analyze(portrait, boxes=[[1, 2, 3, 4]], landmarks=[LANDMARKS]).faces[0]
    assert both.box == (1, 2, 3, 4)


def test_a_box_without_a_detected_face_gets_assumed_landmarks(analyzer) -> None:
    empty = np.full((200, 200, 3), 90, np.uint8)
    face = analyzer.analyze(empty, boxes=[[50, 40, 80, 100]]).faces[0]
    landmarks = face.landmarks
    assert np.isnan(face.score)
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
def test_analyze_rejects_boxes_and_landmarks_that_are_no_face(analyzer, portrait, given) -> None:
    with pytest.raises(FaceError):
        analyzer.analyze(portrait, **given)


@pytest.mark.parametrize("none", [[], (), np.zeros((0, 4))])
def test_empty_boxes_give_no_faces(analyzer, portrait, none) -> None:
    assert analyzer.analyze(portrait, boxes=none).faces == ()


@pytest.mark.parametrize("none", [[], np.zeros((0, 5, 2))])
def test_empty_landmarks_give_no_faces(analyzer, portrait, none) -> None:
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
def test_any_box_gives_one_face_or_a_face_error(analyzer, portrait, box) -> None:
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
    assert np.isnan(nothing[0].score)
    assert nothing[0].to_dict()["score"] is None
    assert not nothing[0].detected
    assert nothing[0].to_dict()["detected"] is False


def test_faces_with_detected_or_given_landmarks_count_as_detected(analyzer, portrait) -> None:
    seen = analyzer.analyze(portrait, crop=True).faces[0]
    assert seen.detected
    for known in ({"boxes": [seen.box]}, {"landmarks": [LANDMARKS]}):
        assert analyzer.analyze(portrait, **known).faces[0].detected


def test_an_undetected_face_has_the_interval_of_undetected_faces(untrained_model) -> None:
    analyzer = Analyzer(untrained_model)
    crop = np.full((80, 60, 3), 90, np.uint8)
    unknown = analyzer.analyze(crop, crop=True).faces[0].age  # the model file holds no table for such faces
    assert (unknown.low, unknown.high) == (0, 100)
    analyzer.predictor.undetected_quantiles = np.full(101, 1.0, np.float32)
    narrow = analyzer.analyze(crop, crop=True).faces[0].age
    assert unknown.low < narrow.low < narrow.years < narrow.high < unknown.high


def test_analyze_batch_reports_undetected_faces(analyzer, portrait, tmp_path) -> None:
    for name, image in (("a", np.full((80, 60, 3), 90, np.uint8)), ("b", portrait)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    results = analyzer.analyze_batch([tmp_path / "a.png", tmp_path / "b.png"], crop=True)
    assert [item.faces[0].detected for item in results] == [False, True]


def test_analyze_batch_keeps_order_and_reports_bad_images(analyzer, portrait, tmp_path) -> None:
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.roll(portrait, 4 * number, 1)).save(paths[-1])
    paths[3].write_text("text")
    paths[17] = tmp_path / "missing.png"
    results = list(analyzer.analyze_batch(paths))
    assert [type(item) for item in results] == [Failure if n in (3, 17) else ImageResult for n in range(20)]
    assert [item.source for item in results] == [str(path) for path in paths]
    assert results[5].faces[0].age.years == pytest.approx(analyzer.analyze(paths[5]).faces[0].age.years, abs=1e-3)
    assert results[3].to_dict()["error"]["type"] == "ImageError"


def test_pages_behind_a_bad_one_are_analyzed(analyzer, portrait, tmp_path) -> None:
    pages = [Image.new("1", (11_000, 11_000)), Image.fromarray(portrait), Image.new("RGB", (90, 90))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    results = list(analyzer.analyze_batch([tmp_path / "a.tif"]))
    assert [item.source for item in results] == [f"{tmp_path}/a.tif{end}" for end in ("", "#2", "#3")]
    assert isinstance(results[0], Failure)
    assert [len(item) for item in results[1:]] == [1, 0]


def test_large_jpegs_give_the_same_faces_as_whole_ones(analyzer, portrait, tmp_path) -> None:
    """A JPEG is searched for faces at half its size; crops of small faces still come from all of its pixels."""
    near = cv2.resize(portrait, (2900, 2900), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((3000, 4200, 3), 120, np.uint8)
    canvas[50:2950, 100:3000] = near
    canvas[200:440, 3500:3700] = portrait[20:260, 130:330]
    Image.fromarray(canvas).save(tmp_path / "large.jpg", quality=95)
    result = analyzer.analyze(tmp_path / "large.jpg")
    (batch,) = analyzer.analyze_batch([tmp_path / "large.jpg"])
    assert batch.faces == result.faces
    assert (result.width, result.height) == (4200, 3000)
    wanted = analyzer.analyze(read_image(tmp_path / "large.jpg"))
    assert len(result) == len(wanted) == 2
    for face, other in zip(result, wanted, strict=True):
        assert np.abs(face.landmarks - other.landmarks).max() < 0.06 * other.box.width
        assert abs(face.age.years - other.age.years) < 3


def test_open_files_give_what_their_bytes_give(analyzer, portrait) -> None:
    """Also where a large image with a small face is decoded twice, and every page of a TIFF."""
    canvas = np.full((3000, 4200, 3), 120, np.uint8)
    canvas[200:440, 3500:3700] = portrait[20:260, 130:330]
    pages = [Image.fromarray(canvas[:, ::-1]), Image.fromarray(portrait)]
    large, tiff = io.BytesIO(), io.BytesIO()
    Image.fromarray(canvas).save(large, "JPEG", quality=95)
    pages[0].save(tiff, "TIFF", save_all=True, append_images=pages[1:])
    wanted = list(analyzer.analyze_batch([large.getvalue(), tiff.getvalue()]))
    for file in (large, tiff):
        file.seek(0)
    assert [len(result) for result in wanted] == [1, 1, 1]
    assert [result.faces for result in analyzer.analyze_batch([large, tiff])] == [result.faces for result in wanted]
    assert [result.source for result in wanted] == [None, None, "#2"]
    large.seek(0)
    assert analyzer.analyze(large).faces == wanted[0].faces
    assert large.tell() == len(large.getvalue())


def test_open_files_give_their_names(analyzer, portrait, tmp_path) -> None:
    Image.fromarray(portrait).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(portrait)])
    with (tmp_path / "a.tif").open("rb") as file:
        results = list(analyzer.analyze_batch([file]))
    assert [result.source for result in results] == [f"{tmp_path}/a.tif", f"{tmp_path}/a.tif#2"]


@contextmanager
def pipe_of(data: bytes) -> Iterator[str]:
    """The path of a pipe that gives these bytes once."""
    end, start = os.pipe()
    with ThreadPoolExecutor(1) as pool, open(end, "rb") as reading:  # noqa: PTH123 (a number, no path)
        pool.submit(lambda: open(start, "wb").write(data))  # noqa: PTH123, SIM115
        yield f"/dev/fd/{reading.fileno()}"


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="opens pipes by their numbers")  # noqa: PTH110
def test_pipes_are_read_once(analyzer, portrait) -> None:
    """Also where a large image with a small face is decoded twice."""
    canvas = np.full((3000, 4200, 3), 120, np.uint8)
    canvas[200:440, 3500:3700] = portrait[20:260, 130:330]
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=95)
    wanted = analyzer.analyze(file.getvalue())
    with pipe_of(file.getvalue()) as path:
        result = analyzer.analyze(path)
    assert (result.source, result.faces) == (path, wanted.faces)
    with pipe_of(file.getvalue()) as path, pipe_of(b"text") as other:
        batch, failure = analyzer.analyze_batch([path, other])
    assert (batch.source, batch.faces) == (path, wanted.faces)
    assert other in str(failure.error)


def test_a_detector_of_the_caller_is_never_called_by_two_threads_at_once(untrained_model, portrait) -> None:
    busy = threading.Lock()

    class Exclusive:
        def detect(self, image):
            assert busy.acquire(blocking=False)
            time.sleep(0.01)
            busy.release()
            return []

    results = list(Analyzer(untrained_model, detector=Exclusive(), threads=3).analyze_batch([portrait] * 20))
    assert not any(isinstance(result, Failure) for result in results)


def test_analyze_batch_takes_every_input_and_named_ones(analyzer, portrait, tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(portrait).save(path)
    items = [path, portrait, Image.open(path), ("camera", portrait), ("gone", OSError(2, "No such file"))]
    results = list(analyzer.analyze_batch(items))
    assert [item.source for item in results] == [str(path), None, None, "camera", "gone"]
    assert [type(item) for item in results] == [ImageResult] * 4 + [Failure]
    assert len({item.faces[0].box for item in results[:4]}) == 1


def test_analyze_batch_rejects_one_image(analyzer, portrait, tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(portrait).save(path)
    data = path.read_bytes()
    encoded = (data, bytearray(data), memoryview(data), io.BytesIO(data))
    for one in (*encoded, portrait, portrait[..., 0], Image.open(path), path, str(path), None, 3):
        with pytest.raises(OptionError, match="iterable of images"):
            analyzer.analyze_batch(one)
    for several in (portrait[None], [portrait], np.array([str(path)])):
        assert [len(result) for result in analyzer.analyze_batch(several)] == [1]


def test_detect_predict_and_faces_are_the_steps_of_analyze(analyzer, portrait) -> None:
    detections = analyzer.detect(portrait)
    predictions = analyzer.predict(portrait, detections)
    assert tuple(analyzer.faces(detections, predictions)) == analyzer.analyze(portrait).faces


def test_tasks_that_were_not_requested_raise(untrained_model, portrait) -> None:
    face = Analyzer(untrained_model, tasks=["age", "mask"]).analyze(portrait).faces[0]
    assert face.tasks == ("age", "mask")
    for task in ("gender", "race"):
        with pytest.raises(TaskError, match=task):
            getattr(face, task)
    assert set(face.to_dict()) == {"box", "score", "detected", "landmarks", "age", "mask", "visibility", "quality"}
    assert Analyzer(untrained_model, tasks="mask,age").tasks == ("mask", "age")
    for tasks in (["hair"], [], None, [1]):
        with pytest.raises(LabelError, match="gender"):
            Analyzer(untrained_model, tasks=tasks)


def test_predictions_below_the_threshold_are_uncertain(untrained_model, portrait) -> None:
    analyzer = Analyzer(untrained_model)
    thresholds = analyzer.description["thresholds"]
    face = analyzer.analyze(portrait).faces[0]
    for task, threshold in thresholds.items():
        prediction = getattr(face, task)
        best = max(prediction.probabilities, key=prediction.probabilities.get)
        assert prediction.probability == prediction.probabilities[best]
        assert prediction.label == (best if prediction.probability >= threshold else "uncertain")
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


def test_analyze_rejects_bad_images(analyzer, tmp_path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    for image in (
        tmp_path / "empty.jpg",
        tmp_path / "missing.jpg",
        b"text",
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9)),
        None,
        [],
        3,
        "",
    ):
        with pytest.raises(ImageError):
            analyzer.analyze(image)
