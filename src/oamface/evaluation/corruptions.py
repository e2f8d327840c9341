"""What a camera does to an image: blur, low light, low resolution, JPEG, noise, each at stated strengths."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage

_GAMMA = 2.2
_WELL = 4000.0  # electrons of a full pixel, which sets the grain of low light


@dataclass(frozen=True)
class Damage:
    """change: (crop, strength, generator) to a crop of the same shape. unit: what strengths count."""

    change: Callable[[RGBImage, float, np.random.Generator], RGBImage]
    strengths: tuple[float, ...]
    unit: str


def blur(crop: RGBImage, sigma: float, rng: np.random.Generator) -> RGBImage:
    """Out of focus: a Gaussian of sigma pixels of a 128-pixel crop."""
    return _image(cv2.GaussianBlur(crop, (0, 0), sigma * crop.shape[0] / 128))


def low_light(crop: RGBImage, stops: float, rng: np.random.Generator) -> RGBImage:
    """So many stops less light, with the shot noise that comes of fewer electrons; not brightened afterwards."""
    electrons = (crop / 255.0) ** _GAMMA * _WELL / 2**stops
    return _image(255 * (rng.poisson(electrons) / _WELL).clip(0, 1) ** (1 / _GAMMA))


def low_resolution(crop: RGBImage, side: float, rng: np.random.Generator) -> RGBImage:
    """As if the crop had been side x side pixels, enlarged again."""
    small = cv2.resize(crop, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return _image(cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_CUBIC))


def jpeg(crop: RGBImage, quality: float, rng: np.random.Generator) -> RGBImage:
    """Through a JPEG file of that quality, 1 to 100."""
    _, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return _image(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def noise(crop: RGBImage, deviation: float, rng: np.random.Generator) -> RGBImage:
    """Independent Gaussian noise of that standard deviation, in grey levels of 255."""
    return _image(crop + rng.normal(0, deviation, crop.shape))


def _image(values: npt.NDArray[np.floating] | npt.NDArray[np.uint8]) -> RGBImage:
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


CAMERA = {
    "blur": Damage(blur, (1.0, 2.0, 4.0), "pixels of sigma"),
    "low_light": Damage(low_light, (2.0, 4.0, 6.0), "stops"),
    "low_resolution": Damage(low_resolution, (48.0, 24.0, 16.0), "pixels"),
    "jpeg": Damage(jpeg, (50.0, 20.0, 8.0), "quality"),
    "noise": Damage(noise, (10.0, 25.0, 50.0), "grey levels"),
}
