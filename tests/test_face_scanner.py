import cv2
import numpy as np
import pytest

from oamface.face_detector import CANDIDATE_SCORE, FAINT_SCORE
from oamface.face_scanner import Candidate, FaceScanner, suppress
from oamface.images import rescale

pytestmark = pytest.mark.slow

FACE = (224, 122, 125)  # centre and long side of the portrait's face


@pytest.fixture(scope="module")
def scanner() -> FaceScanner:
    return FaceScanner(threads=1)


@pytest.mark.parametrize("degrees", [0, 60, 90, 180, 270])
@pytest.mark.parametrize("scale", [0.2, 0.3, 0.625])
def test_scan_gives_place_and_size_of_turned_faces(scanner, portrait, degrees, scale) -> None:
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1)
    turned = cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    x, y = scale * (matrix[:, :2] @ FACE[:2] + matrix[:, 2])
    side = scale * FACE[2]
    assert any(
        np.hypot(place.x - x, place.y - y) < 0.25 * side and 0.6 < place.side / side < 1.6
        for place in scanner.scan(rescale(turned, scale), FAINT_SCORE)
    )


def test_scan_in_tiles_gives_every_place_once(scanner, portrait) -> None:
    face = cv2.resize(portrait[20:260, 130:330], (80, 96), interpolation=cv2.INTER_AREA)
    image = np.full((300, 3000, 3), 120, np.uint8)
    places = [(x, 100) for x in range(40, 2900, 130)]
    for x, y in places:
        image[y : y + 96, x : x + 80] = face
    found = scanner.scan(image, CANDIDATE_SCORE)
    for x, y in places:
        near = [place for place in found if np.hypot(place.x - x - 38, place.y - y - 41) < 15]
        assert sum(0.5 < place.side / 50 < 1.6 for place in near) == 1


def test_candidates_are_ordered_by_score(scanner, portrait) -> None:
    scores = [candidate.score for candidate in scanner.scan(portrait, 0.01)]
    assert scores == sorted(scores, reverse=True)


def test_suppress_keeps_the_best_of_each_place() -> None:
    rows = [10, 10, 20, 0.5], [11, 10, 20, 0.9], [100, 10, 20, 0.2], [10, 10, 90, 0.1]
    assert [place.score for place in suppress([Candidate(*row) for row in rows])] == [0.9, 0.2, 0.1]
    assert suppress([]) == []
