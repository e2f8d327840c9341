"""Augmentation of training faces: geometry, color, noise, synthetic occlusion and mixup.

Every face's augmentation is drawn from a generator of its own, so that an interrupted run sees the same images again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from oamface import occlusion
from oamface.images import RGBImage
from oamface.preprocessing import Preprocessing, resize

# How often each is drawn; beards are few, because they are drawn on women and children, too.
_MASKS = {"surgical": 0.4, "cloth": 0.25, "polyurethane": 0.2, "transparent": 0.15}
_POSITIONS = {
    "correct": 0.68,
    "below_nose": 0.11,
    "askew": 0.04,
    "on_chin": 0.06,
    "under_chin": 0.07,
    "one_ear": 0.04,
}
_OBJECTS = {
    "sunglasses": 0.17,
    "scarf": 0.18,
    "hand": 0.19,
    "hair": 0.12,
    "patch": 0.18,
    "beard": 0.04,
    "helmet": 0.12,
}
_GREY = (127, 127, 127)


@dataclass(frozen=True)
class View:
    """An augmented face.

    image: (S, S, 3) uint8 RGB, cut to the network's crop box. occlusion: (S, S) float32, 1 where something was drawn.
    has_occlusion_mask: whether that is all that occludes the face; False if the original image already showed a mask.
    mask: the class of the mask that was drawn; None if there was none.
    """

    image: RGBImage
    occlusion: npt.NDArray[np.float32]
    has_occlusion_mask: bool
    mask: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A crop with an occlusion: its image, occlusion mask, and the class of the mask drawn, or None."""

    image: RGBImage
    occlusion_mask: npt.NDArray[np.float32]
    mask: str | None


@dataclass(frozen=True)
class Augmenter:
    """Makes the training views of a face. size: pixels of a view. The probabilities: see Recipe."""

    size: int
    preprocessing: Preprocessing
    occlusion_probability: float
    clean_pair_probability: float

    def views(
        self, crop: RGBImage, landmarks: npt.NDArray[np.float32], rng: np.random.Generator, *, clean: bool
    ) -> list[View]:
        """The face, occluded or not; an occluded one at times with its clean pair, which is augmented alike.

        crop: (S, S, 3) uint8 RGB. landmarks: (5, 2) in its pixels. clean: whether the label says that no mask is worn.
        """
        # 1.5 times the pixels that the view needs are enough to draw on, and much faster than the whole crop.
        left, _, right, _ = self.preprocessing.crop_box
        side = min(crop.shape[0], round(self.size * 3 / 2 / (right - left)))
        landmarks = landmarks * (side / crop.shape[0])
        crop = resize(crop, side)
        transform = Transform.sample(rng, side, self.size, self.preprocessing)
        nothing = np.zeros(crop.shape[:2], np.float32)
        if rng.random() >= self.occlusion_probability:
            return [View(*transform.apply(crop, nothing), clean)]
        drawn = self.draw(crop, landmarks, rng, clean=clean)
        views = [View(*transform.apply(drawn.image, drawn.occlusion_mask), clean, drawn.mask)]
        if clean and rng.random() < self.clean_pair_probability:
            views.append(View(*transform.apply(crop, nothing), clean))
        return views

    def draw(
        self, crop: RGBImage, landmarks: npt.NDArray[np.float32], rng: np.random.Generator, *, clean: bool
    ) -> Drawn:
        """The crop with a random occlusion; clean: as in `views`."""
        style, position = _sample_style(rng)
        # A second mask over one that the image already shows would be wrong; a hand or a scarf is not.
        if not clean and occlusion.STYLES[style].is_mask:
            style = _choose(_OBJECTS, rng)
        drawn = occlusion.occlude(crop, landmarks, style, rng, position=position)
        return Drawn(drawn.image, drawn.occlusion_mask, drawn.mask if occlusion.STYLES[style].is_mask else None)


