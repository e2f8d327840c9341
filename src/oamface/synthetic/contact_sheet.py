"""Contact sheets of synthetic people: ages across, and everything that can be worn on the face."""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

from oamface.images import RGBImage
from oamface.labels import GENDERS, SYNTH_RACES
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import MASKS, Mask, Person
from oamface.synthetic.scene import LIGHTS, Scene

SIDE = 192
AGES = (5, 12, 20, 30, 40, 50, 60, 70, 80)
_TITLE, _MARGIN = 20, 110


def age_sheet(shapes: Shapes, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """The same people at AGES, one row for each gender and ancestry: all else is fixed."""
    rows = [
        (f"{race}, {gender}", [Person(age, gender, race, _identity(seed, number)) for age in AGES])
        for number, (gender, race) in enumerate(product(GENDERS, SYNTH_RACES))
    ]
    return _sheet(shapes, [f"{age} years" for age in AGES], rows, [Scene(fill=0.86)] * len(AGES), workers)


def mask_sheet(shapes: Shapes, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """People of several ages bare and with each mask, worn well and badly."""
    wears = [
        None,
        *(Mask(style) for style in MASKS),
        Mask("surgical", "nose"),
        Mask("ffp2", "nose"),
        Mask("surgical", "chin"),
    ]
    titles = ["no mask", *MASKS, "under the nose", "under the nose", "on the chin"]
    rows = []
    for number, (gender, race) in enumerate(product(GENDERS, SYNTH_RACES)):
        age = (22, 35, 48, 61, 74, 29)[number]
        people = [Person(age, gender, race, _identity(seed, number), wear) for wear in wears]
        rows.append((f"{race}, {gender}, {age}", people))
    scenes = [Scene(fill=0.86, yaw=yaw) for yaw in (0, 0, 20, -20, 10, 0, -25, 15)]
    return _sheet(shapes, titles, rows, scenes, workers)


def light_sheet(shapes: Shapes, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """One person of each gender and ancestry under every light."""
    scenes = [Scene(light=light, fill=0.86) for light in LIGHTS]
    rows = [
        (f"{race}, {gender}", [Person(34, gender, race, _identity(seed, number + 6))] * len(scenes))
        for number, (gender, race) in enumerate(product(GENDERS, SYNTH_RACES))
    ]
    return _sheet(shapes, list(LIGHTS), rows, scenes, workers)


def _identity(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


def _sheet(
    shapes: Shapes,
    titles: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Person]]],
    scenes: Sequence[Scene],
    workers: int | None,
) -> RGBImage:
    people = [person for _, row in rows for person in row]
    drawn = [image.image for image in draw(shapes, people, list(scenes) * len(rows), size=SIDE, workers=workers)]
    across = len(titles)
    head = np.full((_TITLE, _MARGIN + SIDE * across, 3), 255, np.uint8)
    for number, title in enumerate(titles):
        _write(head, title, _MARGIN + number * SIDE + 6, 14)
    lines = [head]
    for number, (name, _) in enumerate(rows):
        margin = np.full((SIDE, _MARGIN, 3), 255, np.uint8)
        for line, word in enumerate(name.split(", ")):
            _write(margin, word, 8, SIDE // 2 + 18 * line)
        lines.append(np.hstack([margin, *drawn[number * across : (number + 1) * across]]))
    return np.vstack(lines)


def _write(image: RGBImage, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
