"""Face coordinates, from five landmarks: a shape drawn in them fits every pose.

x runs from the face's midline, 1 at the outer corner of either side of the head; y from the eyes (0) over the mouth
(1) to the chin (about 1.75); z out of the face, in the unit of x.
"""

import numpy as np
import numpy.typing as npt

from oamface.errors import FaceError

Points = npt.NDArray[np.float64]

HALF_WIDTH = 1.05  # of the head at the eyes, in distances between the eyes
NOSE = 0.45  # how far the nose's tip stands out, likewise


class FaceFrame:
    """Projects face coordinates into the image. landmarks: (5, 2) in pixels.

    Raises FaceError: another shape, values not finite, or eyes and mouth that coincide.
    """

    def __init__(self, landmarks: npt.ArrayLike) -> None:
        points = np.asarray(landmarks, np.float64)
        if points.shape != (5, 2) or not np.isfinite(points).all():
            raise FaceError(f"expected five finite landmarks (5, 2), got shape {points.shape}")
        self.eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        across, self.down = points[1] - points[0], mouth - self.eyes
        width, height = float(np.linalg.norm(across)), float(np.linalg.norm(self.down))
        if min(width, height) < 1e-3:
            raise FaceError("the landmarks of the eyes, or the eyes and the mouth, are on one point")
        across = across / width
        # The nose stands out of the plane of eyes and mouth: its sideways offset tells the head's turn.
        offset = float((points[2] - (self.eyes + mouth) / 2) @ across) / max(width, 0.3 * height)
        self.turn = float(np.clip(np.arctan2(offset, NOSE), -0.9, 0.9))
        # y of the nose's tip: lower in the face where the head is bent down.
        self.nose = float(np.clip((points[2] - self.eyes) @ self.down / height**2, 0.3, 0.75))
        # In profile the eyes close up, the height does not.
        self.unit = max(width / np.cos(self.turn), 0.7 * height)
        self.across = across * self.unit

    def project(self, points: npt.ArrayLike) -> Points:
        """(N, 2) or (N, 3) face coordinates to (N, 2) pixels; without z they lie on the head's round front."""
        points = np.asarray(points, np.float64)
        x, y = points[:, 0] * HALF_WIDTH, points[:, 1]
        depth = 0.8 * (np.sqrt(np.clip(1 - (points[:, 0] / 1.15) ** 2, 0, 1)) - 1)
        if points.shape[1] == 3:
            depth = depth + points[:, 2]
        turned = x * np.cos(self.turn) + depth * np.sin(self.turn)
        return self.eyes + turned[:, None] * self.across + y[:, None] * self.down
