"""A contact sheet of all occluders, and a drawn face to show them on."""

from itertools import cycle

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import crop_face, template
from oamface.images import RGBImage
from oamface.occlusion.styles import MASK_POSITIONS, STYLES, occlude

SIDE = 160
_TITLE = 18


def contact_sheet(faces: list[tuple[RGBImage, npt.NDArray[np.float32]]], *, seed: int = 0) -> RGBImage:
    """A table with one row for each style. The last column shows the occlusion mask of the image before it.

    faces: one or more images (H, W, 3) uint8 RGB with five landmarks (5, 2) each, used in turn.
    """
    crops = [crop_face(image, landmarks, SIDE) for image, landmarks in faces]
    landmarks, rows, next_crop = template(SIDE), [], cycle(crops)
    correct, *incorrect = MASK_POSITIONS
    positions = [correct] * 3 + incorrect
    for name, style in STYLES.items():
        cells = []
        for number, position in enumerate(positions if style.is_mask else [correct] * len(positions)):
            rng = np.random.default_rng((seed, number))
            occluded = occlude(next(next_crop), landmarks, name, rng, position=position)
            cells.append(occluded.image)
        cells.append(np.repeat((occluded.occlusion_mask[..., None] * 255).astype(np.uint8), 3, axis=2))
        title = np.full((_TITLE, SIDE * len(cells), 3), 255, np.uint8)
        text = f"{name}{', held out for evaluation' if style.held_out else ''}"
        cv2.putText(title, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
        rows.append(np.vstack([title, np.hstack(cells)]))
    return np.vstack(rows)


def plain_face(size: int = 2 * SIDE) -> tuple[RGBImage, npt.NDArray[np.float32]]:
    """A drawn face, (size, size, 3) uint8 RGB, and its five landmarks."""
    landmarks = template(size)
    image = np.full((size, size, 3), (196, 205, 212), np.uint8)
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    reach = float(landmarks[1, 0] - landmarks[0, 0])

    def ellipse(centre: npt.ArrayLike, axes: tuple[float, float], colour: tuple[int, int, int]) -> None:
        x, y = (round(float(value)) for value in np.asarray(centre))
        cv2.ellipse(image, (x, y), (round(axes[0] * reach), round(axes[1] * reach)), 0, 0, 360, colour, -1, cv2.LINE_AA)

    ellipse((eyes + mouth) / 2 - (0, 0.35 * reach), (1.25, 1.6), (62, 48, 42))
    ellipse(mouth + (0, 1.3 * reach), (0.55, 0.9), (196, 150, 124))
    ellipse((eyes + mouth) / 2, (1.05, 1.42), (222, 176, 148))
    for eye in landmarks[:2]:
        ellipse(eye, (0.2, 0.1), (250, 250, 250))
        ellipse(eye, (0.09, 0.09), (58, 74, 84))
        ellipse(eye - (0, 0.26 * reach), (0.26, 0.05), (70, 52, 44))
    ellipse(landmarks[2] + (0, 0.04 * reach), (0.17, 0.11), (204, 154, 128))
    ellipse(mouth, (0.4, 0.09), (176, 92, 92))
    down = (np.arange(size, dtype=np.float32) / size)[:, None, None]
    across = (np.arange(size, dtype=np.float32) / size)[:, None]
    lit = np.clip(image * (1.08 - 0.12 * down - 0.1 * across), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(lit, (0, 0), size / 250), landmarks
