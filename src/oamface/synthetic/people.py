"""Synthetic people: age, gender, race, mask and an identity, the seed of everything else about their appearance."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from oamface.datasets.readers.synthetic import RACES
from oamface.errors import SynthError
from oamface.labels import GENDERS, Label

AGES = (1, 95)  # years, both included
MASK_STYLES = ("surgical", "ffp2", "cloth", "black")
MASK_POSITIONS = ("correct", "below_nose", "on_chin")


@dataclass(frozen=True)
class Mask:
    """A face mask. style: of MASK_STYLES. position: of MASK_POSITIONS. Raises SynthError: an unknown one."""

    style: str
    position: str = "correct"

    def __post_init__(self) -> None:
        _check_names("mask style", [self.style], MASK_STYLES)
        _check_names("mask position", [self.position], MASK_POSITIONS)


@dataclass(frozen=True)
class Person:
    """One synthetic person. age: years, 1 to 95. gender: of GENDERS. race: of RACES. identity: a seed.

    With the same identity and another age, gender, race or mask it is the same person in every other respect.
    Raises SynthError: a value out of range or unknown.
    """

    age: int
    gender: str
    race: str
    identity: int
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if not AGES[0] <= self.age <= AGES[1]:
            raise SynthError(f"age {self.age}: expected {AGES[0]} to {AGES[1]} years")
        _check_names("gender", [self.gender], GENDERS)
        _check_names("race", [self.race], tuple(RACES))

    @property
    def label(self) -> Label:
        """The exact labels of the four tasks."""
        mask = "none" if self.mask is None else "worn" if self.mask.position == "correct" else "incorrect"
        return Label((self.age, self.age), frozenset({self.gender}), RACES[self.race], frozenset({mask}))


def balanced(
    count: int,
    *,
    seed: int = 0,
    ages: tuple[int, int] = (18, 80),
    races: Sequence[str] = tuple(RACES),
    genders: Sequence[str] = GENDERS,
    mask_share: float = 0.4,
) -> list[Person]:
    """People in random order, equally many of every age decade x gender x race, to one person.

    ages: first and last year, both included. mask_share: 0..1, the share with a mask, of every decade x gender x race;
    a fifth of the masks are not worn correctly.
    Raises SynthError: a count below 1, ages out of order or range, unknown or repeated names, a share out of range.
    """
    low, high = ages
    if count < 1:
        raise SynthError(f"count {count}: expected at least one person")
    if not AGES[0] <= low <= high <= AGES[1]:
        raise SynthError(f"ages {low}-{high}: expected years in order within {AGES[0]} to {AGES[1]}")
    _check_names("race", races, tuple(RACES))
    _check_names("gender", genders, GENDERS)
    if not 0 <= mask_share <= 1:
        raise SynthError(f"mask share {mask_share}: expected 0 to 1")
    rng = np.random.default_rng((seed, 1))
    decades = sorted({year // 10 for year in range(low, high + 1)})
    cells = list(product(decades, genders, races))
    order = rng.permutation(len(cells))
    people = []
    for number in range(count):
        lap, place = divmod(number, len(cells))
        decade, gender, race = cells[order[place]]
        # Within a cell masks are spread as evenly as the share allows; each cell starts at another phase.
        phase = order[place] / len(cells)
        masked = int((lap + 1) * mask_share + phase) > int(lap * mask_share + phase)
        age = int(rng.integers(max(low, 10 * decade), min(high, 10 * decade + 9) + 1))
        identity = int(rng.integers(2**31))
        position = str(rng.choice(MASK_POSITIONS, p=(0.8, 0.12, 0.08)))
        mask = Mask(str(rng.choice(MASK_STYLES, p=(0.45, 0.25, 0.15, 0.15))), position)
        people.append(Person(age, gender, race, identity, mask if masked else None))
    return [people[place] for place in rng.permutation(count)]


def _check_names(what: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown or not names or len(set(names)) < len(names):
        text = ", ".join(unknown or names) or "none"
        raise SynthError(f"{what} {text}: known are {', '.join(allowed)}, each at most once")
