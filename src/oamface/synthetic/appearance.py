"""What a person looks like: the shape of the head, and skin, hair, eyes, glasses and clothes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oamface.datasets.readers.synthetic import RACES
from oamface.synthetic.head import CHANGES, PAIRED_CHANGES, age_stage
from oamface.synthetic.people import Person
from oamface.synthetic.raster import FloatArray
from oamface.synthetic.skin import CREASES, lab_to_linear, tone

# Individual typology angles in degrees. The scale and its classes (very light above 55, light 41, intermediate 28,
# tan 10, brown -30, dark) are Chardon et al. (1991) and Del Bino et al. (2006); where each ancestry lies is our choice.
TONES = {"White": (26.0, 60.0), "Black": (-58.0, 18.0), "Asian": (16.0, 50.0)}
HAIR_COLOURS = {
    "black": (0.012, 0.010, 0.009),
    "dark brown": (0.032, 0.020, 0.013),
    "brown": (0.075, 0.042, 0.022),
    "fair": (0.28, 0.18, 0.085),
    "red": (0.17, 0.058, 0.020),
}
_HAIR_COLOUR_SHARES = {
    "White": (0.1, 0.3, 0.33, 0.19, 0.08),
    "Black": (0.85, 0.15, 0, 0, 0),
    "Asian": (0.75, 0.25, 0, 0, 0),
}
# MakeHuman's modifiers of adult women, beside what gender alone does to the mesh.
_FEMALE_CHANGES = {
    **dict.fromkeys(("chin-width-incr", "chin-bones-incr", "nose-volume-incr", "nose-scale-horiz-incr"), -0.3),
    **dict.fromkeys(("neck-scale-horiz-incr", "neck-scale-depth-incr", "chin-height-incr"), -0.3),
    **dict.fromkeys(("mouth-upperlip-volume-incr", "mouth-lowerlip-volume-incr", "eyebrows-trans-up"), 0.3),
    **dict.fromkeys(("eye-scale-incr", "eye-height2-incr", "cheek-bones-incr"), 0.45),
}
_IRIS_COLOURS = {
    "brown": (0.060, 0.028, 0.012),
    "hazel": (0.13, 0.085, 0.03),
    "green": (0.11, 0.13, 0.06),
    "blue": (0.10, 0.17, 0.27),
    "grey": (0.17, 0.19, 0.21),
}
_GREY = np.array((0.44, 0.43, 0.41))
# The age at which each crease begins, the years it takes to develop, and its depth then.
_CREASE_ONSETS = {
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
class Appearance:
    """What a person looks like, except for the head's shape. Colours are linear RGB reflectances.

    female: 0 or 1. lipstick, thin (hair), recede (hairline), stubble, collar: 0..1. creases: depth of each of CREASES.
    spots, freckles: how many. hair: one of hair.STYLES. beard: "", "full", "goatee" or "moustache".
    glasses: "", "thin", "thick" or "dark"; frame: their colour. The others are strengths of about 0 to 1.5.
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
    """The person's values of anny's phenotypes, each 0..1."""
    draw = _rng(person, 2).normal(0, 1, 8)
    others = [name for name in RACES if name != person.race]
    mixed = min(0.06 * abs(draw[0]), 0.15)  # nobody has one ancestry alone
    shares = {person.race: 1 - mixed, others[0]: mixed / 2, others[1]: mixed / 2}
    female = 0.0 if person.gender == "male" else 1.0
    return {
        "gender": float(np.clip(female + (0.5 - female) * 0.12 * abs(draw[1]), 0, 1)),
        "age": float(age_stage(person.age)),
        "muscle": float(np.clip(0.5 + 0.14 * draw[2], 0.1, 0.9)),
        "weight": float(np.clip(0.5 + 0.16 * draw[3], 0.1, 0.95)),
        "height": 0.5,
        "proportions": float(np.clip(0.6 + 0.15 * draw[4], 0, 1)),
        "african": shares["Black"],
        "asian": shares["Asian"],
        "caucasian": shares["White"],
    }


