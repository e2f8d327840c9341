"""CenterFace: the boxes, landmarks and scores of the faces in images of one size.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019. Its weights (MIT) are brought
into the package when it is built: hatch_build.py.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from oamface.detection import Detection, moved, suppress
from oamface.errors import OamfaceError
from oamface.images import RGBImage, rescale
from oamface.results import Box, FloatArray
from oamface.runtime import load_onnx

_WEIGHTS = Path(__file__).parent / "weights" / "centerface" / "centerface.onnx"
STRIDE = 4  # image pixels of a cell in the network's maps


def centerface_model() -> bytes:
    """The network for any number of images of any height and width, as a serialized ONNX model. Raises OamfaceError."""
    try:
        return _WEIGHTS.read_bytes()
    except OSError as error:
        raise OamfaceError(
            f"{_WEIGHTS}: CenterFace's weights are missing; build or install oamface again where a package index is"
        ) from error


class CenterFace:
    """The network. Safe to share between threads. device, threads: see `runtime.load_onnx`.

    Raises OamfaceError: its file is missing; DeviceError.
    """

    def __init__(self, *, device: str = "auto", threads: int = 0) -> None:
        self._network = load_onnx(centerface_model(), device, threads)

    def detect(self, images: npt.NDArray[np.uint8], threshold: float) -> list[list[Detection]]:
        """The faces of each of (N, H, W, 3) RGB images whose score exceeds a threshold, best first.

        H and W are multiples of 32. Faces of 16 to 224 pixels are found, those of 40 to 100 best.
        """
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        heats, sizes, offsets, points = self._network(pixels)
        return [_decode(*maps, threshold) for maps in zip(heats, sizes, offsets, points, strict=True)]

    def detect_in(self, image: RGBImage, side: int, threshold: float) -> list[Detection]:
        """The same of one (H, W, 3) image at a long side of `side` pixels, a multiple of 32; in the image's pixels."""
        small = rescale(image, side / max(image.shape[:2]))
        canvas = np.zeros((1, side, side, 3), np.uint8)
        canvas[0, : small.shape[0], : small.shape[1]] = small
        to_image = np.array([[image.shape[1] / small.shape[1], 0, 0], [0, image.shape[0] / small.shape[0], 0]])
        return [moved(face, to_image) for face in self.detect(canvas, threshold)[0]]


def _decode(
    heat: FloatArray, sizes: FloatArray, offsets: FloatArray, points: FloatArray, threshold: float
) -> list[Detection]:
    """The network's four maps of one image to faces in its pixels: one for each peak of the heat."""
    heat = heat[0]
    peaks = (heat > threshold) & (heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8)))
    rows, columns = np.nonzero(peaks)
    scores = heat[rows, columns]
    height, width = np.exp(sizes[:, rows, columns]) * STRIDE
    left = (columns + offsets[1, rows, columns] + 0.5) * STRIDE - width / 2
    top = (rows + offsets[0, rows, columns] + 0.5) * STRIDE - height / 2
    landmarks = points[:, rows, columns].reshape(5, 2, -1)
    x, y = left + landmarks[:, 1] * width, top + landmarks[:, 0] * height
    faces = [
        Detection(
            Box(float(left[i]), float(top[i]), float(width[i]), float(height[i])),
            np.stack([x[:, i], y[:, i]], axis=1).astype(np.float32),
            float(scores[i]),
        )
        for i in range(len(scores))
    ]
    return suppress(faces)
