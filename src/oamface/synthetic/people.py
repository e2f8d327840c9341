"""Who is drawn: people as a few facts and a number, from which everything about their looks follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from oamface.errors import SynthError
from oamface.labels import GENDERS, SYNTH_RACES, Label
from oamface.synthetic.head import CHANGES, PAIRED, stage_of
from oamface.synthetic.raster import FloatArray
from oamface.synthetic.skin import CREASES, lab_to_linear, tone

# Individual typology angles in degrees. The scale and its classes (very light above 55, light 41, intermediate 28,
# tan 10, brown -30, dark) are Chardon et al. (1991) and Del Bino et al. (2006); where each ancestry lies is our choice.
TONES = {"White": (26.0, 60.0), "Black": (-58.0, 18.0), "Asian": (16.0, 50.0)}
MASKS = ("surgical", "ffp2", "cloth", "black")
WEARS = ("right", "nose", "chin")
HAIR = {
    "black": (0.012, 0.010, 0.009),
    "dark brown": (0.032, 0.020, 0.013),
    "brown": (0.075, 0.042, 0.022),
    "fair": (0.28, 0.18, 0.085),
    "red": (0.17, 0.058, 0.020),
}
_HAIR_SHARES = {"White": (0.1, 0.3, 0.33, 0.19, 0.08), "Black": (0.85, 0.15, 0, 0, 0), "Asian": (0.75, 0.25, 0, 0, 0)}
# How grown women's faces differ from what gender alone does to the mesh, in steps of MakeHuman's modifiers.
_WOMEN = {
    **dict.fromkeys(("chin-width-incr", "chin-bones-incr", "nose-volume-incr", "nose-scale-horiz-incr"), -0.3),
    **dict.fromkeys(("neck-scale-horiz-incr", "neck-scale-depth-incr", "chin-height-incr"), -0.3),
    **dict.fromkeys(("mouth-upperlip-volume-incr", "mouth-lowerlip-volume-incr", "eyebrows-trans-up"), 0.3),
    **dict.fromkeys(("eye-scale-incr", "eye-height2-incr", "cheek-bones-incr"), 0.45),
}
_IRIS = {
    "brown": (0.060, 0.028, 0.012),
    "hazel": (0.13, 0.085, 0.03),
    "green": (0.11, 0.13, 0.06),
    "blue": (0.10, 0.17, 0.27),
    "grey": (0.17, 0.19, 0.21),
}
_GREY = np.array((0.44, 0.43, 0.41))
# When each crease begins, how many years it takes to be whole, and how deep it then is.
_AGEING = {
    "forehead": (22, 46, 1.0),
    "frown": (26, 44, 0.9),
    "crow": (23, 38, 1.1),
    "bag": (25, 42, 1.1),
    "fold": (17, 48, 1.1),
    "marionette": (33, 42, 1.1),
    "lip": (45, 34, 0.9),
    "cheek": (46, 34, 1.0),
    "neck": (35, 42, 1.0),
}


@dataclass(frozen=True)
class Mask:
    """style: of MASKS. wear: of WEARS: "right", under the "nose", or on the "chin" alone."""

    style: str
    wear: str = "right"

    def __post_init__(self) -> None:
        if self.style not in MASKS or self.wear not in WEARS:
            known = f"styles {', '.join(MASKS)}; wears {', '.join(WEARS)}"
            raise SynthError(f"mask {self.style!r}, {self.wear!r}: known are {known}")


@dataclass(frozen=True)
class Person:
    """age: years, 1 to 95. gender: of GENDERS. race: of SYNTH_RACES. identity: the number that all else follows from.

    With the same identity and another age, gender, race or mask it is the same person in every other respect.
    Raises SynthError.
    """

    age: int
    gender: str
    race: str
    identity: int
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if not AGES[0] <= self.age <= AGES[1]:
            raise SynthError(f"age {self.age}: heads are known from {AGES[0]} to {AGES[1]} years")
        if self.gender not in GENDERS:
            raise SynthError(f"gender {self.gender!r}: known are {', '.join(GENDERS)}")
        if self.race not in SYNTH_RACES:
            raise SynthError(f"race {self.race!r}: known are {', '.join(SYNTH_RACES)}")

    @property
    def label(self) -> Label:
        """What is true of them, in the classes of the four tasks."""
        worn = "none" if self.mask is None else ("worn" if self.mask.wear == "right" else "incorrect")
        gender, mask = frozenset({self.gender}), frozenset({worn})
        return Label(age=(self.age, self.age), gender=gender, race=SYNTH_RACES[self.race], mask=mask)


AGES = (1, 95)


def balanced(
    count: int,
    *,
    seed: int = 0,
    ages: tuple[int, int] = (18, 80),
    races: Sequence[str] = tuple(SYNTH_RACES),
    genders: Sequence[str] = GENDERS,
    mask_share: float = 0.4,
) -> list[Person]:
    """People in random order, equally many of every age decade x gender x race, and masked ones in each: to one person.

    ages: first and last year, both included. mask_share: 0..1; a fifth of the masked wear it wrongly.
    Raises SynthError: no people asked for, ages out of order or range, unknown or repeated races, a share beyond 0..1.
    """
    low, high = ages
    if count < 1:
        raise SynthError(f"count {count}: at least one person")
    if not AGES[0] <= low <= high <= AGES[1]:
        raise SynthError(f"ages {low}-{high}: expected years in order within {AGES[0]} to {AGES[1]}")
    for what, named, known in (("race", races, tuple(SYNTH_RACES)), ("gender", genders, GENDERS)):
        wrong = [name for name in named if name not in known]
        if wrong or not named or len(set(named)) < len(named):
            raise SynthError(f"{what}: {', '.join(wrong or named) or 'none'}; known are {', '.join(known)}, each once")
    if not 0 <= mask_share <= 1:
        raise SynthError(f"mask share {mask_share}: expected 0 to 1")
    rng = np.random.default_rng((seed, 1))
    decades = sorted({year // 10 for year in range(low, high + 1)})
    cells = list(product(decades, genders, races))
    order = rng.permutation(len(cells))
    people = []
    for number in range(count):
        lap, at = divmod(number, len(cells))
        decade, gender, race = cells[order[at]]
        # Within a cell masks fall due as evenly as the share allows; each cell starts at another point of the cycle.
        phase = order[at] / len(cells)
        masked = int((lap + 1) * mask_share + phase) > int(lap * mask_share + phase)
        age = int(rng.integers(max(low, 10 * decade), min(high, 10 * decade + 9) + 1))
        identity = int(rng.integers(2**31))
        wear = str(rng.choice(WEARS, p=(0.8, 0.12, 0.08)))
        mask = Mask(str(rng.choice(MASKS, p=(0.45, 0.25, 0.15, 0.15))), wear)
        people.append(Person(age, gender, race, identity, mask if masked else None))
    return [people[place] for place in rng.permutation(count)]


@dataclass(frozen=True)
class Look:
    """How a person looks, all that the drawing needs but the shape. Colours are linear RGB reflectances.

    creases: depth of each of CREASES. hair: style, see hair.STYLES; thin, recede: 0..1. beard: style or "".
    stubble: 0..1. glasses: "", "thin", "thick" or "dark".
    """

    age: int
    female: float
    identity: int
    skin: FloatArray
    blush: float
    lips: FloatArray
    lipstick: float
    creases: FloatArray
    crepe: float
    spots: int
    freckles: int
    mottle: float
    shine: float
    iris: FloatArray
    sclera: FloatArray
    hair: str
    hair_colour: FloatArray
    recede: float
    thin: float
    beard: str
    beard_colour: FloatArray
    stubble: float
    brow: float
    brow_colour: FloatArray
    glasses: str
    frame: FloatArray
    clothes: FloatArray
    collar: float


def phenotypes(person: Person) -> dict[str, float]:
    """anny's phenotypes."""
    draw = _draws(person, 2).normal(0, 1, 8)
    others = [name for name in SYNTH_RACES if name != person.race]
    mixed = 0.06 * abs(draw[0])  # nobody is of the anchor alone
    shares = {person.race: 1 - min(mixed, 0.15), others[0]: min(mixed, 0.15) / 2, others[1]: min(mixed, 0.15) / 2}
    female = 0.0 if person.gender == "male" else 1.0
    return {
        "gender": float(np.clip(female + (0.5 - female) * 0.12 * abs(draw[1]), 0, 1)),
        "age": float(stage_of(person.age)),
        "muscle": float(np.clip(0.5 + 0.14 * draw[2], 0.1, 0.9)),
        "weight": float(np.clip(0.5 + 0.16 * draw[3], 0.1, 0.95)),
        "height": 0.5,
        "proportions": float(np.clip(0.6 + 0.15 * draw[4], 0, 1)),
        "african": shares["Black"],
        "asian": shares["Asian"],
        "caucasian": shares["White"],
    }