def shape_changes(person: Person) -> dict[str, float]:
    """The person's values of CHANGES and, for each side of the face, of PAIRED_CHANGES."""
    rng = _rng(person, 3)
    strength = 0.6 if person.age < 12 else 1.0
    woman = float(np.interp(person.age, (10, 17), (0, 1))) if person.gender == "female" else 0.0
    values = {
        name: strength * std * _bounded_normal(rng) + woman * _FEMALE_CHANGES.get(name, 0.0)
        for name, std in CHANGES.items()
    }
    for name, std in PAIRED_CHANGES.items():
        both = std * _bounded_normal(rng) + woman * _FEMALE_CHANGES.get(name, 0.0)
        for side in "lr":
            values[f"{side}-{name}"] = strength * (both + 0.1 * _bounded_normal(rng))
    return values


def derive_appearance(person: Person) -> Appearance:
    """The person's appearance. Every draw is made for everyone, so that changing one attribute changes nothing else."""
    rng = _rng(person, 4)
    u, n = rng.random(32), rng.normal(0, 1, 32).clip(-2.2, 2.2)
    age, race, male = person.age, person.race, person.gender == "male"
    old = np.clip((age - 30) / 60, 0, 1)
    low, high = TONES[race]
    angle = low + (high - low) * _denser_in_middle(u[0])
    skin = tone(angle - 3 * old, 15.5 + 1.6 * n[0] + 1.5 * old, (9.5 if race != "Black" else 10.5) + 1.3 * n[1])
    creases = [_crease_depth(name, age) * np.exp(0.22 * n[2 + number]) for number, name in enumerate(CREASES)]
    natural, white, greying, dyed = _hair_colours(person, u, n)
    grey = 0.15 * greying if dyed else greying
    beard_grey = min(1, 1.15 * greying)
    balding = np.clip((age - 25) / 90 + 0.28 * n[14], 0, 1) * (u[3] < 0.8) if male else 0.0
    iris_shares = (0.42, 0.17, 0.09, 0.25, 0.07) if race == "White" else (1, 0, 0, 0, 0)
    iris = list(_IRIS_COLOURS.values())[_pick(u[4], iris_shares)]
    has_glasses = u[6] < (0.08 if age < 40 else 0.3 if age < 60 else 0.42) and age > 5
    has_freckles = race == "White" and u[11] < 0.25
    has_lipstick = not male and 16 < age < 85 and u[8] < 0.4
    return Appearance(
        age=age,
        female=0.0 if male else 1.0,
        identity=person.identity,
        skin=skin,
        blush=float(0.5 + 0.25 * n[15] + (0.35 if age < 12 else 0)),
        lips=_lip_colour(skin, old, n[16]),
        lipstick=float(0.35 + 0.5 * u[7]) if has_lipstick else 0.0,
        creases=np.array(creases, np.float32),
        crepe=float(np.clip((age - 36) / 44, 0, 1.15)),
        spots=int(np.clip((age - 38) / 45, 0, 1) * (10 + 26 * u[9])),
        freckles=int(90 * u[10]) if has_freckles else 0,
        mottle=float(0.5 + 0.9 * old + 0.15 * n[17]),
        shine=float(np.clip(0.8 + 0.25 * n[18] - 0.35 * old, 0.2, 1.4)),
        iris=(np.array(iris) * np.exp(0.2 * n[19])).astype(np.float32),
        sclera=np.array((0.80, 0.775 - 0.05 * old, 0.74 - 0.14 * old), np.float32) * (0.92 if race == "Black" else 1),
        hair=_hair_style(person, balding, u[12], u[13]),
        hair_colour=((1 - grey) * natural + grey * white).astype(np.float32),
        recede=float(balding),
        thin=float(np.clip((age - 55) / 50 + (0.5 * balding), 0, 0.8)),
        beard=_beard_style(person, u[5]),
        beard_colour=((1 - beard_grey) * natural + beard_grey * white).astype(np.float32),
        stubble=float((np.clip((age - 13) / 6, 0, 1) if male else 0.0) * (0.25 + 0.6 * u[14])),
        brow=float((1.0 if male else 0.68) * (1 + 0.15 * n[20]) * (0.55 if age < 6 else 1) * (1 - 0.3 * old)),
        brow_colour=((1 - 0.75 * greying) * natural + 0.75 * greying * white).astype(np.float32),
        glasses=("thin", "thick", "dark")[_pick(u[15], (0.55, 0.41, 0.04))] if has_glasses else "",
        frame=lab_to_linear((8 + 40 * u[16] ** 2, 25 * (u[17] - 0.4), 25 * (u[18] - 0.4))),
        clothes=lab_to_linear((15 + 75 * u[19], 50 * (u[20] - 0.5) * u[21], 60 * (u[22] - 0.5) * u[21])),
        collar=float(u[23]),
    )


