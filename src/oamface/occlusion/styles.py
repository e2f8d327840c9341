"""The styles of occluders, and `occlude`, which draws one of them over a face."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oamface.errors import LabelError
from oamface.images import RGBImage, check_image
from oamface.occlusion import masks, objects
from oamface.occlusion.canvas import Canvas, FloatArray
from oamface.occlusion.face_frame import FaceFrame
from oamface.occlusion.positions import POSITIONS

MASK_POSITIONS = tuple(POSITIONS)  # correct first


@dataclass(frozen=True)
class Style:
    """One kind of occluder. is_mask: a face mask. held_out: used in evaluation alone, never in training."""

    paint: Callable[..., None]
    is_mask: bool
    held_out: bool = False


STYLES = {
    "surgical": Style(masks.surgical, is_mask=True),
    "cloth": Style(masks.cloth, is_mask=True),
    "polyurethane": Style(masks.polyurethane, is_mask=True),
    "transparent": Style(masks.transparent, is_mask=True),
    "respirator": Style(masks.respirator, is_mask=True, held_out=True),
    "checked": Style(masks.checked, is_mask=True, held_out=True),
    "sunglasses": Style(objects.sunglasses, is_mask=False),
    "scarf": Style(objects.scarf, is_mask=False),
    "hand": Style(objects.hand, is_mask=False),
    "hair": Style(objects.hair, is_mask=False),
    "patch": Style(objects.patch, is_mask=False),
    "beard": Style(objects.beard, is_mask=False),
    "helmet": Style(objects.helmet, is_mask=False),
    "phone": Style(objects.phone, is_mask=False, held_out=True),
}
HELD_OUT = tuple(name for name, style in STYLES.items() if style.held_out)


@dataclass(frozen=True)
class Occluded:
    """An image with an occluder. image: (H, W, 3) uint8 RGB. style: one of STYLES, or "" for none.

    occlusion_mask: (H, W) float32, from 0 where the face shows to 1 where it is hidden; exact.
    mask: the class of the mask task: "none", "incorrect" (nose or mouth left free) or "worn".
    """

    image: RGBImage
    occlusion_mask: FloatArray
    mask: str
    style: str = ""


def occlude(
    image: RGBImage, landmarks: npt.ArrayLike, style: str, rng: np.random.Generator, *, position: str = "correct"
) -> Occluded:
    """Draw an occluder over the face of an (H, W, 3) uint8 RGB image with five landmarks (5, 2) in its pixels.

    The same image, style and generator state give the same result. position: one of MASK_POSITIONS; objects ignore it.
    Raises ImageError, FaceError, LabelError (an unknown style or position).
    """
    if style not in STYLES:
        raise LabelError(f"style {style!r}: known are {', '.join(STYLES)}")
    if position not in MASK_POSITIONS:
        raise LabelError(f"position {position!r}: known are {', '.join(MASK_POSITIONS)}")
    canvas = Canvas(check_image(image), FaceFrame(landmarks), rng)
    if not STYLES[style].is_mask:
        STYLES[style].paint(canvas)
        mask = "none"
    else:
        STYLES[style].paint(canvas, position)
        mask = "worn" if position == "correct" else "incorrect"
    return Occluded(canvas.image(), np.clip(canvas.occlusion_mask, 0, 1), mask, style)
