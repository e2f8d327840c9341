"""Sixty people take some seconds to draw: once for all tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from oamface.synthetic.images import coefficients, draw
from oamface.synthetic.people import Person, balanced, look
from oamface.synthetic.renderer import ImageInput, render
from oamface.synthetic.scene import Scene


@dataclass(frozen=True)
class Crowd:
    people: Sequence[Person]
    scenes: Sequence[Scene]
    images: Sequence[ImageInput]


@pytest.fixture(scope="session")
def crowd(shapes) -> Crowd:
    """Sixty people in everyday scenes."""
    import numpy as np

    people = balanced(60, seed=5)
    scenes = [Scene.draw(np.random.default_rng((5, 2, number))) for number in range(len(people))]
    return Crowd(people, scenes, list(draw(shapes, people, scenes, workers=2)))


@pytest.fixture(scope="session")
def portrait(shapes):
    """A function that draws one person in one scene."""

    def drawn(person: Person, scene: Scene | None = None, size: int = 160) -> ImageInput:
        scene = scene or Scene(noise=0.0)
        return render(shapes.head, coefficients(shapes, [(person, scene)])[0], person, look(person), scene, size)

    return drawn
