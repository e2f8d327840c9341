"""Results as a benchmark leaves them, made from tables of predictions."""

import json
from pathlib import Path

from helpers.predictions import table
from oamface.evaluation.predictions import PredictionTable
from oamface.labels import class_name, own_classes
from oamface.paper.benchmark import FORMAT, analyse, protocol

CONDITIONS = ("clean", "masks", "objects", "accessories", "blur_1", "blur_2", "blur_4")
MASK = {"mask": ["none", "incorrect or worn"]}
UTKFACE = {
    "gender": ["male", "female"],
    "race": [class_name(group) for group in own_classes("utkface", "race")],
    **MASK,
    "mask_of_three": ["none", "incorrect", "worn"],
}


def write_result(folder: Path, said: PredictionTable, name: str, kind: str, **identity) -> None:
    """What `benchmark` writes of a predictor whose predictions are these."""
    about = {
        "protocol": protocol(),
        "predictor": {"name": name, "kind": kind, "tasks": [], "digest": "d", **identity},
        "stores": {"utkface": {"source": "drawn", "faces": 300, "undetected": 2, "digest": "abc"}},
    }
    said = PredictionTable(said.table, said.classes, said.attention, about)
    said.write(folder / f"{name}.parquet")
    maps = {"map": [[0.9, 0.9], [0.4, 0.4]], "coverage": [[0.0, 0.0], [0.7, 0.7]]}
    result = {
        "schema": FORMAT,
        **about,
        "conditions": list(CONDITIONS),
        "interval": {"level": 0.95, "resamples": 30, "method": "percentile bootstrap over faces"},
        "speed": {"alone_ms": 4.0, "batch_ms": 1.0, "batch": 24, "processor": "test", "run": "one"},
        "classes": said.classes,
        "attention": {"utkface": {"clean": maps, "masks": maps}},
        **analyse(said, resamples=30),
    }
    (folder / f"{name}.json").write_text(json.dumps(result, allow_nan=False))


def said(seed: int, right: float = 0.85) -> PredictionTable:
    """PredictionTable of a model of ours on UTKFace and on images of masks."""
    return table(seed=seed, count=300, right=right, conditions=CONDITIONS, classes=UTKFACE)
