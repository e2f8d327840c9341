"""Synthetic people for the tests, rendered once for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from oamface.synthetic.images import render_images, shapes
from oamface.synthetic.people import Person, balanced
from oamface.synthetic.renderer import RenderedImage, render
from oamface.synthetic.scene import Scene


@dataclass(frozen=True)
class Crowd:
    people: Sequence[Person]
    scenes: Sequence[Scene]
    images: Sequence[RenderedImage]


@pytest.fixture(scope="session")
def crowd(head_model) -> Crowd:
    """Sixty people in everyday scenes."""
    people = balanced(60, seed=5)
    scenes = [Scene.random(np.random.default_rng((5, 2, number))) for number in range(len(people))]
    return Crowd(people, scenes, list(render_images(head_model, people, scenes, workers=2)))


@pytest.fixture(scope="session")
def portrait(head_model) -> Callable[..., RenderedImage]:
    """A function that renders one person in one scene."""

    def render_portrait(person: Person, scene: Scene | None = None, size: int = 160) -> RenderedImage:
        scene = scene or Scene(noise=0.0)
        return render(head_model.head, shapes(head_model, [(person, scene)])[0], person, scene, size)

    return render_portrait
