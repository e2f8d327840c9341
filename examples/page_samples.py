"""Renders the page's sample images: synthetic people, several before one background. Needs oamface[synth].

python examples/page_samples.py FOLDER
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from oamface.images import write_image
from oamface.synthetic import renderer
from oamface.synthetic.camera import develop, render_surroundings
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import shapes
from oamface.synthetic.people import Mask, Person
from oamface.synthetic.scene import Scene

SIDE = 512  # of one rendered person


@dataclass(frozen=True)
class Sample:
    """width, height: in pixels. people: each with a scene, and where its square lies: left, top, side."""

    name: str
    width: int
    height: int
    background: Scene
    people: list[tuple[Person, Scene, tuple[int, int, int]]]


def person(age, gender, race, identity, mask, place, **scene):
    light = dict(light="window left", noise=0.0, blur=0.0)
    return Person(age, gender, race, identity, mask), Scene(**light | scene), place


SAMPLES = [
    Sample(
        "group",
        960,
        600,
        Scene(surroundings="park", light="window left", seed=5, blur=0.3, noise=0.05),
        [
            person(36, "male", "Black", 33, None, (150, 15, 590), yaw=-4, expression="smile", fill=0.5),
            person(71, "female", "White", 12, None, (560, 20, 580), yaw=-8, expression="slight smile", fill=0.5),
            person(29, "female", "Asian", 8, None, (-40, 130, 470), yaw=12, expression="smile", fill=0.66),
            person(52, "male", "White", 46, Mask("surgical"), (410, 150, 450), yaw=-4, fill=0.66),
        ],
    ),
    Sample(
        "masks",
        900,
        600,
        Scene(surroundings="shelf", light="window left", seed=3, blur=0.3, noise=0.05),
        [
            person(38, "female", "Black", 23, Mask("ffp2", "below_nose"), (-20, 60, 540), yaw=12, fill=0.74),
            person(63, "male", "Asian", 17, Mask("cloth"), (390, 60, 540), yaw=-12, fill=0.74),
        ],
    ),
    Sample(
        "portrait",
        720,
        600,
        Scene(surroundings="room", light="window left", seed=11, blur=0.3, noise=0.05),
        [person(45, "female", "White", 5, None, (60, 0, 600), yaw=8, roll=3, expression="smile", fill=0.82)],
    ),
]


def cut_out(head_model: HeadModel, individual: Person, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB (SIDE, SIDE, 3) before black, and how much of the background is seen at each pixel."""
    (shape,) = shapes(head_model, [(individual, scene)])
    images = []
    for brightness in (0.0, 1.0):
        empty = np.full((SIDE, SIDE, 3), brightness, np.float32)
        with (
            patch.object(renderer, "render_surroundings", lambda *_, empty=empty: empty.copy()),
            patch.object(renderer, "develop", lambda linear, _: linear),
        ):
            images.append(renderer.render(head_model.head, shape, individual, scene, SIDE).image)
    black, white = (image.reshape(SIDE, SIDE, 3) for image in images)
    return black, (white - black).clip(0, 1)


def compose(head_model: HeadModel, sample: Sample) -> np.ndarray:
    """The sample's image, (height, width, 3) uint8."""
    side = max(sample.width, sample.height)
    canvas = render_surroundings(sample.background, side)[: sample.height, : sample.width].copy()
    for individual, scene, (left, top, size) in sample.people:
        colour, seen = (
            cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
            for part in cut_out(head_model, individual, scene)
        )
        y, x = np.mgrid[top : min(top + size, sample.height), left : min(left + size, sample.width)]
        inside = (x >= 0) & (y >= 0)
        rows, columns = y[inside], x[inside]
        canvas[rows, columns] *= seen[rows - top, columns - left]
        canvas[rows, columns] += colour[rows - top, columns - left]
    return develop(canvas, sample.background)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    head_model = HeadModel()
    for sample in SAMPLES:
        write_image(folder / f"{sample.name}.webp", compose(head_model, sample))
