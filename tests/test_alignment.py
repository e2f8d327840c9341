import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oamface.alignment import apply, crop_face, crop_transform, template
from oamface.errors import FaceError


def test_template_leaves_a_margin_around_the_face() -> None:
    points = template(128)
    assert np.allclose(points[0], [(38.2946 / 112 - 0.5) * 0.8 * 128 + 64, (51.6963 / 112 - 0.5) * 0.8 * 128 + 64])
    assert np.allclose(template(64), points / 2)


SHIFTS = st.floats(-500, 500)


@given(
    st.floats(-180, 180),
    st.floats(0.05, 20),
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.sampled_from([64, 112, 128]),
)
def test_crop_transform_undoes_any_similarity(degrees, scale, x, y, size) -> None:
    turn = cv2.getRotationMatrix2D((0, 0), degrees, scale)
    turn[:, 2] = x, y
    transform = crop_transform(apply(template(size), turn), size)
    assert np.allclose(apply(apply(template(size), turn), transform), template(size), atol=1e-2)
    assert np.linalg.det(transform[:, :2]) > 0


@pytest.mark.parametrize("scale", [0.7, 1, 3, 9])
def test_crop_shows_landmarks_where_the_template_has_them(scale) -> None:
    landmarks = template(128) * scale + 30
    image = np.zeros((int(128 * scale) + 60, int(128 * scale) + 60, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(float(x)), round(float(y))), int(4 * scale), (255, 255, 255), -1)
    crop = crop_face(image, landmarks)
    assert crop.shape == (128, 128, 3)
    count, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 127).astype(np.uint8))
    assert count == 6  # the background is one
    distances = np.linalg.norm(centres[1:, None] - template(128)[None], axis=2)
    assert distances.min(1).max() < 1
    assert len(set(distances.argmin(1))) == 5


def test_crop_is_gray_outside_the_image() -> None:
    assert (crop_face(np.zeros((20, 20, 3), np.uint8), template(128) + 5000) == 127).all()
    assert (crop_face(np.zeros((20, 20, 3), np.uint8), template(128) * 9 - 9000) == 127).all()


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.zeros((4, 2)), np.full((5, 2), np.nan), []])
def test_crop_transform_rejects_landmarks_that_are_no_face(landmarks) -> None:
    with pytest.raises(FaceError):
        crop_face(np.zeros((20, 20, 3), np.uint8), landmarks)
