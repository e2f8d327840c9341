"""The fixed benchmark: a predictor on prepared stores, by one versioned protocol; docs/benchmark.md describes it."""

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from oamface.atomic import make_folder, write_text
from oamface.datasets.store import Store
from oamface.errors import ResultError
from oamface.evaluation.bootstrap import RESAMPLES, described
from oamface.evaluation.conditions import CLEAN, CONDITIONS, CORE, rows_of
from oamface.evaluation.corruptions import CAMERA
from oamface.evaluation.error_analysis import mistakes
from oamface.evaluation.fairness import fairness
from oamface.evaluation.measure import measure
from oamface.evaluation.predictions import PredictionTable, predict
from oamface.evaluation.predictors import Face, FacePredictor
from oamface.paper.scenarios import scenarios

FORMAT = "oamface-result/1"
VERSION = 1  # of the protocol; another one whenever a figure would change for the same predictor and faces
SPLIT, SEED = "test", 0
TIMED = 24  # faces of the timing, one at a time and all at once
ROUNDS = 5


def protocol() -> dict[str, Any]:
    """Version, and a digest of everything that decides which images a predictor sees."""
    decided = {
        "version": VERSION,
        "split": SPLIT,
        "seed": SEED,
        "conditions": {name: asdict(condition) for name, condition in CONDITIONS.items()},
        "damage": {name: [*damage.strengths, damage.unit] for name, damage in CAMERA.items()},
    }
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()
    return {"name": "oamface-benchmark", "version": VERSION, "digest": digest}


def benchmark(
    predictors: Sequence[FacePredictor],
    stores: Sequence[Store],
    out: Path,
    *,
    core: bool = False,
    resamples: int = RESAMPLES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write NAME.parquet (every prediction) and NAME.json (every figure) for each predictor; returns the latter.

    core: only the conditions clean and covered, without damage. What `out` already holds for the same predictor,
    protocol and faces is kept, so that an interrupted benchmark goes on. on_progress: faces done, and all.
    Raises DataError (no test face), ResultError (`out` holds other faces or another protocol), FileError.
    """
    make_folder(out)
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise ResultError(f"two predictors are called alike: {', '.join(sorted(names))}; name each once")
    faces = {store.card["data_set"]: _about(store) for store in stores}
    conditions = CORE if core else CONDITIONS
    missing, abouts = [], []
    for predictor in predictors:
        identity = {"name": predictor.name, "tasks": list(predictor.classes), **predictor.identity}
        about = json.loads(json.dumps({"protocol": protocol(), "predictor": identity, "stores": faces}))
        if not _kept(out / f"{predictor.name}.json", about, list(conditions)):
            missing.append(predictor)
            abouts.append(about)
    if missing:
        told = predict(missing, stores, conditions, split=SPLIT, seed=SEED, about=abouts, on_progress=on_progress)
        speeds = speed(missing, stores)  # in one go, for ratios between them
        for predictions in told:
            name = predictions.about["predictor"]["name"]
            predictions.write(out / f"{name}.parquet")
            result = {
                "schema": FORMAT,
                **predictions.about,
                "conditions": list(conditions),
                "interval": described(resamples),
                "speed": speeds[name],
                "classes": predictions.classes,
                "attention": predictions.attention,
                **analyse(predictions, resamples=resamples),
            }
            write_text(out / f"{name}.json", json.dumps(result, allow_nan=False))
    return [out / f"{name}.json" for name in names]


def _kept(path: Path, about: dict[str, Any], conditions: Sequence[str]) -> bool:
    """Whether a result is there already. Raises ResultError where one is of another protocol or other faces."""
    if not path.exists():
        return False
    old = read_result(path)
    if (old["protocol"], old["stores"]) != (about["protocol"], about["stores"]):
        raise ResultError(f"{path}: of another protocol or other faces; name an empty folder")
    return bool(old["predictor"] == about["predictor"] and set(conditions) <= set(old["conditions"]))


def analyse(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Everything that is computed from the predictions alone."""
    return {
        "measured": measure(predictions, resamples=resamples),
        "scenarios": scenarios(predictions, resamples=resamples),
        "fairness": fairness(predictions, resamples=resamples),
        "mistakes": mistakes(predictions, resamples=resamples),
    }


def read_result(path: Path) -> dict[str, Any]:
    """Raises ResultError: no such file, or none of these."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        schema = result["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: no result of a benchmark ({error})") from error
    if schema != FORMAT:
        raise ResultError(f"{path}: {schema} is not this version's {FORMAT}; run the benchmark again")
    return result


def speed(predictors: Sequence[FacePredictor], stores: Sequence[Store]) -> dict[str, dict[str, Any]]:
    """FacePredictor to the median milliseconds of one face alone and of one of TIMED at once, all taken in turn.

    The network with its own preparation of a crop, on all cores, without detection.
    """
    clean = CONDITIONS[CLEAN]
    store = next(store for store in stores if rows_of(store, SPLIT, clean))
    rows = (rows_of(store, SPLIT, clean) * TIMED)[:TIMED]
    faces = [Face(np.array(store.crops[row]), store.card["data_set"], store.names[row], CLEAN) for row in rows]
    alone: dict[str, list[float]] = {predictor.name: [] for predictor in predictors}
    together: dict[str, list[float]] = {predictor.name: [] for predictor in predictors}
    for turn in range(ROUNDS + 1):
        for predictor in predictors:
            single = [_milliseconds(predictor, [face]) for face in faces[:5]]
            batch = _milliseconds(predictor, faces) / len(faces)
            if turn:  # the first one warms up
                alone[predictor.name] += single
                together[predictor.name].append(batch)
    run = f"{platform.node()} {time.time():.0f}"
    return {
        name: {
            "alone_ms": statistics.median(alone[name]),
            "batch_ms": statistics.median(together[name]),
            "batch": len(faces),
            "processor": _processor(),
            "run": run,
        }
        for name in alone
    }


def _milliseconds(predictor: FacePredictor, faces: list[Face]) -> float:
    start = time.perf_counter()
    predictor.predict(faces)
    return (time.perf_counter() - start) * 1000


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} cores of {models[0]}" if models else platform.machine()


def _about(store: Store) -> dict[str, Any]:
    """Which faces a store holds: its source, and a digest of the test part's crops and labels."""
    rows = rows_of(store, SPLIT, CONDITIONS[CLEAN])
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{store.names[row]} {_sorted(store.labels[row])}".encode())
        digest.update(np.ascontiguousarray(store.crops[row]).tobytes())
        digest.update(np.ascontiguousarray(store.landmarks[row]).tobytes())
    return {
        "source": store.card["source"],
        "faces": len(rows),
        "undetected": store.card["undetected"].get(SPLIT, 0),
        "digest": digest.hexdigest(),
    }


def _sorted(label: Any) -> list[Any]:
    return [list(label.age), *(sorted(names) for names in (label.gender, label.race, label.mask))]
