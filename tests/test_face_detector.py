import cv2
import numpy as np
import pytest
import skimage.data

from oamface.detection import Detection
from oamface.errors import ImageError
from oamface.face_detector import FaceDetector

pytestmark = pytest.mark.slow

LANDMARKS = np.array([[203, 102], [245, 104], [224, 125], [203, 140], [244, 141]])  # read off the enlarged portrait
QUARTER = 10.5  # of the distance between the eyes


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return skimage.data.astronaut()


def near(face: Detection, points: np.ndarray, tolerance: float) -> bool:
    return bool(np.linalg.norm(face.landmarks - points, axis=1).max() < tolerance)


def test_detect_finds_the_face_of_a_portrait(detector, portrait) -> None:
    faces = detector.detect(portrait)
    assert len(faces) == 1
    assert near(faces[0], LANDMARKS, 9)
    x, y, width, height = faces[0].box
    assert x < 203 < 245 < x + width
    assert y < 102 < 141 < y + height
    assert faces[0].score > 0.8


def test_detect_finds_the_face_of_a_tight_crop(detector, portrait) -> None:
    faces = detector.detect(np.ascontiguousarray(portrait[72:178, 176:276]))
    assert len(faces) == 1
    assert near(faces[0], LANDMARKS - (176, 72), 8)


@pytest.mark.parametrize("degrees", [-45, -25, 25, 45])
def test_detect_finds_tilted_faces(detector, portrait, degrees) -> None:
    turn = cv2.getRotationMatrix2D((224, 122), degrees, 1)
    faces = detector.detect(cv2.warpAffine(portrait, turn, (512, 512)))
    assert any(near(face, LANDMARKS @ turn[:, :2].T + turn[:, 2], QUARTER) for face in faces)


def test_detect_finds_small_faces_of_a_montage(detector, portrait) -> None:
    face = cv2.resize(portrait[40:220, 140:320], (48, 48), interpolation=cv2.INTER_AREA)
    faces = detector.detect(np.tile(face, (25, 40, 1)))
    assert len(faces) >= 950


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (5000, 1), (2, 60000), (300, 3), (64, 64), (2000, 3000)])
def test_detect_finds_no_face_in_a_plain_image(detector, shape) -> None:
    assert detector.detect(np.full((*shape, 3), 90, np.uint8)) == []


def test_detections_are_ordered_by_score(detector, portrait) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), 6)
    scores = [face.score for face in detector.detect(np.hstack([blurred, portrait]))]
    assert scores == sorted(scores, reverse=True)


def test_detect_rejects_gray_arrays(detector) -> None:
    with pytest.raises(ImageError):
        detector.detect(np.zeros((64, 64), np.uint8))


def scene(portrait: np.ndarray, side: int, *, turns: int = 0) -> np.ndarray:
    """A close face of 300 pixels in 1600 x 1200, and six of which the long side of the box has so many pixels."""
    canvas = np.full((1200, 1600, 3), (120, 140, 150), np.uint8)
    near = cv2.resize(portrait, (1230, 1230), interpolation=cv2.INTER_LINEAR)[:1100, 300:900]
    canvas[: near.shape[0], 900:1500] = near
    scale = side / 125
    far = cv2.resize(portrait[20:260, 130:330], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    far = np.rot90(far, turns)
    for number in range(6):
        x, y = 30 + number % 3 * 260, 100 + number // 3 * 500
        canvas[y : y + far.shape[0], x : x + far.shape[1]] = far
    return canvas


@pytest.mark.parametrize("side", [32, 40, 60, 100, 200])
def test_faces_of_two_percent_are_found_beside_a_near_one(detector, portrait, side: int) -> None:
    faces = detector.detect(scene(portrait, side))
    assert len(faces) == 7
    assert sum(max(face.box[2:]) < 1.5 * side for face in faces) >= 6


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_faces_are_found_beside_an_upright_one(detector, portrait, turns: int) -> None:
    faces = detector.detect(scene(portrait, 130, turns=turns))
    assert len(faces) == 7
    eyes = [face.landmarks[1] - face.landmarks[0] for face in faces if max(face.box[2:]) < 200]
    degrees = [float(np.degrees(np.arctan2(-y, x))) % 360 for x, y in eyes]
    assert all(abs((value - 90 * turns + 180) % 360 - 180) < 30 for value in degrees)


@pytest.mark.parametrize(
    ("width", "side", "x", "y"),
    [(1000, 128, 12, 12), (1000, 125, 855, 605), (2000, 333, 1647, 1147), (4000, 512, 50, 50)],
)
def test_an_upright_face_is_not_hidden_by_what_is_around_it(detector, portrait, width, side, x, y) -> None:
    image = np.full((3 * width // 4, width, 3), (90, 120, 90), np.uint8)
    image[y : y + side, x : x + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    (face,) = detector.detect(image)
    scale = side / portrait.shape[0]
    assert near(face, np.array([x, y]) + scale * LANDMARKS, scale * QUARTER)


@pytest.mark.parametrize("vertical", [True, False])
def test_strips_are_searched_in_tiles(detector, portrait, vertical: bool) -> None:
    count = 12
    strip = np.concatenate([portrait[:400, 100:400]] * count, axis=0 if vertical else 1)
    assert len(detector.detect(strip)) == count


def test_min_face_looks_for_smaller_faces_and_max_side_for_fewer(portrait) -> None:
    image = scene(portrait, 26)
    assert len(FaceDetector(min_face=20).detect(image)) == 7
    assert len(FaceDetector(max_side=128).detect(image)) == 1


@pytest.mark.parametrize(
    "options",
    [
        *({"min_face": 0}, {"min_face": float("nan")}, {"min_face": float("inf")}, {"max_side": 1}, {"threshold": 2}),
        *({"min_face": "a"}, {"max_side": "a"}, {"max_side": float("nan")}, {"threshold": None}),
    ],
)
def test_sizes_out_of_range_are_errors(options) -> None:
    with pytest.raises(ValueError, match="expected"):
        FaceDetector(**options)
