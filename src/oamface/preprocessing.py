"""Turns aligned crops into what a network takes: one copy for inference, training and export."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.results import FloatArray

Pixels = npt.NDArray[Any]  # crops of uint8 or maps of float32: both are cut alike

WHOLE_CROP = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Preprocessing:
    """What a network sees of a crop. crop_box: left, top, right, bottom as shares of the crop's side; a square.

    mean, std: of each colour in 0..1, subtracted and divided by.
    """

    crop_box: tuple[float, float, float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def extract(self, crop: Pixels, size: int) -> Pixels:
        """The crop box of a square crop at size x size pixels, the same way in training and in use."""
        if self.crop_box == WHOLE_CROP:
            return resize(crop, size)
        left, top, right, bottom = (round(edge * crop.shape[0]) for edge in self.crop_box)
        return resize(crop[top:bottom, left:right], size)

    def batch(self, crops: Sequence[Pixels], size: int) -> FloatArray:
        """N square crops of uint8 RGB as the network takes them: (N, 3, size, size) float32, normalised; N from 1."""
        mean, scale = np.float32(255) * np.array(self.mean, np.float32), 1 / (np.array(self.std, np.float32) * 255)
        extracted = np.stack([self.extract(crop, size) for crop in crops])
        values = extracted.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        values -= mean[:, None, None]
        values *= scale[:, None, None]
        return values

    def attention_over_crop(self, attention: FloatArray) -> FloatArray:
        """Maps (N, h, w) over the crop box as maps over the whole crop, on a grid of about the same spacing.

        Outside the crop box the nearest cell's value stands.
        """
        if self.crop_box == WHOLE_CROP or not len(attention):
            return attention
        left, top, right, bottom = self.crop_box
        height, width = attention.shape[1:]
        rows, columns = round(height / (bottom - top)), round(width / (right - left))
        y = (((np.arange(rows) + 0.5) / rows - top) / (bottom - top) * height - 0.5).astype(np.float32)
        x = (((np.arange(columns) + 0.5) / columns - left) / (right - left) * width - 0.5).astype(np.float32)
        columns_at, rows_at = np.meshgrid(x, y)
        maps: Any = attention
        return np.stack(
            [cv2.remap(one, columns_at, rows_at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in maps]
        )


def crop_box_problem(crop_box: Sequence[float]) -> str:
    """What is wrong with the crop box of a recipe, where () is the backbone's own; "" if nothing."""
    if not crop_box:
        return ""
    if len(crop_box) != 4 or not all(isinstance(edge, (int, float)) and 0 <= edge <= 1 for edge in crop_box):
        return f"crop_box {list(crop_box)}: four numbers within 0 to 1, left, top, right, bottom"
    left, top, right, bottom = crop_box
    if right - left < 0.25 or abs((right - left) - (bottom - top)) > 1e-6:
        return f"crop_box {list(crop_box)}: a square of at least a quarter of the crop's side"
    return ""


def resize(crop: Pixels, size: int) -> Pixels:
    """A square crop at another size, the same way in training and in use."""
    if crop.shape[0] == size:
        return crop
    method = cv2.INTER_AREA if size < crop.shape[0] else cv2.INTER_LINEAR
    scaled: Pixels = cv2.resize(crop, (size, size), interpolation=method)
    return scaled
