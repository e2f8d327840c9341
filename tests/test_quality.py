from dataclasses import replace

import cv2
import numpy as np
import pytest

from oamface.alignment import template
from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.detection import Detection
from oamface.images import read_image
from oamface.quality import LEAST_QUALITY, MEASURES, assess, constants, measure, widening
from oamface.results import Box

GOOD = dict(zip(MEASURES, (100.0, 0.3, 0.7, 0.0, 0.5, 0.05, 0.98), strict=True))


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(threads=1)


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    return read_image(PERSON)


def test_good_face_has_a_high_score_and_no_reason() -> None:
    quality = assess(list(GOOD.values()))
    assert quality.score > 0.9
    assert quality.reasons == ()
    assert quality.measures == pytest.approx(GOOD)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"eye_distance": 5}, "too small"),
        ({"sharpness": 0.0005}, "blurred"),
        ({"light": 0.1, "contrast": 0.05}, "too dark"),
        ({"light": 0.9, "contrast": 0.05}, "low contrast"),
        ({"glare": 0.9}, "overexposed"),
        ({"turn": 0.9}, "turned"),
        ({"visibility": 0.7}, "occluded"),
    ],
)
def test_one_bad_measure_lowers_the_score_and_is_the_reason(bad, reason) -> None:
    quality = assess(list((GOOD | bad).values()))
    assert quality.score < 0.86
    assert quality.reasons == (reason,)


@pytest.mark.parametrize(("bad", "reason"), [({"turn": 0.6}, "turned"), ({"visibility": 0.3}, "occluded")])
def test_faces_beyond_all_that_was_measured_have_at_most_half(bad, reason) -> None:
    quality = assess(list((GOOD | bad).values()))
    assert quality.score <= 0.5 < LEAST_QUALITY
    assert quality.reasons == (reason,)


@pytest.mark.parametrize(
    ("bad", "reasons"),
    [
        ({"glare": 0.5, "visibility": 0.7}, ("overexposed",)),
        ({"glare": 0.5, "visibility": 0.5}, ("overexposed", "occluded")),
        ({"glare": 0.1, "visibility": 0.7}, ("occluded",)),
    ],
)
def test_washed_out_skin_is_not_called_occluded(bad, reasons) -> None:
    assert assess(list((GOOD | bad).values())).reasons == reasons


def test_a_low_score_always_has_a_reason() -> None:
    rng = np.random.default_rng(0)
    low = (2, 0.0005, 0.02, 0, 0.02, 0, 0.1)
    for row in rng.uniform(low, (60, 0.4, 0.9, 0.8, 0.8, 0.8, 1), (300, 7)):
        quality = assess(row)
        assert 0 < quality.score <= 1
        assert quality.reasons or quality.score >= LEAST_QUALITY


def test_penalties_grow_to_the_worse_side_alone() -> None:
    for name, curve in constants()["curves"].items():
        assert np.all(np.diff(curve["at"]) > 0)
        steps = np.diff(curve["penalty"])
        assert (steps >= 0).all() if name in ("glare", "turn") else (steps <= 0).all()
        assert min(curve["penalty"]) == 0


def test_widening_never_narrows() -> None:
    factors = widening(np.linspace(0, 1, 50))
    assert (factors >= 1).all()
    assert (np.diff(factors) <= 0).all()


def test_measures_of_the_landmarks() -> None:
    crop = np.full((128, 128, 3), 90, np.uint8)
    eyes, *_, turn = measure(crop, template(128))
    assert eyes == pytest.approx(32.2, abs=0.1)
    assert turn < 0.02
    turned = template(128) + np.array([[8, 0], [-8, 0], [14, 0], [0, 0], [0, 0]], np.float32)
    eyes, *_, turn = measure(crop, turned)
    assert eyes == pytest.approx(32.2, abs=0.1)  # its eyes are close together, but it is as large
    assert turn > 0.3


def test_measures_of_the_crop(face) -> None:
    crop, landmarks = face

    def of(image: np.ndarray) -> dict[str, float]:
        return dict(zip(MEASURES, measure(image, landmarks).tolist(), strict=False))

    clean, blurred, dark = of(crop), of(cv2.GaussianBlur(crop, (0, 0), 3)), of(crop // 8)
    assert blurred["sharpness"] < clean["sharpness"] / 3
    assert blurred["light"] == pytest.approx(clean["light"], abs=0.1)
    assert dark["light"] < clean["light"] / 6
    assert dark["sharpness"] == pytest.approx(clean["sharpness"], rel=0.3)
    assert of(np.full_like(crop, 255))["glare"] == 1
    assert of(crop[::2, ::2]).keys() == clean.keys()


def test_face_quality_follows_the_image(analyzer, person) -> None:
    (good,) = analyzer.analyze(person)
    assert good.quality.score > 0.8
    assert good.to_dict()["quality"].keys() == {"score", "reasons", "measures"}
    small = cv2.resize(person, None, fx=0.05, fy=0.05, interpolation=cv2.INTER_AREA)
    for image, reason in ((small, "too small"), (person // 20, "too dark"), (cv2.blur(person, (31, 31)), "blurred")):
        box = [value * image.shape[1] / person.shape[1] for value in good.box]
        (face,) = analyzer.analyze(image, boxes=[box])
        assert reason in face.quality.reasons
        assert face.quality.score < good.quality.score


def test_eye_distance_is_that_of_the_original_image(analyzer, person) -> None:
    large = cv2.resize(person, None, fx=4, fy=4)
    ok, jpeg = cv2.imencode(".jpg", large[..., ::-1])
    assert ok  # a JPEG of 2560 pixels is decoded at a reduced size
    small, large_face = analyzer.analyze(person)[0], analyzer.analyze(jpeg.tobytes())[0]
    ratio = large_face.quality.measures["eye_distance"] / small.quality.measures["eye_distance"]
    assert ratio == pytest.approx(4, rel=0.03)


def test_poor_quality_widens_the_age_interval(analyzer) -> None:
    crop = np.full((128, 128, 3), 90, np.uint8)
    predictions = analyzer.predictor.predict([crop])
    face = Detection(Box(0, 0, 100, 100), template(128), 0.9)
    good, poor = (
        np.array([[100, 0.3, 0.7, 0, 0.5, 0.05]], np.float32),
        np.array([[5, 0.0005, 0.7, 0, 0.5, 0.05]], np.float32),
    )
    widths = []
    for measures in (None, good, poor):
        (one,) = analyzer.faces([face], replace(predictions, measures=measures))
        assert (one.quality is None) == (measures is None)
        widths.append(one.age.high - one.age.low)
    assert widths[0] <= widths[1] < widths[2]