def changes(person: Person) -> dict[str, float]:
    """What sets the head apart from others of its kind; paired features differ a little between the sides."""
    rng = _draws(person, 3)
    child = 0.6 if person.age < 12 else 1.0
    woman = float(np.interp(person.age, (10, 17), (0, 1))) if person.gender == "female" else 0.0
    values = {
        name: child * deviation * _bounded(rng) + woman * _WOMEN.get(name, 0.0) for name, deviation in CHANGES.items()
    }
    for name, deviation in PAIRED.items():
        both = deviation * _bounded(rng) + woman * _WOMEN.get(name, 0.0)
        for side in "lr":
            values[f"{side}-{name}"] = child * (both + 0.1 * _bounded(rng))
    return values


def look(person: Person) -> Look:
    """The rest of a person's looks. The same draws are made whoever it is, so that one fact changes nothing else."""
    rng = _draws(person, 4)
    u, n = rng.random(32), rng.normal(0, 1, 32).clip(-2.2, 2.2)
    age, race, male = person.age, person.race, person.gender == "male"
    old = np.clip((age - 30) / 60, 0, 1)
    low, high = TONES[race]
    angle = low + (high - low) * _between(u[0])
    skin = tone(angle - 3 * old, 15.5 + 1.6 * n[0] + 1.5 * old, (9.5 if race != "Black" else 10.5) + 1.3 * n[1])
    creases = np.array(
        [_ageing(age, *_AGEING[name]) * np.exp(0.22 * n[2 + k]) for k, name in enumerate(CREASES)], np.float32
    )
    names = list(HAIR)
    natural = np.array(HAIR[names[_pick(u[1], _HAIR_SHARES[race])]]) * np.exp(0.15 * n[12])
    if age < 8 and race == "White":
        natural = natural * 1.6  # children's hair is lighter
    greying = 1 / (1 + np.exp(-(age - 52 - 6 * n[13] - (4 if race == "Black" else 0)) / 5.5))
    dyed = not male and u[2] < 0.25 and age < 75
    grey = 0.15 * greying if dyed else greying
    whiter = _GREY * (1 + 0.45 * np.clip((age - 62) / 25, 0, 1))
    hair = (1 - grey) * natural + grey * whiter
    brow = (1 - 0.75 * greying) * natural + 0.75 * greying * whiter
    balding = np.clip((age - 25) / 90 + 0.28 * n[14], 0, 1) * (u[3] < 0.8) if male else 0.0
    light = race == "White"
    iris = _IRIS[list(_IRIS)[_pick(u[4], (0.42, 0.17, 0.09, 0.25, 0.07) if light else (1, 0, 0, 0, 0))]]
    beard = ""
    if male and age >= 18:
        # Beards of East Asian men are sparser, so that fewer wear a full one.
        beards = (0.78, 0.06, 0.08, 0.08) if race == "Asian" else (0.66, 0.17, 0.1, 0.07)
        beard = ("", "full", "goatee", "moustache")[_pick(u[5], beards)]
    share = np.clip((age - 13) / 6, 0, 1) if male else 0.0
    wears = u[6] < (0.08 if age < 40 else 0.3 if age < 60 else 0.42) and age > 5
    return Look(
        age=age,
        female=0.0 if male else 1.0,
        identity=person.identity,
        skin=skin,
        blush=float(0.5 + 0.25 * n[15] + (0.35 if age < 12 else 0)),
        lips=_lips(skin, old, n[16]),
        lipstick=float(0.35 + 0.5 * u[7]) if not male and 16 < age < 85 and u[8] < 0.4 else 0.0,
        creases=creases,
        crepe=float(np.clip((age - 36) / 44, 0, 1.15)),
        spots=int(np.clip((age - 38) / 45, 0, 1) * (10 + 26 * u[9])),
        freckles=int(90 * u[10]) if race == "White" and u[11] < 0.25 else 0,
        mottle=float(0.5 + 0.9 * old + 0.15 * n[17]),
        shine=float(np.clip(0.8 + 0.25 * n[18] - 0.35 * old, 0.2, 1.4)),
        iris=(np.array(iris) * np.exp(0.2 * n[19])).astype(np.float32),
        sclera=np.array((0.80, 0.775 - 0.05 * old, 0.74 - 0.14 * old), np.float32) * (0.92 if race == "Black" else 1),
        hair=_hair(age, male, race, balding, u[12], u[13]),
        hair_colour=hair.astype(np.float32),
        recede=float(balding),
        thin=float(np.clip((age - 55) / 50 + (0.5 * balding), 0, 0.8)),
        beard=beard,
        beard_colour=((1 - min(1, 1.15 * greying)) * natural + min(1, 1.15 * greying) * whiter).astype(np.float32),
        stubble=float(share * (0.25 + 0.6 * u[14])),
        brow=float((1.0 if male else 0.68) * (1 + 0.15 * n[20]) * (0.55 if age < 6 else 1) * (1 - 0.3 * old)),
        brow_colour=brow.astype(np.float32),
        glasses=("thin", "thick", "dark")[_pick(u[15], (0.55, 0.41, 0.04))] if wears else "",
        frame=lab_to_linear((8 + 40 * u[16] ** 2, 25 * (u[17] - 0.4), 25 * (u[18] - 0.4))),
        clothes=lab_to_linear((15 + 75 * u[19], 50 * (u[20] - 0.5) * u[21], 60 * (u[22] - 0.5) * u[21])),
        collar=float(u[23]),
    )


