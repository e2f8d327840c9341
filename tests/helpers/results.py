"""Result files as the benchmark writes them, made from tables of random predictions."""

import json
from pathlib import Path
from typing import Any

from helpers.predictions import random_table
from oamface.datasets.labels import dataset_classes
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.task_metrics import compute_metrics
from oamface.labels import class_name
from oamface.paper.benchmark import FORMAT, compute_results, protocol

CONDITIONS = ("clean", "masks", "objects", "accessories", "snow_1", "snow_2")
UTKFACE = {
    "gender": ["male", "female"],
    "race": [class_name(group) for group in dataset_classes("utkface", "race")],
    "mask": ["none", "incorrect or worn"],
    "mask_of_three": ["none", "incorrect", "worn"],
}


def write_result(folder: Path, predictions: PredictionTable, name: str, kind: str, **metadata) -> None:
    """NAME.parquet and NAME.json, as the benchmark writes them for a predictor with these predictions."""
    about = {
        "protocol": protocol(),
        "predictor": {"name": name, "kind": kind, "tasks": [], "digest": "d", **metadata},
        "stores": {"utkface": {"source": "drawn", "faces": 300, "undetected": 2, "digest": "abc"}},
    }
    predictions = PredictionTable(predictions.table, predictions.classes, predictions.attention, about)
    predictions.write(folder / f"{name}.parquet")
    maps = {"attention": [[0.9, 0.9], [0.4, 0.4]], "occlusion_mask": [[0.0, 0.0], [0.7, 0.7]]}
    result = {
        "schema": FORMAT,
        **about,
        "conditions": list(CONDITIONS),
        "interval": {"level": 0.95, "resamples": 30, "method": "percentile bootstrap over faces"},
        "speed": {"latency_ms": 4.0, "batch_ms": 1.0, "batch": 24, "processor": "test", "run": "one"},
        "classes": predictions.classes,
        "attention": {"utkface": {"clean": maps, "masks": maps}},
        **_results(predictions, kind),
    }
    (folder / f"{name}.json").write_text(json.dumps(result, allow_nan=False))


def _results(predictions: PredictionTable, kind: str) -> dict[str, Any]:
    """All that follows from the predictions; of others than model files only what the report reads."""
    if kind == "model file":
        return compute_results(predictions, resamples=30)
    empty = {"scenarios": {}, "fairness": [], "error_analysis": {"age_bias": []}}
    return {"measured": compute_metrics(predictions, resamples=10), **empty}


def utkface_table(seed: int, accuracy: float = 0.85) -> PredictionTable:
    """Random predictions of a model on UTKFace, under all of CONDITIONS."""
    return random_table(seed=seed, count=300, accuracy=accuracy, conditions=CONDITIONS, classes=UTKFACE)
