"""The camera: surroundings out of focus, and the light of a scene to a JPEG image."""

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage
from oamface.synthetic.raster import FloatArray
from oamface.synthetic.scene import LIGHTS, Scene

_SMALL = 96  # pixels of a side at which surroundings are drawn


def render_surroundings(scene: Scene, size: int) -> FloatArray:
    """(size, size, 3) linear RGB, out of focus."""
    rng = np.random.default_rng((scene.seed, 10))
    light = LIGHTS[scene.light]
    tint = np.array(light.sky, np.float32) + 0.35 * np.array(light.key[1], np.float32)
    image = np.ones((_SMALL, _SMALL, 3), np.float32) * _muted_colour(rng, 0.08, 0.75)
    slope = rng.normal(0, 0.35, 2)
    painters = {"room": _paint_room, "street": _paint_street, "park": _paint_park, "shelf": _paint_shelf}
    if scene.surroundings in painters:
        painters[scene.surroundings](image, rng)
    blur = 14.0 if scene.surroundings == "plain" else float(rng.uniform(1.0, 4.0))
    image = cv2.GaussianBlur(image, (0, 0), blur)
    y, x = np.mgrid[0:_SMALL, 0:_SMALL].astype(np.float32) / _SMALL
    image = image * np.exp(slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None] * tint * 0.8
    return cv2.resize(image.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC).clip(0)


def _paint_room(image: FloatArray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(4, 9)):
        left, top = rng.integers(0, _SMALL, 2)
        width, height = rng.integers(8, 50, 2)
        image[top : top + height, left : left + width] = _muted_colour(rng, 0.03, 1.1)


def _paint_street(image: FloatArray, rng: np.random.Generator) -> None:
    horizon, ground = int(rng.uniform(0.25, 0.6) * _SMALL), int(0.8 * _SMALL)
    image[:horizon] = _muted_colour(rng, 0.4, 1.2)
    for left in range(0, _SMALL, int(rng.integers(9, 22))):
        top = int(rng.uniform(0, 0.9) * horizon)
        image[top:ground, left : left + int(rng.integers(8, 22))] = _muted_colour(rng, 0.05, 0.6)
    image[ground:] = _muted_colour(rng, 0.08, 0.3)


def _paint_park(image: FloatArray, rng: np.random.Generator) -> None:
    image[: int(0.4 * _SMALL)] = (0.5, 0.68, 0.95)
    green = cv2.resize(rng.random((12, 12)).astype(np.float32), (_SMALL, _SMALL), interpolation=cv2.INTER_CUBIC)
    leaves = np.array((0.10, 0.19, 0.05)) * (0.3 + 1.6 * green[..., None])
    y = (np.arange(_SMALL, dtype=np.float32) / _SMALL)[:, None]
    trees = y + 0.25 * (green - 0.5) > rng.uniform(0.1, 0.5)
    image[trees] = leaves[trees]


def _paint_shelf(image: FloatArray, rng: np.random.Generator) -> None:
    for top in range(0, _SMALL, 24):
        left = 0
        while left < _SMALL:
            width = int(rng.integers(3, 9))
            image[top + 3 : top + 24, left : left + width] = _muted_colour(rng, 0.02, 0.7)
            left += width
        image[top : top + 3] = (0.12, 0.08, 0.05)


def develop(linear: FloatArray, scene: Scene) -> RGBImage:
    """(H, W, 3) uint8 RGB of linear light (H, W, 3): exposure, white balance, blur, noise and tone curve."""
    rng, size = np.random.default_rng((scene.seed, 11)), len(linear)
    light = LIGHTS[scene.light]
    warm = np.array((1 + 0.14 * scene.warmth, 1.0, 1 - 0.16 * scene.warmth), np.float32)
    # The camera corrects most of the light's colour, not all of it.
    cast = np.array(light.key[1]) * 0.5 + np.array(light.sky) * 0.5
    balance = (cast.mean() / cast) ** 0.7
    image = linear * (warm * balance).astype(np.float32) * np.float32(2.0 ** (scene.stops - light.stops))
    if scene.blur:
        image = cv2.GaussianBlur(image, (0, 0), max(0.25, scene.blur * size / 256))
    if scene.noise:
        grain = rng.standard_normal(image.shape, np.float32)
        grain += cv2.GaussianBlur(grain[::-1, ::-1], (0, 0), 1.0)  # coarser grain, as after denoising
        image = image + grain * np.float32(0.05 * scene.noise) * np.sqrt(image.clip(0) + 0.02)
    curve = image.clip(0)
    curve = np.where(curve < 0.6, curve, 0.6 + 0.4 * (1 - np.exp(-(curve - 0.6) / 0.4)))  # highlights roll off
    encoded = np.where(curve < 0.0031308, 12.92 * curve, 1.055 * curve.clip(1e-6) ** (1 / 2.4) - 0.055)
    return (encoded * 255 + 0.5).clip(0, 255).astype(np.uint8)


def compress(image: RGBImage, quality: int) -> bytes:
    """The JPEG file's bytes."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def _muted_colour(rng: np.random.Generator, low: float, high: float) -> npt.NDArray[np.float32]:
    """A random colour, rarely vivid; low, high: of its brightness."""
    grey = np.exp(rng.uniform(np.log(low), np.log(high)))
    return (grey * np.exp(rng.normal(0, 0.22, 3))).astype(np.float32)
