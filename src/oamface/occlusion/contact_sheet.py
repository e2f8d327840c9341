"""A contact sheet of everything that can cover a face."""

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import crop_face, template
from oamface.images import RGBImage
from oamface.occlusion.draw import STYLES, WEARS, draw

SIDE = 160
_TITLE = 18


def contact_sheet(faces: list[tuple[RGBImage, npt.NDArray[np.float32]]], *, seed: int = 0) -> RGBImage:
    """One row for each style, masks also worn wrongly; the last column shows the coverage of the one before it.

    faces: images (H, W, 3) uint8 RGB with five landmarks (5, 2) each, one or more; they take turns along a row.
    """
    crops = [crop_face(image, landmarks, SIDE) for image, landmarks in faces]
    places, rows, turn = template(SIDE), [], 0
    for style, kind in STYLES.items():
        cells = []
        for number, wear in enumerate((*("right",) * 4, *WEARS[1:]) if kind.mask else ("right",) * 6):
            drawn = draw(crops[turn % len(crops)], places, style, np.random.default_rng((seed, number)), wear=wear)
            turn += 1
            cells.append(drawn.image)
        cells.append(np.repeat((drawn.coverage[..., None] * 255).astype(np.uint8), 3, axis=2))
        title = np.full((_TITLE, SIDE * len(cells), 3), 255, np.uint8)
        name = f"{style}{', held out for evaluation' if kind.held_out else ''}"
        cv2.putText(title, name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
        rows.append(np.vstack([title, np.hstack(cells)]))
    return np.vstack(rows)


def plain_face(size: int = 2 * SIDE) -> tuple[RGBImage, npt.NDArray[np.float32]]:
    """A drawn face of nobody, (size, size, 3), and its landmarks: enough to see masks on without an image."""
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
