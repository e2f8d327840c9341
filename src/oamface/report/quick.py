"""The whole report on drawn faces of nobody: stores, a study, the benchmark and the page, with no data at hand."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface import occlusion
from oamface.align import CHIP_SIZE
from oamface.data.catalogue import Catalogue, Entry, own_split
from oamface.data.store import open_stores, save_store
from oamface.engine import WEIGHTS, Engine
from oamface.evaluate.benchmark import benchmark
from oamface.evaluate.predictor import CheckpointPredictor, ModelPredictor, Predictor
from oamface.files import make_folder
from oamface.imaging import RGBImage
from oamface.labels import FAIRFACE_AGES, GENDERS, RACES, UTKFACE_RACES, WITH_MASK, WITHOUT_MASK, Label
from oamface.occlusion.sheet import plain_face
from oamface.report.report import report
from oamface.train.study import checkpoints, run_study

COUNTS = {"utkface": 700, "fairface": 500, "masks": 300}  # drawn faces; a fifth of them test
RESAMPLES = 200
STUDY = Path(str(files("oamface") / "report" / "quick.toml"))
_TONES = {  # the drawn skin of every class of RACES
    "White": (226, 186, 160),
    "Black": (116, 78, 58),
    "East Asian": (224, 190, 150),
    "Southeast Asian": (196, 152, 112),
    "Indian": (160, 112, 80),
    "Middle Eastern": (204, 160, 126),
    "Latino": (198, 150, 118),
}

Progress = Callable[[str, int, int], None]


def quick_report(
    out: Path, *, weights: str | Path = WEIGHTS[0], on_progress: Progress = lambda what, done, total: None
) -> dict[str, Any]:
    """Write the report on drawn faces into `out` and return its JSON. Some minutes; figures say nothing about people.

    weights: see Engine. on_progress: what is being done, how much of it, all. Raises FileError.
    """
    with TemporaryDirectory() as folder:
        work = Path(folder)
        names = list(COUNTS)
        for number, name in enumerate(names):
            on_progress("draw", number, len(names))
            draw_store(work / name, name, COUNTS[name])
        stores = [work / name for name in names]
        runs = work / "study"
        run_study(STUDY, stores, runs, on_event=lambda name, done, total, line: on_progress(name, done, total))
        main = ModelPredictor(Engine(weights))
        small: list[Predictor] = [CheckpointPredictor(path, path.parent.name) for path in checkpoints(runs)]
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


def draw_store(out: Path, data_set: str, count: int, *, seed: int = 0) -> None:
    """A store of drawn faces with the classes of a data set: "utkface", "fairface" or "masks". Raises FileError."""
    rng, entries, chips = np.random.default_rng((seed, len(data_set))), [], []
    face, marks = plain_face(CHIP_SIZE)
    for number in range(count):
        age, gender, race = int(rng.integers(1, 91)), str(rng.choice(GENDERS)), str(rng.choice(RACES))
        chip = _drawn(face, marks, age, gender, race, rng)
        masked = data_set == "masks" and number % 2 == 1
        if masked:
            chip = occlusion.draw(chip, marks, "surgical", rng).image
        chips.append(chip)
        name = f"drawn-{number}.png"
        entries.append(Entry(name, own_split(name), _label(data_set, age, gender, race, masked)))
    make_folder(out)
    landmarks = np.tile(marks.astype(np.float32), (count, 1, 1))
    save_store(out, Catalogue(data_set, entries), np.stack(chips), landmarks, np.ones(count))


def _label(data_set: str, age: int, gender: str, race: str, masked: bool) -> Label:
    if data_set == "masks":
        return Label(mask=WITH_MASK if masked else WITHOUT_MASK)
    ages, races = (age, age), frozenset({race})
    if data_set == "utkface":
        races = next(group for group in UTKFACE_RACES if race in group)
    else:
        ages = next((low, high) for low, high in FAIRFACE_AGES.values() if low <= age <= high)
    return Label(ages, frozenset({gender}), races, WITHOUT_MASK)


def _drawn(
    face: RGBImage, marks: npt.NDArray[np.floating], age: int, gender: str, race: str, rng: np.random.Generator
) -> RGBImage:
    """The drawn face in a tone; the older, the greyer and more lined; redder lips for one of two genders; noise."""
    tone = np.array(_TONES[race], float) / _TONES["White"]
    picture = face.astype(float) * tone
    hair = face.astype(int).sum(2) < 180
    picture[hair] = picture[hair] * (1 - age / 120) + 200 * age / 120
    picture = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    mouth, eyes = marks[3:].mean(0), marks[:2].mean(0)
    if gender == "female":
        centre = (int(mouth[0]), int(mouth[1]))
        cv2.ellipse(picture, centre, (CHIP_SIZE // 9, CHIP_SIZE // 40), 0, 0, 360, (190, 20, 50), -1, cv2.LINE_AA)
    for line in range(age // 12):
        y = int(eyes[1] - 0.12 * CHIP_SIZE - 3 * line)
        x = int(eyes[0])
        cv2.line(picture, (x - 14, y), (x + 14, y), tuple(int(value * 0.7) for value in picture[y, x]), 1, cv2.LINE_AA)
    blot = cv2.resize(rng.normal(0, 22, (5, 5, 3)).astype(np.float32), (CHIP_SIZE, CHIP_SIZE))
    return np.clip(picture + blot + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
