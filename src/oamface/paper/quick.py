"""The whole report on synthetic people, without any data set: stores, a study, the benchmark and the page."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from oamface.alignment import align
from oamface.atomic import make_folder
from oamface.datasets.index import Index, Record, split_by_checksum
from oamface.datasets.readers.fairface import AGE_GROUPS
from oamface.datasets.readers.synthetic import RACES
from oamface.datasets.store import open_stores, save_store
from oamface.evaluation.predictors import CheckpointPredictor, FacePredictor, ModelPredictor
from oamface.labels import GENDERS, WITH_MASK, WITHOUT_MASK, Label
from oamface.paper.benchmark import benchmark
from oamface.paper.report import report
from oamface.paper.study import checkpoints, run_study
from oamface.predictor import Predictor
from oamface.synthetic.head import HeadModel
from oamface.synthetic.images import render_images
from oamface.synthetic.people import MASK_STYLES, Mask, Person
from oamface.synthetic.scene import Scene
from oamface.weights import WEIGHTS

COUNTS = {"utkface": 700, "fairface": 500, "masks": 300}  # faces; a fifth of them test
IMAGE_SIZE = 192
RESAMPLES = 200
STUDY = Path(str(files("oamface") / "paper" / "quick.toml"))


def quick_report(
    out: Path,
    *,
    weights: str | Path = WEIGHTS[0],
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write the report on synthetic people into `out` and return its JSON. Takes minutes.

    weights: see Predictor. on_progress: name of the stage, how much of it is done, and all.
    Raises FileError, SynthError (anny is not installed).
    """
    with TemporaryDirectory() as folder:
        work, head_model = Path(folder), HeadModel()
        for number, (data_set, count) in enumerate(COUNTS.items()):
            on_progress("render", number, len(COUNTS))
            render_store(work / data_set, data_set, count, head_model)
        stores, study = [work / data_set for data_set in COUNTS], work / "study"
        run_study(STUDY, stores, study, on_event=lambda name, number, runs, event: on_progress(name, number, runs))
        main = ModelPredictor(Predictor(weights))
        variants: list[FacePredictor] = [CheckpointPredictor(path, path.parent.name) for path in checkpoints(study)]
        for core, predictors in ((False, [main]), (True, variants)):
            benchmark(
                predictors,
                open_stores(stores),
                work / "results",
                core=core,
                resamples=RESAMPLES,
                on_progress=lambda done, total: on_progress("benchmark", done, total),
            )
        on_progress("report", 0, 1)
        return report(work / "results", out, main=main.name, logs=[study / "full-0" / "log.jsonl"], synthetic=True)


def render_store(
    out: Path, data_set: str, count: int, head_model: HeadModel, *, seed: int = 0, workers: int | None = None
) -> None:
    """Write a store of synthetic people, labelled like the data set "utkface", "fairface" or "masks". Raises FileError.

    Every second person of "masks" wears one. workers: processes that render.
    """
    rng, people = np.random.default_rng((seed, len(data_set))), []
    for number in range(count):
        age, gender, race = int(rng.integers(1, 91)), str(rng.choice(GENDERS)), str(rng.choice(list(RACES)))
        style = str(rng.choice(MASK_STYLES))
        mask = Mask(style) if data_set == "masks" and number % 2 else None
        people.append(Person(age, gender, race, int(rng.integers(2**31)), mask))
    scenes = [Scene.random(rng) for _ in people]
    images = render_images(head_model, people, scenes, size=IMAGE_SIZE, workers=workers)
    crops, landmarks = zip(*(align(image.image, image.landmarks) for image in images), strict=True)
    names = [f"synthetic-{number}.png" for number in range(count)]
    records = [
        Record(name, split_by_checksum(name), _label(data_set, person))
        for name, person in zip(names, people, strict=True)
    ]
    make_folder(out)
    save_store(out, Index(data_set, records), np.stack(crops), np.array(landmarks, np.float32), np.ones(count))


def _label(data_set: str, person: Person) -> Label:
    """The label in the terms of the data set: UTKFace's races, FairFace's age groups, only the mask of "masks"."""
    if data_set == "masks":
        return Label(mask=WITH_MASK if person.mask else WITHOUT_MASK)
    age, races = (person.age, person.age), person.label.race
    if data_set == "fairface":
        age = next((low, high) for low, high in AGE_GROUPS.values() if low <= person.age <= high)
        races = frozenset({sorted(races)[person.identity % len(races)]})
    return Label(age, frozenset({person.gender}), races, WITHOUT_MASK)
