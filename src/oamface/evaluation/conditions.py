"""The conditions that faces are evaluated under: clean, occluded by styles held out from training, or corrupted."""

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oamface.evaluation.corruptions import CORRUPTIONS
from oamface.labels import WITHOUT_MASK
from oamface.occlusion import HELD_OUT, MASK_POSITIONS, STYLES, Occluded, occlude

if TYPE_CHECKING:  # model cards read this module where pyarrow is not installed
    from oamface.datasets.store import Store


@dataclass(frozen=True)
class Condition:
    """styles: the occlusions, one of them drawn on each face; none for a clean face. positions: how masks are worn.

    corruption: a name in CORRUPTIONS, or "" for none. strength: in the corruption's unit.
    """

    styles: tuple[str, ...] = ()
    positions: tuple[str, ...] = (MASK_POSITIONS[0],)
    corruption: str = ""
    strength: float = 0.0


_MASKS = tuple(style for style in HELD_OUT if STYLES[style].is_mask)
CLEAN = "clean"
OCCLUDED = {
    "masks": Condition(_MASKS),
    "masks_worn_wrongly": Condition(_MASKS, MASK_POSITIONS[1:]),
    "objects": Condition(tuple(style for style in HELD_OUT if not STYLES[style].is_mask)),
}
TRAINING_OCCLUDED = {  # styles that training draws too, on other faces
    "transparent_masks": Condition(("transparent",)),
    "accessories": Condition(tuple(name for name, style in STYLES.items() if not style.is_mask and not style.held_out)),
}
CORRUPTED = {
    f"{name}_{strength:g}": Condition(corruption=name, strength=strength)
    for name, corruption in CORRUPTIONS.items()
    for strength in corruption.strengths
}
CORE = {CLEAN: Condition(), **OCCLUDED}  # what every model is evaluated under, with all metrics
CONDITIONS = CORE | TRAINING_OCCLUDED | CORRUPTED


def select_rows(store: "Store", split: str, condition: Condition) -> list[int]:
    """Rows of a split that the condition applies to: occlusions are drawn only on faces labelled as without mask."""
    return [
        row
        for row, row_split in enumerate(store.splits)
        if row_split == split and (not condition.styles or store.labels[row].mask == WITHOUT_MASK)
    ]


def apply_condition(store: "Store", row: int, condition: Condition, *, seed: int = 0) -> Occluded:
    """One face of a store under a condition; the same for the same store, row, condition and seed."""
    crop = np.array(store.crops[row])
    if condition.styles:
        rng = np.random.default_rng((seed, row))
        style, position = str(rng.choice(condition.styles)), str(rng.choice(condition.positions))
        return occlude(crop, store.landmarks[row], style, rng, position=position)
    if condition.corruption:
        rng = np.random.default_rng((seed, row, zlib.crc32(condition.corruption.encode())))
        crop = CORRUPTIONS[condition.corruption].apply(crop, condition.strength, rng)
    return Occluded(crop, np.zeros(crop.shape[:2], np.float32), "none")