@dataclass(frozen=True)
class Transform:
    """One random change of geometry and color, to be applied to several images of a face alike.

    warp: (2, 3) affine matrix. gain (3,), offset: of the pixel values about middle grey. blur: standard deviation in
    pixels, or 0. noise: (size, size, 3) or None. border: pixels that become grey on the left, top, right and bottom.
    """

    size: int
    preprocessing: Preprocessing
    warp: npt.NDArray[np.float64]
    gain: npt.NDArray[np.float32]
    offset: float
    border: tuple[int, int, int, int]
    flip: bool
    grayscale: bool
    blur: float
    noise: npt.NDArray[np.float32] | None

    @classmethod
    def sample(cls, rng: np.random.Generator, side: int, size: int, preprocessing: Preprocessing) -> "Transform":
        """Of crops of side x side pixels, to views of size x size."""
        center = (side / 2, side / 2)
        warp: Any = cv2.getRotationMatrix2D(center, float(rng.normal(0, 4)), float(np.exp(rng.normal(0, 0.05))))
        warp[:, 2] += rng.normal(0, 0.02 * side, 2)
        gain = np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.04, 3)).astype(np.float32)
        offset = float(rng.normal(0, 10))
        if rng.random() < 0.1:  # a dark image: everything fainter, black stays black
            exposure = float(np.exp(rng.uniform(-1.5, 0)))
            gain, offset = (gain * exposure).astype(np.float32), 127.5 * (exposure - 1) + exposure * offset
        # Images that end near the face have grey at the crop's border; the network must not learn a data set from it.
        border = rng.integers(0, int(0.2 * side), 4) if rng.random() < 0.25 else np.zeros(4, int)
        left, top, right, bottom = (int(width) for width in border)
        return cls(
            size,
            preprocessing,
            warp,
            gain,
            offset,
            (left, top, right, bottom),
            flip=bool(rng.random() < 0.5),
            grayscale=bool(rng.random() < 0.05),
            blur=float(rng.uniform(0.3, 1.5)) * side / 96 if rng.random() < 0.15 else 0.0,
            noise=_sample_noise(rng, size) if rng.random() < 0.12 else None,
        )

    def apply(self, crop: RGBImage, mask: npt.NDArray[np.float32]) -> tuple[RGBImage, npt.NDArray[np.float32]]:
        """The transformed crop (size, size, 3) and occlusion mask (size, size), cut to the crop box."""
        side = crop.shape[0]
        left, top, right, bottom = self.border
        if any(self.border):
            inner = crop[top : side - bottom, left : side - right]
            crop = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GREY)
        image: Any = cv2.warpAffine(crop, self.warp, (side, side), flags=cv2.INTER_LINEAR, borderValue=_GREY)
        occluded: Any = mask
        if mask.any():
            occluded = cv2.warpAffine(mask, self.warp, (side, side), flags=cv2.INTER_LINEAR)
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        image, occluded = (self.preprocessing.extract(pixels, self.size) for pixels in (image, occluded))
        if self.grayscale:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        if self.noise is None:  # a lookup table does, and is faster
            image = cv2.LUT(image, self._adjust(np.arange(256, dtype=np.uint8)[None, :, None]))
        else:
            image = self._adjust(image, self.noise)
        if self.flip:
            image, occluded = image[:, ::-1], occluded[:, ::-1]
        return np.ascontiguousarray(image), np.ascontiguousarray(occluded)

    def _adjust(self, pixels: npt.NDArray[np.uint8], noise: npt.NDArray[np.float32] | None = None) -> RGBImage:
        values = (pixels - np.float32(127.5)) * self.gain + np.float32(127.5 + self.offset)
        return np.clip(values if noise is None else values + noise, 0, 255).astype(np.uint8)


def _sample_noise(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """Gaussian sensor noise (size, size, 3) with a standard deviation of 2 to 40 grey levels, log-uniform."""
    noise: npt.NDArray[np.float32] = rng.standard_normal((size, size, 3), np.float32)
    return noise * np.float32(np.exp(rng.uniform(np.log(2), np.log(40))))


def _sample_style(rng: np.random.Generator) -> tuple[str, str]:
    """A style and a mask position: masks twice as often as objects, three in ten masks worn incorrectly."""
    if rng.random() < 2 / 3:
        return _choose(_MASKS, rng), _choose(_POSITIONS, rng)
    return _choose(_OBJECTS, rng), "correct"


def _choose(shares: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def mixup(views: Sequence[Tensor]) -> list[Tensor]:
    """Half of the (R, S, S, 3) uint8 rows flipped, then each blended with another one (mixup, Zhang et al., 2018).

    views: of the same faces, mixed alike. The blending factor is drawn from Beta(1/2, 1/2), so that more rows look like
    a face than with a uniform one. Uses torch's generator.
    """
    rows, device = len(views[0]), views[0].device
    flipped = torch.rand(rows, 1, 1, 1, device=device) < 0.5
    factor = (torch.rand(rows, 1, 1, 1, device=device) * (math.pi / 2)).sin() ** 2
    order = torch.rand(rows, device=device).argsort()
    mixed = []
    for images in views:
        first = torch.where(flipped, images.flip(2), images).float()
        mixed.append(torch.lerp(first[order], first, factor).round().to(torch.uint8))
    return mixed
