"""A data set of synthetic people on disk: images, occlusion masks, labels, and a store as of any other data set."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.atomic import make_folder, write_bytes, write_whole
from oamface.datasets.preparation import prepare
from oamface.datasets.readers import synthetic
from oamface.errors import SynthError
from oamface.parallel import cores
from oamface.synthetic.appearance import derive_appearance
from oamface.synthetic.camera import compress
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import Person
from oamface.synthetic.renderer import RenderedImage
from oamface.synthetic.scene import Scene

TEST_EVERY = 5  # every fifth person is in the test split: the paper's 80/20


def make_dataset(
    people: Sequence[Person],
    out: Path,
    *,
    seed: int = 0,
    size: int = 256,
    workers: int | None = None,
    head_model: HeadModel | None = None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Render each person in a random scene; writes `images/`, `occlusion_masks/`, `labels.parquet` and `store/`.

    Returns the store's card, which lists the images in which our detector finds no face. The same people, seed and
    size give the same bytes. size: pixels of a side, 96 to 1024. head_model: loaded if None. on_progress: gets the
    stage (load, draw, detect), how many are done, and how many there are.
    Raises SynthError (a folder that holds a data set, a size out of range), FileError.
    """
    if not 96 <= size <= 1024:
        raise SynthError(f"size {size}: expected 96 to 1024 pixels")
    if (out / synthetic.TABLE).exists():
        raise SynthError(f"{out}: holds a data set already; name an empty folder")
    on_progress("load", 0, 1)
    head_model = head_model or HeadModel()  # raises for a missing anny before any folder is made
    for folder in ("images", "occlusion_masks"):
        make_folder(out / folder)
    scenes = [Scene.random(np.random.default_rng((seed, 2, number))) for number in range(len(people))]
    rows = []
    for number, rendered in enumerate(render_images(head_model, people, scenes, size=size, workers=workers)):
        name, scene = f"{number:06d}", scenes[number]
        write_bytes(out / "images" / f"{name}.jpg", compress(rendered.image, scene.quality))
        mask = cv2.imencode(".png", rendered.occlusion_mask.astype(np.uint8) * 255)[1]
        write_bytes(out / "occlusion_masks" / f"{name}.png", mask.tobytes())
        split = "test" if number % TEST_EVERY == 0 else "train"
        rows.append({"name": f"images/{name}.jpg", "split": split, **_label_row(people[number], scene, rendered)})
        on_progress("draw", number + 1, len(people))
    write_whole(out / synthetic.TABLE, lambda file: pq.write_table(pa.Table.from_pylist(rows), file))
    threads = workers or cores()
    progress = partial(on_progress, "detect")
    return prepare(out, synthetic.read, out / "store", threads=threads, on_progress=progress)


def _label_row(person: Person, scene: Scene, rendered: RenderedImage) -> dict[str, Any]:
    """One row of labels.parquet: the exact labels of an image, and everything that was chosen for it."""
    appearance = derive_appearance(person)
    (mask,) = person.label.mask
    settings = {name: value for name, value in asdict(scene).items() if name not in ("gaze", "shift", "seed")}
    return {
        "age": person.age,
        "gender": person.gender,
        "race": person.race,
        "mask": mask,
        "mask_style": person.mask.style if person.mask else "",
        "mask_position": person.mask.position if person.mask else "",
        "identity": person.identity,
        "hair": appearance.hair,
        "beard": appearance.beard,
        "glasses": appearance.glasses,
        "skin": appearance.skin.tolist(),
        "visibility": rendered.visibility,
        "box": list(rendered.box),
        "landmarks": rendered.landmarks.ravel().tolist(),
        "gaze": list(scene.gaze),
        **settings,
        "scene_seed": scene.seed,
    }
