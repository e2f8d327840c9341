"""Image corruptions of ImageNet-C's kinds at five strengths (Hendrycks and Dietterich, 2019), and low light.

Parameters are ImageNet-C's, for images of 224 pixels; lengths are scaled to the crop. Three kinds differ: glass blur
gives each pixel the colour of a random place nearby instead of swapping two, fog is a sum of octaves instead of
diamond-square, and frost is left out, because it needs images of ice.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from oamface.images import RGBImage

STRENGTHS = (1, 2, 3, 4, 5)
FloatArray = npt.NDArray[np.floating]
_SIDE = 224  # of ImageNet-C's images
_GAMMA = 2.2
_FULL_WELL = 4000.0  # electrons of a saturated pixel; sets the shot noise


def corrupt(crop: RGBImage, name: str, strength: int, rng: np.random.Generator) -> RGBImage:
    """A square crop under one of CORRUPTIONS, with the same shape. strength: one of STRENGTHS, 5 the worst."""
    image = CORRUPTIONS[name](crop.astype(np.float32) / 255, strength - 1, rng)
    return np.ascontiguousarray(np.rint(255 * image.clip(0, 1)).astype(np.uint8))


def _gaussian_noise(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    return image + rng.standard_normal(image.shape, np.float32) * (0.08, 0.12, 0.18, 0.26, 0.38)[level]


def _shot_noise(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    photons = (60, 25, 12, 5, 3)[level]
    return rng.poisson(image * photons).astype(np.float32) / photons


def _impulse_noise(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """Salt and pepper, in every channel by itself."""
    draw, share = rng.random(image.shape, np.float32), (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    return np.where(draw < share, (draw < share / 2).astype(np.float32), image)


def _defocus_blur(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    pixels, edge = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[level]
    radius = pixels * len(image) / _SIDE
    reach = np.arange(-np.ceil(radius) - 1, np.ceil(radius) + 2)
    disk = np.hypot(*np.meshgrid(reach, reach)) <= radius
    kernel = cv2.GaussianBlur(disk.astype(np.float32), (3, 3), edge)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _glass_blur(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    pixels, steps, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[level]
    sigma, reach = pixels * len(image) / _SIDE, (steps + 0.5) * len(image) / _SIDE
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    for _ in range(rounds):
        image = _move_pixels(image, *rng.uniform(-reach, reach, (2, *image.shape[:2])))
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _move_pixels(image: FloatArray, right: npt.NDArray[np.float64], down: npt.NDArray[np.float64]) -> FloatArray:
    """Every pixel takes the colour that lies so many pixels further right and down."""
    rows, columns = np.indices(image.shape[:2])
    where = ((columns + right).astype(np.float32), (rows + down).astype(np.float32))
    return cv2.remap(image, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _motion_blur(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    return _blur_along(image, radius * len(image) / _SIDE, sigma * len(image) / _SIDE, rng.uniform(-45, 45))


def _blur_along(image: FloatArray, radius: float, sigma: float, degrees: float) -> FloatArray:
    """Blurred in one direction, with the weights of half a Gaussian."""
    steps, reach = np.arange(0, 2 * radius, 0.5), int(np.ceil(2 * radius))
    angle = np.deg2rad(degrees)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    rows, columns = (np.rint(reach + steps * factor).astype(int) for factor in (np.sin(angle), np.cos(angle)))
    np.add.at(kernel, (rows, columns), np.exp(-(steps**2) / (2 * sigma**2)))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _zoom_blur(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    zoomed = [_zoom(image, factor) for factor in np.arange(1, end, step)]
    return (image + np.sum(zoomed, 0)) / (len(zoomed) + 1)


def _zoom(image: FloatArray, factor: float) -> FloatArray:
    """Enlarged about its centre."""
    centre = (len(image) - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), 0, factor)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)


def _snow(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    mean, std, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[level]
    scale = len(image) / _SIDE
    flakes = _zoom(rng.normal(mean, std, image.shape[:2]).astype(np.float32), zoom)
    flakes[flakes < least] = 0
    flakes = _blur_along(flakes.clip(0, 1), radius * scale, sigma * scale, rng.uniform(-135, -45))[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return share * image + (1 - share) * np.maximum(image, grey * 1.5 + 0.5) + flakes + flakes[::-1, ::-1]


def _fog(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    amount, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[level]
    fog, cells, size = np.zeros(image.shape[:2], np.float32), 2, image.shape[1::-1]
    while cells <= len(image):
        octave = rng.random((cells, cells), np.float32) / decay ** np.log2(cells)
        fog, cells = fog + cv2.resize(octave, size, interpolation=cv2.INTER_LINEAR), 2 * cells
    fog = (fog - fog.min()) / (fog.max() - fog.min())
    return (image + amount * fog[..., None]) * image.max() / (image.max() + amount)


def _brightness(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = (hsv[..., 2] + 0.1 * (level + 1)).clip(0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _contrast(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[level] + mean


def _elastic_transform(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """With the parameters of Michaelis et al. (2019), whose strengths 1 and 2 do not move the face away."""
    side = len(image)
    alpha, sigma, shift = (side * share for share in ((0.05, 0.065, 0.085, 0.1, 0.12)[level], 0.01, 0.005))
    corners = side / 2 + side / 3 * np.array([(1, 1), (1, -1), (-1, -1)])
    moved = corners + rng.uniform(-shift, shift, (3, 2))
    matrix = cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))
    image = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    fields = rng.uniform(-1, 1, (2, side, side))
    right, down = (alpha * cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for field in fields)
    return _move_pixels(image, right, down)


def _pixelate(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    side = int(len(image) * (0.6, 0.5, 0.4, 0.3, 0.25)[level])
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _jpeg_compression(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    pixels, quality = np.rint(255 * image[..., ::-1]).astype(np.uint8), (25, 18, 15, 10, 7)[level]
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.float32) / 255


def _low_light(image: FloatArray, level: int, rng: np.random.Generator) -> FloatArray:
    """2 to 6 stops less light."""
    return expose(image.astype(np.float64), -(level + 2), rng).astype(np.float32)


def expose(image: FloatArray, stops: float, rng: np.random.Generator) -> FloatArray:
    """An image of 0..1 with 2 ** stops times the light, clipped, and its shot noise; not brightened afterwards."""
    electrons = image**_GAMMA * _FULL_WELL * 2.0**stops
    return (rng.poisson(electrons) / _FULL_WELL).clip(0, 1) ** (1 / _GAMMA)


IMAGENET_C: dict[str, Callable[[FloatArray, int, np.random.Generator], FloatArray]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}  # what the mean corruption error is of
CORRUPTIONS = IMAGENET_C | {"low_light": _low_light}
