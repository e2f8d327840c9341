"""Training faces that are copies of test faces: shifted, mirrored, recoloured or renamed. They would flatter a test."""

import cv2
import numpy as np
import numpy.typing as npt

from oamface.datasets.store import Store

SIDE = 16  # pixels of the thumbnails that are compared
ALIKE = 0.97  # correlation from which two aligned faces count as one image


def copies_of_test(store: Store) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for faces outside the test part that nearly equal one in it, or its mirror image.

    Compares grey thumbnails of the inner crop by correlation; alignment has already undone turns and shifts.
    """
    thumbs = np.stack([_thumbnail(crop) for crop in store.crops]) if len(store.crops) else np.zeros((0, SIDE, SIDE))
    test = np.array([split == "test" for split in store.splits], bool)
    copies = np.zeros(len(test), bool)
    if not test.any() or test.all():
        return copies
    tested = thumbs[test]
    known = np.concatenate([tested, tested[:, :, ::-1]]).reshape(-1, SIDE * SIDE)
    others = np.flatnonzero(~test)
    for start in range(0, len(others), 2000):
        rows = others[start : start + 2000]
        copies[rows] = (thumbs[rows].reshape(len(rows), -1) @ known.T).max(1) > ALIKE
    return copies


def _thumbnail(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(SIDE, SIDE), mean 0 and length 1."""
    rim = crop.shape[0] // 5
    grey = cv2.cvtColor(np.ascontiguousarray(crop[rim:-rim, rim:-rim]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    normed: npt.NDArray[np.float32] = small / max(float(np.linalg.norm(small)), 1e-6)
    return normed