def _rng(person: Person, number: int) -> np.random.Generator:
    return np.random.default_rng((person.identity, number))


def _bounded_normal(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(), -2, 2))


def _denser_in_middle(value: float) -> float:
    """Makes a uniform value in 0..1 rarer at both ends."""
    return float(value + 0.5 * np.sin(2 * np.pi * value) / (2 * np.pi) * -1)


def _pick(value: float, shares: Sequence[float]) -> int:
    """The index that a uniform value in 0..1 selects among shares."""
    total = np.cumsum(shares)
    return int(np.searchsorted(total / total[-1], value, side="right").clip(0, len(shares) - 1))


def _crease_depth(name: str, age: int) -> float:
    begins, takes, depth = _CREASE_ONSETS[name]
    return float(depth * np.clip((age - begins) / takes, 0, 1.3))


def _lip_colour(skin: FloatArray, old: float, drawn: float) -> FloatArray:
    ratio = np.array((0.92, 0.60, 0.62)) if skin.mean() > 0.12 else np.array((0.98, 0.72, 0.76))
    return (skin * (ratio + (1 - ratio) * 0.45 * old) * (1 + 0.05 * drawn)).astype(np.float32)


def _hair_colours(person: Person, u: FloatArray, n: FloatArray) -> tuple[FloatArray, FloatArray, float, bool]:
    """Natural colour, colour once grey, share of grey hair, and whether it is dyed."""
    age, race = person.age, person.race
    natural = np.array(list(HAIR_COLOURS.values())[_pick(u[1], _HAIR_COLOUR_SHARES[race])]) * np.exp(0.15 * n[12])
    if age < 8 and race == "White":
        natural = natural * 1.6  # children's hair is lighter
    greying = 1 / (1 + np.exp(-(age - 52 - 6 * n[13] - (4 if race == "Black" else 0)) / 5.5))
    white = _GREY * (1 + 0.45 * np.clip((age - 62) / 25, 0, 1))
    return natural, white, greying, person.gender == "female" and u[2] < 0.25 and age < 75


def _beard_style(person: Person, u: float) -> str:
    if person.gender == "female" or person.age < 18:
        return ""
    # Beards of East Asian men are sparser, so fewer have a full one.
    shares = (0.78, 0.06, 0.08, 0.08) if person.race == "Asian" else (0.66, 0.17, 0.1, 0.07)
    return ("", "full", "goatee", "moustache")[_pick(u, shares)]


def _hair_style(person: Person, balding: float, u: float, v: float) -> str:
    """One of hair.STYLES."""
    age, black = person.age, person.race == "Black"
    if age < 3:
        return "down"
    if person.gender == "male":
        if balding > 0.82 or (balding > 0.5 and v < 0.4):
            return "shaved" if v < 0.55 else "ring"
        if black:
            return ("buzz", "coils", "afro", "shaved")[_pick(u, (0.5, 0.32, 0.06 if age < 60 else 0.02, 0.12))]
        shares = (0.42, 0.28, 0.12, 0.1, 0.08 if age < 60 else 0.02)
        return ("short", "side", "buzz", "curls", "medium")[_pick(u, shares)]
    if black:
        shares = (0.12, 0.22, 0.14, 0.3, 0.22) if age < 60 else (0.3, 0.1, 0.2, 0.16, 0.24)
        return ("coils", "afro", "bun", "long", "bob")[_pick(u, shares)]
    shares = (0.46, 0.26, 0.1, 0.03, 0.15) if age < 55 else (0.14, 0.36, 0.12, 0.2, 0.18)
    return ("long", "bob", "bun", "short", "waves")[_pick(u, shares)]
