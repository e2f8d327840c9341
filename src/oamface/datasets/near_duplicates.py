"""Finds training faces that are near duplicates of test faces: shifted, mirrored, recoloured or renamed copies."""

import cv2
import numpy as np
import numpy.typing as npt

from oamface.datasets.store import Store

SIDE = 16  # pixels of the thumbnails that are compared
THRESHOLD = 0.97  # correlation from which two aligned faces count as the same image
BATCH = 2000  # faces that are compared at once


def find_near_duplicates(store: Store) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for faces outside the test split that nearly equal a test face or its mirror image.

    Compares grey thumbnails of the inner crop by their correlation; alignment has already undone rotation and shifts.
    """
    is_test = np.array([split == "test" for split in store.splits], bool)
    duplicates = np.zeros(len(is_test), bool)
    if not is_test.any() or is_test.all():
        return duplicates
    thumbnails = np.stack([_thumbnail(crop) for crop in store.crops])
    test = thumbnails[is_test]
    test = np.concatenate([test, test[:, :, ::-1]]).reshape(-1, SIDE * SIDE)
    others = np.flatnonzero(~is_test)
    for start in range(0, len(others), BATCH):
        rows = others[start : start + BATCH]
        correlations = thumbnails[rows].reshape(len(rows), -1) @ test.T
        duplicates[rows] = correlations.max(1) > THRESHOLD
    return duplicates


def _thumbnail(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(SIDE, SIDE) grey, of mean 0 and norm 1."""
    margin = crop.shape[0] // 5
    grey = cv2.cvtColor(np.ascontiguousarray(crop[margin:-margin, margin:-margin]), cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    thumbnail -= thumbnail.mean()
    normalized: npt.NDArray[np.float32] = thumbnail / max(float(np.linalg.norm(thumbnail)), 1e-6)
    return normalized
