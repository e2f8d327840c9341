"""Under which conditions faces are looked at: bare, covered with what training never drew, or through a bad camera."""

import zlib
from dataclasses import dataclass

import numpy as np

from oamface.datasets.store import Store
from oamface.evaluation.corruptions import CAMERA
from oamface.labels import WITHOUT_MASK
from oamface.occlusion import HELD_OUT, STYLES, WEARS, Occluded, draw


@dataclass(frozen=True)
class Condition:
    """styles: what faces are covered with, one of them each; none means bare. wears: how masks are worn.

    damage, strength: what the camera does, a name in CAMERA, and how much of it.
    """

    styles: tuple[str, ...] = ()
    wears: tuple[str, ...] = (WEARS[0],)
    damage: str = ""
    strength: float = 0.0


_MASKS = tuple(style for style in HELD_OUT if STYLES[style].mask)
CLEAN = "clean"
COVERED = {
    "masks": Condition(_MASKS),
    "masks_worn_wrongly": Condition(_MASKS, WEARS[1:]),
    "objects": Condition(tuple(style for style in HELD_OUT if not STYLES[style].mask)),
}
SEEN = {  # things that training draws too, on faces that it never saw: what does a mask get confused with?
    "transparent_masks": Condition(("transparent",)),
    "accessories": Condition(tuple(name for name, style in STYLES.items() if not style.mask and not style.held_out)),
}
CORE = {CLEAN: Condition(), **COVERED}  # what every model is measured under, with all metrics
DAMAGED = {
    f"{name}_{strength:g}": Condition(damage=name, strength=strength)
    for name, damage in CAMERA.items()
    for strength in damage.strengths
}
CONDITIONS = CORE | SEEN | DAMAGED


def rows_of(store: Store, split: str, condition: Condition) -> list[int]:
    """The faces of a split that the condition fits: things are drawn only on faces known to be bare."""
    return [
        row
        for row, name in enumerate(store.splits)
        if name == split and (not condition.styles or store.labels[row].mask == WITHOUT_MASK)
    ]


def view(store: Store, row: int, condition: Condition, *, seed: int = 0) -> Occluded:
    """One face under a condition; the same store, row, condition and seed always give the same image."""
    crop = np.array(store.crops[row])
    nothing = Occluded(crop, np.zeros(crop.shape[:2], np.float32), "none")
    if condition.damage:
        rng = np.random.default_rng((seed, row, zlib.crc32(condition.damage.encode())))
        image = CAMERA[condition.damage].change(crop, condition.strength, rng)
        return Occluded(image, nothing.coverage, nothing.mask)
    if not condition.styles:
        return nothing
    rng = np.random.default_rng((seed, row))
    style, wear = str(rng.choice(condition.styles)), str(rng.choice(condition.wears))
    return draw(crop, store.landmarks[row], style, rng, wear=wear)
