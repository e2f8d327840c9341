"""Renders many people: anny computes the head shapes in this process, others render."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from oamface.parallel import cores
from oamface.synthetic.appearance import phenotypes, shape_changes
from oamface.synthetic.head import Head, HeadModel
from oamface.synthetic.people import Person
from oamface.synthetic.raster import FloatArray
from oamface.synthetic.renderer import RenderedImage, render
from oamface.synthetic.scene import Scene, facial_actions

BATCH = 128  # people whose shapes are computed together

_head: Head  # of a rendering process


def render_images(
    head_model: HeadModel,
    people: Sequence[Person],
    scenes: Sequence[Scene],
    *,
    size: int = 256,
    workers: int | None = None,
) -> Iterator[RenderedImage]:
    """One image for each person, in the scene of the same index, in order.

    size: pixels of a side. workers: processes that render; 0 renders in this one, None starts one for each core.
    """
    workers = cores() if workers is None else workers
    pairs = list(zip(people, scenes, strict=True))
    batches = (pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH))
    tasks = (
        [(row, *pair, size) for row, pair in zip(shapes(head_model, batch), batch, strict=True)] for batch in batches
    )
    if not workers:
        for batch in tasks:
            for task in batch:
                with threadpool_limits(1):  # several threads would add up in another order, to other bytes
                    image = render(head_model.head, *task)
                yield image
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs torch's threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(head_model.head,)) as pool:
        for batch in tasks:
            yield from pool.map(_render, batch, chunksize=4)


def shapes(head_model: HeadModel, pairs: Sequence[tuple[Person, Scene]]) -> FloatArray:
    """(N, K) coefficients of each person's head with the scene's expression."""
    actions = [facial_actions(scene, head_model.head.actions) for _, scene in pairs]
    names = {name: 0.0 for values in actions for name in values}
    return head_model.coefficients(
        _columns([phenotypes(person) for person, _ in pairs]),
        _columns([shape_changes(person) for person, _ in pairs]),
        _columns([names | values for values in actions]),
    )


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, FloatArray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _start(head: Head) -> None:
    global _head
    _head = head
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _render(task: tuple[FloatArray, Person, Scene, int]) -> RenderedImage:
    return render(_head, *task)
