"""Contact sheets of synthetic people: at several ages, with masks, under every light."""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

from oamface.datasets.readers.synthetic import RACES
from oamface.images import RGBImage
from oamface.labels import GENDERS
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_STYLES, Mask, Person
from oamface.synthetic.scene import LIGHTS, Scene

SIDE = 192
AGES = (5, 12, 20, 30, 40, 50, 60, 70, 80)
_TITLE, _MARGIN = 20, 110


def age_sheet(head_model: HeadModel, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """One person of each gender and race at all of AGES."""
    rows = [
        (f"{race}, {gender}", [Person(age, gender, race, _identity(seed, number)) for age in AGES])
        for number, (gender, race) in enumerate(product(GENDERS, RACES))
    ]
    return _sheet(head_model, [f"{age} years" for age in AGES], rows, [Scene(fill=0.86)] * len(AGES), workers)


def mask_sheet(head_model: HeadModel, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """One person of each gender and race without and with each mask, worn correctly and incorrectly."""
    masks = [
        None,
        *(Mask(style) for style in MASK_STYLES),
        Mask("surgical", "below_nose"),
        Mask("ffp2", "below_nose"),
        Mask("surgical", "on_chin"),
    ]
    titles = ["no mask", *MASK_STYLES, "under the nose", "under the nose", "on the chin"]
    rows = []
    for number, (gender, race) in enumerate(product(GENDERS, RACES)):
        age = (22, 35, 48, 61, 74, 29)[number]
        people = [Person(age, gender, race, _identity(seed, number), mask) for mask in masks]
        rows.append((f"{race}, {gender}, {age}", people))
    scenes = [Scene(fill=0.86, yaw=yaw) for yaw in (0, 0, 20, -20, 10, 0, -25, 15)]
    return _sheet(head_model, titles, rows, scenes, workers)


def light_sheet(head_model: HeadModel, *, seed: int = 0, workers: int | None = None) -> RGBImage:
    """One person of each gender and race under every light."""
    scenes = [Scene(light=light, fill=0.86) for light in LIGHTS]
    rows = [
        (f"{race}, {gender}", [Person(34, gender, race, _identity(seed, number + 6))] * len(scenes))
        for number, (gender, race) in enumerate(product(GENDERS, RACES))
    ]
    return _sheet(head_model, list(LIGHTS), rows, scenes, workers)


def _identity(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(2**31))


def _sheet(
    head_model: HeadModel,
    titles: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Person]]],
    scenes: Sequence[Scene],
    workers: int | None,
) -> RGBImage:
    people = [person for _, row in rows for person in row]
    images = [
        rendered.image
        for rendered in render_images(head_model, people, list(scenes) * len(rows), size=SIDE, workers=workers)
    ]
    columns = len(titles)
    header = np.full((_TITLE, _MARGIN + SIDE * columns, 3), 255, np.uint8)
    for number, title in enumerate(titles):
        _write(header, title, _MARGIN + number * SIDE + 6, 14)
    lines = [header]
    for number, (name, _) in enumerate(rows):
        margin = np.full((SIDE, _MARGIN, 3), 255, np.uint8)
        for line, word in enumerate(name.split(", ")):
            _write(margin, word, 8, SIDE // 2 + 18 * line)
        lines.append(np.hstack([margin, *images[number * columns : (number + 1) * columns]]))
    return np.vstack(lines)


def _write(image: RGBImage, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
