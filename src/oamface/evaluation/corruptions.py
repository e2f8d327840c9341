"""Image corruptions at fixed strengths: blur, low light, low resolution, JPEG, noise."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage

_GAMMA = 2.2
_FULL_WELL = 4000.0  # electrons of a saturated pixel; sets the shot noise of low light


@dataclass(frozen=True)
class Corruption:
    """apply: (crop, strength, generator) to a crop of the same shape. unit: of the strengths."""

    apply: Callable[[RGBImage, float, np.random.Generator], RGBImage]
    strengths: tuple[float, ...]
    unit: str


def blur(crop: RGBImage, sigma: float, rng: np.random.Generator) -> RGBImage:
    """Gaussian blur; sigma in pixels of a 128-pixel crop."""
    return _to_uint8(cv2.GaussianBlur(crop, (0, 0), sigma * crop.shape[0] / 128))


def low_light(crop: RGBImage, stops: float, rng: np.random.Generator) -> RGBImage:
    """An underexposed crop: `stops` stops less light, with shot noise, not brightened afterwards."""
    electrons = (crop / 255.0) ** _GAMMA * _FULL_WELL / 2**stops
    return _to_uint8(255 * (rng.poisson(electrons) / _FULL_WELL).clip(0, 1) ** (1 / _GAMMA))


def low_resolution(crop: RGBImage, side: float, rng: np.random.Generator) -> RGBImage:
    """Downscaled to side x side pixels and upscaled again."""
    small = cv2.resize(crop, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return _to_uint8(cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_CUBIC))


def jpeg(crop: RGBImage, quality: float, rng: np.random.Generator) -> RGBImage:
    """Compressed as a JPEG of that quality, 1 to 100, and decoded."""
    _, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return _to_uint8(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def noise(crop: RGBImage, std: float, rng: np.random.Generator) -> RGBImage:
    """Independent Gaussian noise; std in grey levels, 0 to 255."""
    return _to_uint8(crop + rng.normal(0, std, crop.shape))


def _to_uint8(values: npt.NDArray[np.floating] | npt.NDArray[np.uint8]) -> RGBImage:
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


CORRUPTIONS = {
    "blur": Corruption(blur, (1.0, 2.0, 4.0), "pixels of sigma"),
    "low_light": Corruption(low_light, (2.0, 4.0, 6.0), "stops"),
    "low_resolution": Corruption(low_resolution, (48.0, 24.0, 16.0), "pixels"),
    "jpeg": Corruption(jpeg, (50.0, 20.0, 8.0), "quality"),
    "noise": Corruption(noise, (10.0, 25.0, 50.0), "grey levels"),
}
