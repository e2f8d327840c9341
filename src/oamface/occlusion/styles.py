"""One call that covers a face, and the table of what can cover it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oamface.errors import LabelError
from oamface.images import RGBImage, check_image
from oamface.occlusion import masks, objects
from oamface.occlusion.canvas import Canvas, FloatArray
from oamface.occlusion.face_frame import FaceFrame

WEARS = tuple(masks.TOPS)  # right, nose (left free), chin (alone)


@dataclass(frozen=True)
class Style:
    """Something to cover a face with. mask: whether it is a face mask. held_out: for evaluation, never trained on."""

    paint: Callable[..., None]
    mask: bool
    held_out: bool = False


STYLES = {
    "surgical": Style(masks.surgical, mask=True),
    "cloth": Style(masks.cloth, mask=True),
    "polyurethane": Style(masks.polyurethane, mask=True),
    "transparent": Style(masks.transparent, mask=True),
    "respirator": Style(masks.respirator, mask=True, held_out=True),
    "checked": Style(masks.checked, mask=True, held_out=True),
    "sunglasses": Style(objects.sunglasses, mask=False),
    "scarf": Style(objects.scarf, mask=False),
    "hand": Style(objects.hand, mask=False),
    "hair": Style(objects.hair, mask=False),
    "patch": Style(objects.patch, mask=False),
    "phone": Style(objects.phone, mask=False, held_out=True),
}
HELD_OUT = tuple(name for name, style in STYLES.items() if style.held_out)


@dataclass(frozen=True)
class Occluded:
    """A covered face. image: (H, W, 3) uint8 RGB. coverage: (H, W) float32, 0 bare to 1 hidden, exact by construction.

    mask: what a label would say: "none", "incorrect" (nose or mouth left free) or "worn". style: what was drawn.
    """

    image: RGBImage
    coverage: FloatArray
    mask: str
    style: str = ""


def draw(
    image: RGBImage, landmarks: npt.ArrayLike, style: str, rng: np.random.Generator, *, wear: str = "right"
) -> Occluded:
    """Cover the face of an (H, W, 3) uint8 RGB image whose five landmarks (5, 2) are given in its pixels.

    The same image, style and generator state give the same result. wear: one of WEARS, for masks alone.
    Raises ImageError, FaceError, or LabelError for an unknown style or wear.
    """
    if style not in STYLES or wear not in WEARS:
        raise LabelError(f"style {style!r}, wear {wear!r}: known are {', '.join(STYLES)} and {', '.join(WEARS)}")
    canvas = Canvas(check_image(image), FaceFrame(landmarks), rng)
    chosen = STYLES[style]
    if chosen.mask:
        chosen.paint(canvas, wear)
    else:
        chosen.paint(canvas)
    mask = "none" if not chosen.mask else "worn" if wear == "right" else "incorrect"
    return Occluded(canvas.image(), np.clip(canvas.coverage, 0, 1), mask, style)
