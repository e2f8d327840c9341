"""The fixed benchmark of face predictors on prepared stores, by one versioned protocol; see docs/benchmark.md."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from oamface.atomic import make_folder, write_text
from oamface.benchmark import processor_name, time_calls
from oamface.datasets.store import Store
from oamface.errors import ResultError
from oamface.evaluation.bootstrap import RESAMPLES, describe_interval
from oamface.evaluation.conditions import CLEAN, CONDITIONS, CORE, CORRUPTED_FACES, Condition, select_rows
from oamface.evaluation.error_analysis import analyze_errors
from oamface.evaluation.fairness import fairness
from oamface.evaluation.inference import run_predictors
from oamface.evaluation.predictions import PredictionTable, concatenate
from oamface.evaluation.predictors import FacePredictor, Sample
from oamface.evaluation.task_metrics import compute_metrics
from oamface.labels import Label
from oamface.paper.scenarios import scenarios

FORMAT = "oamface-result/2"
VERSION = 3  # of the protocol; changes whenever a metric would change for the same predictor and faces
SPLIT, SEED = "test", 0
TIMED_FACES = 24
TIMED_ROUNDS = 5


def protocol() -> dict[str, Any]:
    """Name and version of the protocol, and a digest of all that decides which images a predictor gets."""
    parameters = {
        "version": VERSION,
        "split": SPLIT,
        "seed": SEED,
        "conditions": {name: asdict(condition) for name, condition in CONDITIONS.items()},
        "corrupted_faces": CORRUPTED_FACES,
    }
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
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
    """Write NAME.parquet (all predictions) and NAME.json (all metrics) of every predictor; returns the latter.

    core: only clean and occluded faces, no corruptions. Results in `out` of the same predictor, protocol and faces are
    kept, and so are the predictions of every condition (in `out`/parts), so an interrupted benchmark resumes.
    on_progress: faces done, and all.
    Raises DataError (no test face), ResultError (`out` has results of other faces or another protocol), FileError.
    """
    make_folder(out)
    names = [predictor.name for predictor in predictors]
    if len(set(names)) < len(names):
        raise ResultError(f"two predictors have the same name: {', '.join(sorted(names))}; name each once")
    faces = {store.data_set: _describe_faces(store) for store in stores}
    conditions = CORE if core else CONDITIONS
    pending, abouts = [], []
    for predictor in predictors:
        metadata = {"name": predictor.name, "tasks": list(predictor.classes), **predictor.metadata}
        about = json.loads(json.dumps({"protocol": protocol(), "predictor": metadata, "stores": faces}))
        if not _is_done(out / f"{predictor.name}.json", about, list(conditions)):
            pending.append(predictor)
            abouts.append(about)
    if pending:
        tables = _predict(pending, stores, conditions, abouts, out / "parts", on_progress)
        latencies = measure_latency(pending, stores)  # of all at once, for ratios between them
        for table in tables:
            name = table.about["predictor"]["name"]
            table.write(out / f"{name}.parquet")
            result = {
                "schema": FORMAT,
                **table.about,
                "conditions": list(conditions),
                "interval": describe_interval(resamples),
                "speed": latencies[name],
                "classes": table.classes,
                "attention": table.attention,
                **compute_results(table, resamples=resamples),
            }
            write_text(out / f"{name}.json", json.dumps(result, allow_nan=False))
    return [out / f"{name}.json" for name in names]


def _predict(
    predictors: Sequence[FacePredictor],
    stores: Sequence[Store],
    conditions: Mapping[str, Condition],
    abouts: Sequence[dict[str, Any]],
    parts: Path,
    on_progress: Callable[[int, int], None],
) -> list[PredictionTable]:
    """Each predictor's table, condition by condition; those that are in `parts` are not predicted again."""
    make_folder(parts)
    counts = {name: sum(len(select_rows(store, SPLIT, item)) for store in stores) for name, item in conditions.items()}
    tables: list[list[PredictionTable]] = [[] for _ in predictors]
    done = 0
    for name, condition in conditions.items():
        if not counts[name] and name != CLEAN:
            continue  # no face that it applies to
        paths = [parts / f"{predictor.name}--{name}.parquet" for predictor in predictors]
        missing = [
            number
            for number, path in enumerate(paths)
            if not path.exists() or PredictionTable.read(path).about != abouts[number]
        ]
        about = [abouts[number] for number in missing]
        chosen = [predictors[number] for number in missing]
        predicted = (
            run_predictors(chosen, stores, {name: condition}, split=SPLIT, seed=SEED, about=about) if chosen else []
        )
        for number, table in zip(missing, predicted, strict=True):
            table.write(paths[number])
        for items, path in zip(tables, paths, strict=True):
            items.append(PredictionTable.read(path))
        done += counts[name]
        on_progress(done, sum(counts.values()))
    return [concatenate(items) for items in tables]


