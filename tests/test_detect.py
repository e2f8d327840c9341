import cv2
import numpy as np
import pytest
import skimage.data

from oamface.detect import Detection, Detector
from oamface.errors import ImageError

MARKS = np.array([[203, 102], [245, 104], [224, 125], [203, 140], [244, 141]])  # read off the enlarged portrait
QUARTER = 10.5  # of the distance between the eyes


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return skimage.data.astronaut()


def near(face: Detection, points: np.ndarray, tolerance: float) -> bool:
    return bool(np.linalg.norm(face.landmarks - points, axis=1).max() < tolerance)


def test_portrait(detector, portrait) -> None:
    faces = detector.detect(portrait)
    assert len(faces) == 1
    assert near(faces[0], MARKS, 8)
    x, y, width, height = faces[0].box
    assert x < 203 < 245 < x + width
    assert y < 102 < 141 < y + height
    assert faces[0].score > 0.8


def test_a_tight_crop_still_shows_its_face(detector, portrait) -> None:
    faces = detector.detect(np.ascontiguousarray(portrait[72:178, 176:276]))
    assert len(faces) == 1
    assert near(faces[0], MARKS - (176, 72), 8)


@pytest.mark.parametrize("degrees", [-45, -25, 25, 45])
def test_rotated(detector, portrait, degrees) -> None:
    turn = cv2.getRotationMatrix2D((224, 122), degrees, 1)
    faces = detector.detect(cv2.warpAffine(portrait, turn, (512, 512)))
    assert any(near(face, MARKS @ turn[:, :2].T + turn[:, 2], QUARTER) for face in faces)


def test_small_faces_of_a_montage(detector, portrait) -> None:
    face = cv2.resize(portrait[40:220, 140:320], (48, 48), interpolation=cv2.INTER_AREA)
    faces = detector.detect(np.tile(face, (25, 40, 1)))
    assert len(faces) >= 950


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (300, 3), (64, 64), (2000, 3000)])
def test_no_face(detector, shape) -> None:
    assert detector.detect(np.full((*shape, 3), 90, np.uint8)) == []


def test_the_order_is_by_score(detector, portrait) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), 6)
    scores = [face.score for face in detector.detect(np.hstack([blurred, portrait]))]
    assert scores == sorted(scores, reverse=True)


def test_only_rgb(detector) -> None:
    with pytest.raises(ImageError):
        detector.detect(np.zeros((64, 64), np.uint8))
