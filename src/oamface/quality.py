"""How far the age of a face can be relied on, by its image: cheap measures, one score, and what is wrong.

The score is the error to expect of a face in a good image divided by that of this one: a product of one factor for
each measure, fitted by benchmarks/quality.py on faces that were never trained on and their degraded copies. The error
is relative to that of people of the same age, so that the score says nothing about who is in the image.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.alignment import CROP_SIZE, face_oval
from oamface.images import RGBImage
from oamface.results import FloatArray, Quality

# Of the aligned crop and the landmarks, in the order of `measure`; the last is the network's visibility.
MEASURES = ("eye_distance", "sharpness", "light", "glare", "contrast", "turn", "visibility")
REASONS = {
    "eye_distance": "too small",
    "sharpness": "blurred",
    "glare": "overexposed",
    "contrast": "low contrast",  # "too dark" in dark light
    "turn": "turned",
    "visibility": "occluded",
}
DARK = 0.5  # light below which a low contrast is one of darkness
LEAST_FACTOR = 0.85  # of a measure; below it is a reason
LEAST_QUALITY = 0.8  # below which a policy refers: errors a quarter larger than in a good image are to be expected
# Beyond these no face was there to fit the factors on, so that nothing is known: the score is at most UNKNOWN.
MOST_TURN, LEAST_VISIBILITY, UNKNOWN = 0.5, 0.4, 0.5
GLARE = 250  # grey level from which a pixel is overexposed
# The network takes washed-out skin for hidden. Few overexposed faces without an occlusion are less visible than this,
# so that only below it an overexposed face is called occluded as well.
LEAST_WASHED_OUT = 0.6


@cache
def constants() -> dict[str, Any]:
    """What was fitted.

    "curves": measure to "at" and "penalty", the logarithm of how much the error grows; linear between these points,
    constant outside them. "widening": score "at" to "factor" of the age interval, likewise.
    """
    fitted: dict[str, Any] = json.loads((files("oamface") / "quality.json").read_text())
    return fitted


def measure(crop: RGBImage, landmarks: npt.ArrayLike) -> FloatArray:
    """(6,): all of MEASURES but the visibility.

    crop: (S, S, 3) uint8 RGB, aligned. landmarks: (5, 2) in the pixels of the original image.

    - eye_distance: between the eyes in pixels of the original image, as if the face looked into the camera
    - sharpness: variance of the Laplacian over that of the grey levels, at half the crop's size, where noise is weak
    - light, contrast: 95th percentile of the grey levels, and how far it lies above the 5th; glare: the share from
      GLARE on; all within the oval of the face and 0..1
    - turn: of the nose's tip from the middle line of eyes and mouth, in distances between eyes and mouth
    """
    if crop.shape[0] != CROP_SIZE:
        crop = cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    oval, half_oval = _ovals()
    counts = np.bincount(gray[oval], minlength=256).cumsum()  # of pixels up to each grey level
    dark, light = (int(np.searchsorted(counts, int(share * (counts[-1] - 1)) + 1)) / 255 for share in (0.05, 0.95))
    half = cv2.resize(gray, (CROP_SIZE // 2, CROP_SIZE // 2), interpolation=cv2.INTER_AREA).astype(np.float32)
    sharpness = cv2.Laplacian(half, cv2.CV_32F)[half_oval].var() / (half[half_oval].var() + 1)
    glare = 1 - float(counts[GLARE - 1]) / float(counts[-1])
    size, turn = _geometry(np.asarray(landmarks, np.float64))
    return np.array([size, sharpness, light, glare, light - dark, turn], np.float32)


def assess(measures: npt.ArrayLike) -> Quality:
    """The quality of a face by its MEASURES (7,)."""
    values = dict(zip(MEASURES, np.asarray(measures, float).tolist(), strict=True))
    factors = {
        name: float(np.exp(-np.interp(values[name], curve["at"], curve["penalty"])))
        for name, curve in constants()["curves"].items()
    }
    score = float(np.prod(list(factors.values())))
    beyond = {"turn": values["turn"] > MOST_TURN, "visibility": values["visibility"] < LEAST_VISIBILITY}
    for name in (name for name, is_beyond in beyond.items() if is_beyond):
        score, factors[name] = min(score, UNKNOWN), UNKNOWN
    found = [name for name, factor in factors.items() if factor < LEAST_FACTOR]
    if "glare" in found and values["visibility"] >= LEAST_WASHED_OUT:
        found = [name for name in found if name != "visibility"]
    if score < LEAST_QUALITY and not found:
        found = [min(factors, key=lambda name: factors[name])]
    reasons = REASONS | ({"contrast": "too dark"} if values["light"] < DARK else {})
    return Quality(score, tuple(reasons[name] for name in found), values)


def widening(score: Sequence[float] | npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """By how much the age interval of a face of that score is wider, at least 1."""
    table = constants()["widening"]
    return np.interp(score, table["at"], table["factor"])


@cache
def _ovals() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pixels of a crop, and of one of half its size, lie in the oval of the face."""
    whole, half = (face_oval(side, side) > 0.5 for side in (CROP_SIZE, CROP_SIZE // 2))
    return whole, half


def _geometry(landmarks: npt.NDArray[np.float64]) -> tuple[float, float]:
    """eye_distance and turn, see `measure`."""
    eyes, nose, mouth = landmarks[:2], landmarks[2], landmarks[3:].mean(0)
    across, down = eyes[1] - eyes[0], mouth - eyes.mean(0)
    height = max(float(np.linalg.norm(down)), 1e-6)
    axis = np.array([down[1], -down[0]]) / height
    turn = abs(float((nose - (eyes.mean(0) + mouth) / 2) @ axis)) / height
    # Eyes of a turned face are close together; its height says how large it is.
    return max(float(np.linalg.norm(across)), 0.866 * height), turn
