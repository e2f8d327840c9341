"""Under which conditions faces are looked at: bare, or covered with what training never drew."""

from dataclasses import dataclass

import numpy as np

from oamface.data.store import Store
from oamface.labels import WITHOUT_MASK
from oamface.occlusion import HELD_OUT, STYLES, WEARS, Occluded, draw


@dataclass(frozen=True)
class Condition:
    """styles: what faces are covered with, one of them each; none means bare. wears: how masks are worn."""

    styles: tuple[str, ...] = ()
    wears: tuple[str, ...] = (WEARS[0],)


_MASKS = tuple(style for style in HELD_OUT if STYLES[style].mask)
CLEAN = "clean"
CONDITIONS = {
    CLEAN: Condition(),
    "masks": Condition(_MASKS),
    "masks_worn_wrongly": Condition(_MASKS, WEARS[1:]),
    "objects": Condition(tuple(style for style in HELD_OUT if not STYLES[style].mask)),
}


def rows_of(store: Store, split: str, condition: Condition) -> list[int]:
    """The faces of a split that the condition fits: things are drawn only on faces known to be bare."""
    return [
        row
        for row, name in enumerate(store.splits)
        if name == split and (not condition.styles or store.labels[row].mask == WITHOUT_MASK)
    ]


def view(store: Store, row: int, condition: Condition, *, seed: int = 0) -> Occluded:
    """One face under a condition; the same store, row, condition and seed always give the same picture."""
    chip = np.array(store.chips[row])
    if not condition.styles:
        return Occluded(chip, np.zeros(chip.shape[:2], np.float32), "none")
    rng = np.random.default_rng((seed, row))
    style, wear = str(rng.choice(condition.styles)), str(rng.choice(condition.wears))
    return draw(chip, store.landmarks[row], style, rng, wear=wear)
