"""Proposes where an image may show a face: from 10 pixels on, at any angle, half covered. `CenterFace` then decides.

A small network of our own (0.1 million parameters), trained on drawn scenes of real faces: training/scanner.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from oamface.detection import suppress
from oamface.errors import OamfaceError
from oamface.images import RGBImage
from oamface.results import Box, FloatArray
from oamface.runtime import load_onnx

STRIDES = (8, 16, 32)  # image pixels of a cell in each of the network's maps
MULTIPLE = STRIDES[-1]  # of which its input's sides are multiples
COARSE_MULTIPLE = 10 * MULTIPLE  # likewise where every new shape of an input costs seconds
TILE, TILE_OVERLAP = 1280, 128  # pixels of one pass; larger scans are done in tiles

_WEIGHTS = Path(__file__).parent / "weights" / "face_scanner.onnx"


def face_scanner_model() -> bytes:
    """The network for an image of any height and width, as a serialized ONNX model. Raises OamfaceError."""
    try:
        return _WEIGHTS.read_bytes()
    except OSError as error:
        raise OamfaceError(f"{_WEIGHTS}: cannot be read ({error.strerror}); install oamface again") from error


@dataclass(frozen=True)
class Candidate:
    """A place that may show a face. Pixels of the image; x to the right, y down.

    x, y: its centre. side: the long side of its box. score: 0..1.
    """

    x: float
    y: float
    side: float
    score: float

    @property
    def box(self) -> Box:
        return Box(self.x - self.side / 2, self.y - self.side / 2, self.side, self.side)


class FaceScanner:
    """The network. Safe to share between threads. device, threads: see `runtime.load_onnx`.

    Raises OamfaceError: its file is missing; DeviceError.
    """

    def __init__(self, *, device: str = "auto", threads: int = 0) -> None:
        self._network = load_onnx(face_scanner_model(), device, threads)

    def scan(self, image: RGBImage, threshold: float) -> list[Candidate]:
        """Every place of an (H, W, 3) uint8 RGB image that scores above a threshold, best first."""
        tables = [np.zeros((0, 4), np.float32)]
        for rows in _tiles(image.shape[0]):
            for columns in _tiles(image.shape[1]):
                table = self._pass(image[rows, columns], threshold)
                table[:, :2] += (columns.start, rows.start)
                tables.append(table)
        return suppress([Candidate(*map(float, row)) for row in np.concatenate(tables)])

    def _pass(self, image: RGBImage, threshold: float) -> FloatArray:
        height, width = image.shape[:2]
        multiple = COARSE_MULTIPLE if self._network.plans_shapes else MULTIPLE
        canvas = np.zeros((1, -(-height // multiple) * multiple, -(-width // multiple) * multiple, 3), np.uint8)
        canvas[0, :height, :width] = image
        maps = self._network(canvas)
        return np.concatenate([_decode(one[0], stride, threshold) for one, stride in zip(maps, STRIDES, strict=True)])


def _decode(maps: FloatArray, stride: int, threshold: float) -> FloatArray:
    """One map (4, h, w) of score, log side, x and y from the cell's centre; lengths in cells."""
    heat = maps[0]
    if heat.max() <= threshold:
        return np.zeros((0, 4), np.float32)
    rows, columns = np.nonzero((heat > threshold) & (heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8))))
    score, side, x, y = maps[:, rows, columns]
    centre_x, centre_y = (columns + 0.5 + x) * stride, (rows + 0.5 + y) * stride
    return np.column_stack([centre_x, centre_y, np.exp(side) * stride, score]).astype(np.float32)


def _tiles(length: int) -> list[slice]:
    """A side cut into parts of at most TILE that share TILE_OVERLAP."""
    count = max(1, -(-(length - TILE_OVERLAP) // (TILE - TILE_OVERLAP)))
    size = -(-(length + (count - 1) * TILE_OVERLAP) // count)
    starts: list[int] = [round(number * (length - size) / max(count - 1, 1)) for number in range(count)]
    return [slice(start, start + size) for start in starts]
