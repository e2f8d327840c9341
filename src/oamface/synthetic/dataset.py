"""A set of synthetic people on disk: images, coverage maps, labels.parquet and a store like any data set's."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.atomic import make_folder, write_bytes, write_whole
from oamface.datasets import store
from oamface.datasets.readers import synthetic
from oamface.errors import SynthError
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import Look, Person, look
from oamface.synthetic.renderer import ImageInput
from oamface.synthetic.scene import Scene, compress

TEST_EVERY = 5  # every fifth person is a test person: the paper's 80/20

Progress = Callable[[str, int, int], None]


def make_set(
    people: Sequence[Person],
    out: Path,
    *,
    seed: int = 0,
    size: int = 256,
    workers: int | None = None,
    shapes: Shapes | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Draw everybody in a scene of their own and write `images/`, `coverage/`, `labels.parquet` and `store/`.

    The same people, seed and size give the same bytes. The store holds the faces that our own detector finds; its
    card, which is returned, lists the others. size: pixels of a side, 96 to 1024. shapes: loaded already, or None.
    on_progress: what is being done, how much of it, all. Raises SynthError (a folder with a set, size), FileError.
    """
    if not 96 <= size <= 1024:
        raise SynthError(f"size {size}: expected 96 to 1024 pixels")
    if (out / synthetic.LABELS).exists():
        raise SynthError(f"{out}: holds a set already; name an empty folder")
    on_progress("load", 0, 1)
    shapes = shapes or Shapes()  # tells of a missing anny before anything is made
    for folder in ("images", "coverage"):
        make_folder(out / folder)
    scenes = [Scene.draw(np.random.default_rng((seed, 2, number))) for number in range(len(people))]
    rows = []
    for number, image in enumerate(draw(shapes, people, scenes, size=size, workers=workers)):
        name, scene = f"{number:06d}", scenes[number]
        write_bytes(out / "images" / f"{name}.jpg", compress(image.image, scene.quality))
        write_bytes(out / "coverage" / f"{name}.png", _png(image.coverage))
        split = "test" if number % TEST_EVERY == 0 else "train"
        rows.append({"name": f"images/{name}.jpg", "split": split, **facts(people[number], scene, image)})
        on_progress("draw", number + 1, len(people))
    write_whole(out / synthetic.LABELS, lambda file: pq.write_table(pa.Table.from_pylist(rows), file))
    threads = workers or os.cpu_count() or 1
    progress = partial(on_progress, "detect")
    return store.prepare(out, synthetic.read, out / "store", workers=threads, on_progress=progress)


def facts(person: Person, scene: Scene, image: ImageInput) -> dict[str, Any]:
    """Everything that is true of an image, as one row of labels.parquet."""
    seen: Look = look(person)
    wears = (
        {"mask_style": person.mask.style, "wear": person.mask.wear} if person.mask else {"mask_style": "", "wear": ""}
    )
    (mask,) = person.label.mask
    scenery = {name: value for name, value in asdict(scene).items() if name not in ("gaze", "shift")}
    return {
        "age": person.age,
        "gender": person.gender,
        "race": person.race,
        "mask": mask,
        **wears,
        "identity": person.identity,
        "hair": seen.hair,
        "beard": seen.beard,
        "glasses": seen.glasses,
        "skin": [float(value) for value in seen.skin],
        "visible": image.visible,
        "box": list(image.box),
        "landmarks": [float(value) for value in image.landmarks.ravel()],
        "gaze": list(scene.gaze),
        **{f"scene_{name}" if name == "seed" else name: value for name, value in scenery.items()},
    }


def _png(coverage: npt.NDArray[np.bool_]) -> bytes:
    done, data = cv2.imencode(".png", coverage.astype(np.uint8) * 255)
    assert done
    return data.tobytes()
