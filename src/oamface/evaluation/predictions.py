"""The table of raw predictions beside the ground truth, one Parquet file: every metric is computed from it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.atomic import write_whole
from oamface.errors import ResultError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FORMAT = "oamface-predictions/2"
CLASSIFICATION_TASKS = ("age_group", "gender", "race", "mask", "mask_of_three")
_METADATA = b"oamface"
_AGES = ("age_true", "age", "age_low", "age_high")
_COLUMNS = ("data_set", "condition", "face", *_AGES, "attention_on_occlusion", "occluded_area")


@dataclass(frozen=True)
class PredictionTable:
    """Predictions and ground truth of one predictor.

    table: one row a face and condition, with the columns

    - data_set, condition, face: which one; style: the occlusion drawn on it;
    - age_true, age, age_low, age_high: years, NaN where unknown;
    - TASK_true (a class, "" where unknown) and TASK=CLASS (its probability) for every TASK in CLASSIFICATION_TASKS;
    - attention_on_occlusion, occluded_area: the share of attention on occluded pixels, and their share of the crop.

    classes: data set to task to class names. attention: data set to condition to the mean "attention" and
    "occlusion_mask", nested lists (h, w). about: protocol, predictor and stores, as plain values.
    """

    table: pd.DataFrame
    classes: dict[str, dict[str, list[str]]]
    attention: dict[str, dict[str, dict[str, Any]]]
    about: dict[str, Any]

    def subsets(self) -> Iterator[tuple[str, str, "Subset"]]:
        """Data set, condition and their faces, in the table's order."""
        for (data_set, condition), rows in self.table.groupby(["data_set", "condition"], sort=False):
            yield str(data_set), str(condition), Subset(rows, self.classes[str(data_set)])

    def subset(self, data_set: str, condition: str) -> "Subset":
        """The faces of one data set under one condition; may be empty."""
        rows = self.table[(self.table.data_set == data_set) & (self.table.condition == condition)]
        return Subset(rows, self.classes.get(data_set, {}))

    def write(self, path: Path) -> None:
        """Raises FileError."""
        header = {"format": FORMAT, "classes": self.classes, "attention": self.attention, "about": self.about}
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: json.dumps(header).encode()})
        write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultError: no such file, another kind of file, or invalid columns, classes or values."""
        try:
            table = pq.read_table(path)
            header = json.loads((table.schema.metadata or {})[_METADATA])
            predictions = cls(table.to_pandas(), header["classes"], header["attention"], header["about"])
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise ResultError(f"{path}: not a table of predictions ({error}); run the benchmark again") from error
        if header["format"] != FORMAT:
            raise ResultError(f"{path}: {header['format']} is not this version's {FORMAT}; run the benchmark again")
        _check(predictions, str(path))
        return predictions


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """One table of a predictor's predictions under several conditions, data set by data set."""
    rows = pd.concat([table.table for table in tables], ignore_index=True)
    order = {data_set: number for number, data_set in enumerate(tables[0].classes)}
    rows = rows.sort_values("data_set", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    attention: dict[str, dict[str, dict[str, Any]]] = {}
    for table in tables:
        for data_set, maps in table.attention.items():
            attention.setdefault(data_set, {}).update(maps)
    return PredictionTable(rows, tables[0].classes, attention, tables[0].about)


@dataclass(frozen=True)
class Subset:
    """The faces of one data set under one condition: rows of a PredictionTable, and the data set's classes."""

    rows: pd.DataFrame
    classes: Mapping[str, list[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def ages(self) -> tuple[BoolArray, FloatArray, FloatArray]:
        """(N,) whether both ages exist, predicted years, true years."""
        predicted, true = (self.rows[name].to_numpy(float) for name in ("age", "age_true"))
        return np.isfinite(predicted) & np.isfinite(true), predicted, true

    def age_bounds(self) -> tuple[BoolArray, FloatArray, FloatArray]:
        """(N,) whether the true age and an interval exist, lower and upper ends of the interval."""
        low, high = (self.rows[name].to_numpy(float) for name in ("age_low", "age_high"))
        return self.ages()[0] & np.isfinite(low) & np.isfinite(high), low, high

    def classifications(self, task: str) -> tuple[BoolArray, FloatArray, npt.NDArray[np.int64]]:
        """(N,) whether label and prediction exist, (N, K) probabilities, (N,) number of the true class or -1."""
        classes = self.classes.get(task, [])
        if not classes:
            return np.zeros(len(self), bool), np.zeros((len(self), 0)), np.full(len(self), -1)
        probabilities = self.rows[[f"{task}={name}" for name in classes]].to_numpy(float)
        numbers = {name: number for number, name in enumerate(classes)}
        truth = np.array([numbers.get(name, -1) for name in self.rows[f"{task}_true"]], np.int64)
        return (truth >= 0) & np.isfinite(probabilities).all(1), probabilities, truth

    def correct(self, task: str) -> FloatArray:
        """(N,) 1 where the predicted class is the true one, else 0; NaN where label or prediction is missing."""
        valid, probabilities, truth = self.classifications(task)
        return np.where(valid, probabilities.argmax(1) == truth if probabilities.size else False, np.nan)

    def same_faces(self, other: "Subset") -> "Subset":
        """The faces of `other`, in its order, under this condition. Raises KeyError: one is missing here."""
        return Subset(self.rows.set_index("face").loc[other.rows["face"]].reset_index(), self.classes)


def _check(predictions: PredictionTable, where: str) -> None:
    """Raises ResultError: a missing column, an unknown label, or invalid probabilities or ages."""
    table = predictions.table
    required = set(_COLUMNS)
    for data_set, classes in predictions.classes.items():
        for task, names in classes.items():
            columns = {f"{task}_true", *(f"{task}={name}" for name in names)}
            required |= columns
            if "data_set" in table and columns <= set(table.columns):
                _check_classes(table[table.data_set == data_set], task, names, f"{where}: {data_set}")
    missing = sorted(required - set(table.columns))
    if missing:
        raise ResultError(f"{where}: lacks the columns {', '.join(missing)}")
    for name in _AGES:
        years = table[name].to_numpy(float)
        if np.isinf(years).any() or (np.abs(years[np.isfinite(years)] - 60) > 61).any():
            raise ResultError(f"{where}: {name} has values outside 0 to 120 years")
    if table.duplicated(["data_set", "condition", "face"]).any():
        raise ResultError(f"{where}: a face is given twice under one condition")


def _check_classes(rows: pd.DataFrame, task: str, names: list[str], where: str) -> None:
    unknown = sorted(set(rows[f"{task}_true"].astype(str)) - {"", *names})
    if unknown:
        raise ResultError(f"{where} has no {task} {unknown[0]!r}; known are {', '.join(names)}")
    probabilities = rows[[f"{task}={name}" for name in names]].to_numpy(float)
    predicted = np.isfinite(probabilities).all(1)
    if (predicted != np.isfinite(probabilities).any(1)).any():
        raise ResultError(f"{where}: a row of {task} is NaN in part")
    if (probabilities[predicted] < -1e-6).any() or (np.abs(probabilities[predicted].sum(1) - 1) > 1e-3).any():
        raise ResultError(f"{where}: the probabilities of {task} do not sum to 1")
