"""The whole report on synthetic people: stores, a study, the benchmark and the page, with no data at hand."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from oamface.alignment import align
from oamface.atomic import make_folder
from oamface.datasets.index import Catalogue, Entry, own_split
from oamface.datasets.store import open_stores, save_store
from oamface.evaluation.predictors import CheckpointPredictor, FacePredictor, ModelPredictor
from oamface.labels import FAIRFACE_AGES, GENDERS, SYNTH_RACES, WITH_MASK, WITHOUT_MASK, Label
from oamface.paper.benchmark import benchmark
from oamface.paper.report import report
from oamface.paper.study import checkpoints, run_study
from oamface.predictor import Predictor
from oamface.synthetic.head import Shapes
from oamface.synthetic.images import draw
from oamface.synthetic.people import MASKS, Mask, Person
from oamface.synthetic.scene import Scene
from oamface.weights import WEIGHTS

COUNTS = {"utkface": 700, "fairface": 500, "masks": 300}  # people; a fifth of them test
SIDE = 192  # pixels of their images
RESAMPLES = 200
STUDY = Path(str(files("oamface") / "paper" / "quick.toml"))
Progress = Callable[[str, int, int], None]


def quick_report(
    out: Path, *, weights: str | Path = WEIGHTS[0], on_progress: Progress = lambda what, done, total: None
) -> dict[str, Any]:
    """Write the report on synthetic people into `out` and return its JSON. Some minutes; it says nothing of real ones.

    weights: see Predictor. on_progress: what is being done, how much of it, all. Raises FileError, SynthError (no anny).
    """
    with TemporaryDirectory() as folder:
        work = Path(folder)
        names, shapes = list(COUNTS), Shapes()
        for number, name in enumerate(names):
            on_progress("draw", number, len(names))
            draw_store(work / name, name, COUNTS[name], shapes)
        stores = [work / name for name in names]
        runs = work / "study"
        run_study(STUDY, stores, runs, on_event=lambda name, done, total, line: on_progress(name, done, total))
        main = ModelPredictor(Predictor(weights))
        small: list[FacePredictor] = [CheckpointPredictor(path, path.parent.name) for path in checkpoints(runs)]
        for core, predictors in ((False, [main]), (True, small)):
            benchmark(
                predictors,
                open_stores(stores),
                work / "results",
                core=core,
                resamples=RESAMPLES,
                on_progress=lambda done, total: on_progress("benchmark", done, total),
            )
        on_progress("write", 0, 1)
        return report(work / "results", out, main=main.name, logs=[runs / "full-0" / "log.jsonl"], drawn=True)


def draw_store(
    out: Path, data_set: str, count: int, shapes: Shapes, *, seed: int = 0, workers: int | None = None
) -> None:
    """A store of synthetic people labelled as a data set would: "utkface", "fairface" or "masks". Raises FileError.

    Half of the people of "masks" wear one, in turns. workers: processes that draw.
    """
    rng, people = np.random.default_rng((seed, len(data_set))), []
    for number in range(count):
        age, gender, race = int(rng.integers(1, 91)), str(rng.choice(GENDERS)), str(rng.choice(list(SYNTH_RACES)))
        style = str(rng.choice(MASKS))
        worn = Mask(style) if data_set == "masks" and number % 2 else None
        people.append(Person(age, gender, race, int(rng.integers(2**31)), worn))
    scenes = [Scene.draw(rng) for _ in people]
    images = draw(shapes, people, scenes, size=SIDE, workers=workers)
    crops, landmarks = zip(*(align(image.image, image.landmarks) for image in images), strict=True)
    make_folder(out)
    names = [f"drawn-{number}.png" for number in range(count)]
    entries = [
        Entry(name, own_split(name), _label(data_set, person)) for name, person in zip(names, people, strict=True)
    ]
    points = np.array(landmarks, np.float32)
    save_store(out, Catalogue(data_set, entries), np.stack(crops), points, np.ones(count))


def _label(data_set: str, person: Person) -> Label:
    """What the data set would say of them: UTKFace its own races, FairFace ranges of ages, the masks nothing else."""
    if data_set == "masks":
        return Label(mask=WITH_MASK if person.mask else WITHOUT_MASK)
    age, races = (person.age, person.age), person.label.race
    if data_set == "fairface":
        age = next((low, high) for low, high in FAIRFACE_AGES.values() if low <= person.age <= high)
        races = frozenset({sorted(races)[person.identity % len(races)]})
    return Label(age, frozenset({person.gender}), races, WITHOUT_MASK)
