"""Cuts a face out of an image by its five landmarks, always in the same pose and size, and leads back.

Knows geometry only: neither how landmarks are found nor what is read from the crop.
"""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from oamface.errors import FaceError
from oamface.images import RGBImage, check_image

CROP_SIZE = 128
MARGIN = 0.8  # the template shrunk about the crop's centre, so that hair and jaw stay inside
# The oval of an aligned face, in shares of the crop.
OVAL_EYES = 0.4  # weight of the eyes' middle in its centre, beside the mouth's
OVAL_RADIUS = (0.30, 0.40)  # from one side of the head to the other, from the brows to the chin
OVAL_SAMPLES = 8  # of a cell of the attention in each direction

# ArcFace's five points for a crop of 112 pixels (Deng et al., 2019; published with insightface).
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def template(size: int = CROP_SIZE) -> npt.NDArray[np.float32]:
    """Where the five landmarks lie in a crop of size x size pixels: (5, 2) float32."""
    return (((_ARCFACE / 112 - 0.5) * MARGIN + 0.5) * size).astype(np.float32)


def crop_transform(landmarks: npt.ArrayLike, size: int = CROP_SIZE) -> npt.NDArray[np.float64]:
    """The 2 x 3 similarity from the image's pixels to the crop's that best lays landmarks on the template.

    landmarks: (5, 2), finite. Least squares without mirroring, Umeyama (1991).
    Raises FaceError for another shape, values that are not finite, or points that all coincide.
    """
    source = np.asarray(landmarks, np.float64)
    if source.shape != (5, 2) or not np.isfinite(source).all():
        raise FaceError(f"expected five finite landmarks (5, 2), got shape {source.shape}")
    target = template(size).astype(np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    spread = ((source - source_mean) ** 2).sum()
    if spread < 1e-6:
        raise FaceError("the five landmarks lie on one point")
    # In the plane the best rotation and scale are one complex number.
    a, b = ((source - source_mean) @ [1, 1j]), ((target - target_mean) @ [1, 1j])
    turn = (a.conj() @ b) / spread
    if abs(turn) < 1e-9:
        raise FaceError("the five landmarks have no orientation; is their order left eye, right eye, nose, mouth?")
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([matrix, target_mean - matrix @ source_mean])


def crop_face(image: RGBImage, landmarks: npt.ArrayLike, size: int = CROP_SIZE) -> RGBImage:
    """The aligned face: (size, size, 3) uint8 RGB. What lies outside the image is mid-grey.

    image: (H, W, 3) uint8 RGB. landmarks: (5, 2) in its pixels. Raises ImageError, FaceError.
    """
    image = check_image(image)
    transform = crop_transform(landmarks, size)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:  # a warp samples single pixels: shrink large faces first, or the crop is full of noise
        # Only the part around the face, or one face of a huge image would cost as much as the image.
        corners = crop_corners(transform, size)
        low = np.clip(np.floor(corners.min(0)) - 2, 0, None).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + 2, 0, image.shape[1::-1]).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        if part.size:
            width, height = (max(1, round(length * scale)) for length in (part.shape[1], part.shape[0]))
            stretch = np.array([part.shape[1] / width, part.shape[0] / height])
            image = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            transform[:, 2] += transform[:, :2] @ (low + (stretch - 1) / 2)
            transform[:, :2] = transform[:, :2] * stretch
    crop: RGBImage = cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderValue=(127, 127, 127))
    return crop


def align(image: RGBImage, landmarks: npt.ArrayLike, size: int = CROP_SIZE) -> tuple[RGBImage, npt.NDArray[np.float64]]:
    """The aligned face, as `crop_face` gives it, and its landmarks (5, 2) in the crop's pixels."""
    return crop_face(image, landmarks, size), apply(landmarks, crop_transform(landmarks, size))


@cache
def face_oval(height: int, width: int) -> npt.NDArray[np.float32]:
    """(height, width): the share of every cell of a grid over the crop that lies in the oval of an aligned face."""
    fine = OVAL_SAMPLES
    landmarks = template(1)
    middle = landmarks[:2].mean(0) * OVAL_EYES + landmarks[3:].mean(0) * (1 - OVAL_EYES)
    y = (np.arange(height * fine) + 0.5)[:, None] / (height * fine)
    x = (np.arange(width * fine) + 0.5) / (width * fine)
    inside = ((x - middle[0]) / OVAL_RADIUS[0]) ** 2 + ((y - middle[1]) / OVAL_RADIUS[1]) ** 2 <= 1
    return inside.reshape(height, fine, width, fine).mean((1, 3)).astype(np.float32)


def crop_corners(transform: npt.NDArray[np.floating], size: int = CROP_SIZE) -> npt.NDArray[np.float64]:
    """(4, 2): where a crop's corners lie in the image, clockwise from the upper left, given its `crop_transform`."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]])
    return apply(corners, cv2.invertAffineTransform(transform))


def apply(points: npt.ArrayLike, transform: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(N, 2) points under a 2 x 3 affine matrix; `cv2.invertAffineTransform` of a crop's leads back to the image."""
    moved: npt.NDArray[np.float64] = np.asarray(points, np.float64) @ transform[:, :2].T + transform[:, 2]
    return moved