def _draws(person: Person, what: int) -> np.random.Generator:
    return np.random.default_rng((person.identity, what))


def _bounded(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(), -2, 2))


def _between(value: float) -> float:
    """Uniform to something rarer at both ends."""
    return float(value + 0.5 * np.sin(2 * np.pi * value) / (2 * np.pi) * -1)


def _pick(value: float, shares: Sequence[float]) -> int:
    whole = np.cumsum(shares)
    return int(np.searchsorted(whole / whole[-1], value, side="right").clip(0, len(shares) - 1))


def _ageing(age: int, begins: float, takes: float, whole: float) -> float:
    return float(whole * np.clip((age - begins) / takes, 0, 1.3))


def _lips(skin: FloatArray, old: float, drawn: float) -> FloatArray:
    ratio = np.array((0.92, 0.60, 0.62)) if skin.mean() > 0.12 else np.array((0.98, 0.72, 0.76))
    return (skin * (ratio + (1 - ratio) * 0.45 * old) * (1 + 0.05 * drawn)).astype(np.float32)


def _hair(age: int, male: bool, race: str, balding: float, u: float, v: float) -> str:
    """A hair style by age, gender and race; see hair.STYLES."""
    if age < 3:
        return "down"
    if male:
        if balding > 0.82 or (balding > 0.5 and v < 0.4):
            return "shaved" if v < 0.55 else "ring"
        if race == "Black":
            return ("buzz", "coils", "afro", "shaved")[_pick(u, (0.5, 0.32, 0.06 if age < 60 else 0.02, 0.12))]
        return ("short", "side", "buzz", "curls", "medium")[
            _pick(u, (0.42, 0.28, 0.12, 0.1, 0.08 if age < 60 else 0.02))
        ]
    if race == "Black":
        shares = (0.12, 0.22, 0.14, 0.3, 0.22) if age < 60 else (0.3, 0.1, 0.2, 0.16, 0.24)
        return ("coils", "afro", "bun", "long", "bob")[_pick(u, shares)]
    shares = (0.46, 0.26, 0.1, 0.03, 0.15) if age < 55 else (0.14, 0.36, 0.12, 0.2, 0.18)
    return ("long", "bob", "bun", "short", "waves")[_pick(u, shares)]