def _is_done(path: Path, about: dict[str, Any], conditions: Sequence[str]) -> bool:
    """Whether a result is there. Raises ResultError: one of another protocol or other faces is there instead."""
    if not path.exists():
        return False
    old = read_result(path)
    if (old["protocol"], old["stores"]) != (about["protocol"], about["stores"]):
        raise ResultError(f"{path}: of another protocol or other faces; name an empty folder")
    return bool(old["predictor"] == about["predictor"] and set(conditions) <= set(old["conditions"]))


def compute_results(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The parts of a result that follow from the predictions alone."""
    return {
        "measured": compute_metrics(predictions, resamples=resamples),
        "scenarios": scenarios(predictions, resamples=resamples),
        "fairness": fairness(predictions, resamples=resamples),
        "error_analysis": analyze_errors(predictions, resamples=resamples),
    }


def read_result(path: Path) -> dict[str, Any]:
    """The content of a NAME.json. Raises ResultError: no such file, another kind of file, or of another version."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        schema = result["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: not a result of a benchmark ({error})") from error
    if schema != FORMAT:
        raise ResultError(f"{path}: {schema} is not this version's {FORMAT}; run the benchmark again")
    return result


def measure_latency(predictors: Sequence[FacePredictor], stores: Sequence[Store]) -> dict[str, dict[str, Any]]:
    """Predictor's name to median milliseconds of one face, and per face of a batch, all predictors timed in turn.

    Preprocessing of the crop and the network, on all cores, without detection.
    """
    clean = CONDITIONS[CLEAN]
    store = next(store for store in stores if select_rows(store, SPLIT, clean))
    rows = (select_rows(store, SPLIT, clean) * TIMED_FACES)[:TIMED_FACES]
    samples = [Sample(np.array(store.crops[row]), store.data_set, store.names[row], CLEAN) for row in rows]
    single, batched = (
        time_calls({one.name: partial(one.predict, samples[:count]) for one in predictors}, rounds=rounds)
        for count, rounds in ((1, 5 * TIMED_ROUNDS), (TIMED_FACES, TIMED_ROUNDS))
    )
    processor = f"{os.cpu_count()} cores of {processor_name()}"
    common = {"batch": TIMED_FACES, "processor": processor, "run": f"{platform.node()} {time.time():.0f}"}
    return {
        name: {"latency_ms": single[name].median, "batch_ms": batched[name].median / TIMED_FACES, **common}
        for name in single
    }


def _describe_faces(store: Store) -> dict[str, Any]:
    """Which faces a store tests on, with a digest of their crops, landmarks and labels."""
    rows = select_rows(store, SPLIT, CONDITIONS[CLEAN])
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{store.names[row]} {_sorted_classes(store.labels[row])}".encode())
        digest.update(np.ascontiguousarray(store.crops[row]).tobytes())
        digest.update(np.ascontiguousarray(store.landmarks[row]).tobytes())
    return {
        "source": store.digest,
        "faces": len(rows),
        "undetected": store.card["undetected"].get(SPLIT, 0),
        "digest": digest.hexdigest(),
    }


def _sorted_classes(label: Label) -> list[Any]:
    return [list(label.age), *(sorted(names) for names in (label.gender, label.race, label.mask))]
