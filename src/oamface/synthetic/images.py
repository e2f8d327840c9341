"""People in scenes to images, many at once: anny shapes them in this process, others draw."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from oamface.synthetic.head import Head, Shapes
from oamface.synthetic.people import Person, changes, look, phenotypes
from oamface.synthetic.raster import FloatArray
from oamface.synthetic.renderer import ImageInput, render
from oamface.synthetic.scene import Scene, actions

TOGETHER = 128  # people that are shaped at once

_drawn: Head  # in a drawing process: its head


def draw(
    shapes: Shapes, people: Sequence[Person], scenes: Sequence[Scene], *, size: int = 256, workers: int | None = None
) -> Iterator[ImageInput]:
    """An image of each person in the scene of the same place, in order.

    size: pixels of a side. workers: processes that draw; 0 draws here, None takes one for each core.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    pairs = list(zip(people, scenes, strict=True))
    groups = (pairs[start : start + TOGETHER] for start in range(0, len(pairs), TOGETHER))
    tasks = (
        [(row, *pair, size) for row, pair in zip(coefficients(shapes, group), group, strict=True)] for group in groups
    )
    if not workers:
        for group in tasks:
            for row, person, scene, side in group:
                with threadpool_limits(1):  # several threads would add up in another order, to other bytes
                    image = render(shapes.head, row, person, look(person), scene, side)
                yield image
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs torch's threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(shapes.head,)) as pool:
        for group in tasks:
            yield from pool.map(_draw, group, chunksize=4)


def coefficients(shapes: Shapes, pairs: Sequence[tuple[Person, Scene]]) -> FloatArray:
    """(N, K): the shape of each person's head with the scene's expression."""
    heads = _columns([phenotypes(person) for person, _ in pairs])
    local = _columns([changes(person) for person, _ in pairs])
    faces = [actions(scene, shapes.head.actions) for _, scene in pairs]
    moved = {
        name: np.array([face.get(name, 0.0) for face in faces]) for name in {key for face in faces for key in face}
    }
    return shapes.coefficients(heads, local, moved)


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, FloatArray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _start(head: Head) -> None:
    global _drawn
    _drawn = head
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _draw(task: tuple[Any, Person, Scene, int]) -> ImageInput:
    row, person, scene, size = task
    return render(_drawn, row, person, look(person), scene, size)
