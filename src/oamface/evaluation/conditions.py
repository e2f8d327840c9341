"""The conditions that faces are evaluated under: clean, occluded by styles held out from training, or corrupted."""

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oamface.evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from oamface.labels import RACES, WITHOUT_MASK, Label
from oamface.occlusion import HELD_OUT, MASK_POSITIONS, STYLES, Occluded, occlude

if TYPE_CHECKING:  # model cards read this module where pyarrow is not installed
    from oamface.datasets.store import Store


@dataclass(frozen=True)
class Condition:
    """styles: the occlusions, one of them drawn on each face; none for a clean face. positions: how masks are worn.

    corruption: a name in CORRUPTIONS, or "" for none. strength: one of STRENGTHS.
    """

    styles: tuple[str, ...] = ()
    positions: tuple[str, ...] = (MASK_POSITIONS[0],)
    corruption: str = ""
    strength: int = 0


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
    f"{name}_{strength}": Condition(corruption=name, strength=strength)
    for name in CORRUPTIONS
    for strength in STRENGTHS
}
CORE = {CLEAN: Condition(), **OCCLUDED}  # what every model is evaluated under, with all metrics
CONDITIONS = CORE | TRAINING_OCCLUDED | CORRUPTED


CORRUPTED_FACES = 500  # of each data set


def select_rows(store: "Store", split: str, condition: Condition) -> list[int]:
    """Rows of a split that the condition applies to.

    Occlusions are drawn only on faces labelled as without mask. Corrupted are CORRUPTED_FACES faces with labels of age,
    gender and race, always the same ones.
    """
    rows = [row for row, row_split in enumerate(store.splits) if row_split == split]
    if condition.styles:
        return [row for row in rows if store.labels[row].mask == WITHOUT_MASK]
    if condition.corruption:
        labelled = [row for row in rows if _is_labelled(store.labels[row])]
        chosen = sorted(labelled, key=lambda row: (zlib.crc32(store.names[row].encode()), row))[:CORRUPTED_FACES]
        return sorted(chosen)
    return rows


def _is_labelled(label: Label) -> bool:
    return label.age != Label().age and len(label.gender) == 1 and len(label.race) < len(RACES)


def apply_condition(store: "Store", row: int, condition: Condition, *, seed: int = 0) -> Occluded:
    """One face of a store under a condition; the same for the same store, row, condition and seed."""
    crop = np.array(store.crops[row])
    if condition.styles:
        rng = np.random.default_rng((seed, row))
        style, position = str(rng.choice(condition.styles)), str(rng.choice(condition.positions))
        return occlude(crop, store.landmarks[row], style, rng, position=position)
    if condition.corruption:
        rng = np.random.default_rng((seed, row, zlib.crc32(condition.corruption.encode())))
        crop = corrupt(crop, condition.corruption, condition.strength, rng)
    return Occluded(crop, np.zeros(crop.shape[:2], np.float32), "none")
