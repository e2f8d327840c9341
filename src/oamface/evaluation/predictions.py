"""What a predictor said of every face under every condition, beside what is true: the raw table that all figures
are computed from, one Parquet file."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oamface.atomic import write_whole
from oamface.datasets.store import Store
from oamface.errors import DataError, ResultError
from oamface.evaluation.conditions import Condition, rows_of, view
from oamface.evaluation.predictors import Face, FacePredictor, Predicted
from oamface.labels import TASKS, WITH_MASK, WITHOUT_MASK, Label, class_name, common_classes, own_classes
from oamface.occlusion import Occluded

FloatArray = npt.NDArray[np.float64]
FORMAT = "oamface-predictions/1"
TOGETHER = 256  # faces drawn and answered at once; bounds memory
CLASSED = ("age_group", "gender", "race", "mask", "mask_of_three")  # answers that are one of a few classes
_METADATA = b"oamface"
_Maps = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]  # attention and what was covered, (N, h, w) each


@dataclass(frozen=True)
class PredictionTable:
    """table: one row a face of a data set under a condition, with the columns

    - data_set, condition, face: which; style: what was drawn on it;
    - age_true, age, age_low, age_high: years, NaN where unknown or unanswered;
    - NAME_true (a class, "" where unknown) and NAME=CLASS (its probability) for every NAME in CLASSED;
    - leakage, covered: share of the attention's weight on what is covered, and of the crop that is covered.

    classes: data set to NAME to its classes there. attention: data set to condition to the mean map and mean coverage,
    nested lists (h, w). about: protocol, predictor and stores, as plain values.
    """

    table: pd.DataFrame
    classes: dict[str, dict[str, list[str]]]
    attention: dict[str, dict[str, dict[str, Any]]]
    about: dict[str, Any]

    def parts(self) -> Iterator[tuple[str, str, "Part"]]:
        """Data set, condition and faces, in the table's order."""
        for (data_set, condition), rows in self.table.groupby(["data_set", "condition"], sort=False):
            yield str(data_set), str(condition), Part(rows, self.classes[str(data_set)])

    def part(self, data_set: str, condition: str) -> "Part":
        """The faces of one data set under one condition; none if there are none."""
        rows = self.table[(self.table.data_set == data_set) & (self.table.condition == condition)]
        return Part(rows, self.classes.get(data_set, {}))

    def write(self, path: Path) -> None:
        """Raises FileError."""
        header = {"format": FORMAT, "classes": self.classes, "attention": self.attention, "about": self.about}
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: json.dumps(header).encode()})
        write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultError: no such file, not one of these, or columns, classes or probabilities that cannot be."""
        try:
            table = pq.read_table(path)
            header = json.loads((table.schema.metadata or {})[_METADATA])
            frame = table.to_pandas()
            read = cls(frame, header["classes"], header["attention"], header["about"])
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise ResultError(f"{path}: no table of predictions ({error}); run oamface's benchmark again") from error
        if header["format"] != FORMAT:
            raise ResultError(f"{path}: {header['format']} is not this version's {FORMAT}; run the benchmark again")
        check(read, str(path))
        return read


@dataclass(frozen=True)
class Part:
    """Faces of one data set under one condition: rows of a predictions' table, and the data set's classes."""

    rows: pd.DataFrame
    classes: Mapping[str, list[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def years(self) -> tuple[npt.NDArray[np.bool_], FloatArray, FloatArray]:
        """(N,) whether the exact age is known and answered; answered and true years."""
        said, true = (self.rows[name].to_numpy(float) for name in ("age", "age_true"))
        return np.isfinite(said) & np.isfinite(true), said, true

    def bounds(self) -> tuple[npt.NDArray[np.bool_], FloatArray, FloatArray]:
        """(N,) whether the exact age is known and answered with an interval; the intervals' lower and upper ends."""
        low, high = (self.rows[name].to_numpy(float) for name in ("age_low", "age_high"))
        return self.years()[0] & np.isfinite(low) & np.isfinite(high), low, high

    def answers(self, name: str) -> tuple[npt.NDArray[np.bool_], FloatArray, npt.NDArray[np.int64]]:
        """(N,) whether the class is known and answered, (N, K) probabilities, (N,) the true class, -1 where unknown."""
        classes = self.classes.get(name, [])
        if not classes:
            return np.zeros(len(self), bool), np.zeros((len(self), 0)), np.full(len(self), -1)
        shares = self.rows[[f"{name}={label}" for label in classes]].to_numpy(float)
        number = {label: at for at, label in enumerate(classes)}
        truth = np.array([number.get(label, -1) for label in self.rows[f"{name}_true"]], np.int64)
        return (truth >= 0) & np.isfinite(shares).all(1), shares, truth

    def right(self, name: str) -> FloatArray:
        """(N,) 1 where the answer is the true class, else 0; NaN where either is unknown."""
        known, shares, truth = self.answers(name)
        return np.where(known, shares.argmax(1) == truth if shares.size else False, np.nan)

    def like(self, other: "Part") -> "Part":
        """The faces of `other`, in its order, as they are here. Raises KeyError for one that is not."""
        return Part(self.rows.set_index("face").loc[other.rows["face"]].reset_index(), self.classes)


def check(predictions: PredictionTable, where: str) -> None:
    """Raises ResultError: a missing column, an unknown label, a probability or an age that is none."""
    table = predictions.table
    wanted = {"data_set", "condition", "face", "age_true", "age", "age_low", "age_high", "leakage", "covered"}
    for data_set, classes in predictions.classes.items():
        rows = table[table.data_set == data_set] if "data_set" in table else table
        for name, labels in classes.items():
            columns = [f"{name}={label}" for label in labels]
            wanted |= {f"{name}_true", *columns}
            if not wanted <= set(table.columns):
                continue
            unknown = sorted(set(rows[f"{name}_true"].astype(str)) - {"", *labels})
            if unknown:
                raise ResultError(f"{where}: {data_set} has no {name} {unknown[0]!r}; known are {', '.join(labels)}")
            shares = rows[columns].to_numpy(float)
            answered = np.isfinite(shares).all(1)
            if (answered != np.isfinite(shares).any(1)).any():
                raise ResultError(f"{where}: {data_set}: a row of {name} is NaN in part")
            if (shares[answered] < -1e-6).any() or (np.abs(shares[answered].sum(1) - 1) > 1e-3).any():
                raise ResultError(f"{where}: {data_set}: the probabilities of {name} are not shares of 1")
    missing = sorted(wanted - set(table.columns))
    if missing:
        raise ResultError(f"{where}: lacks the columns {', '.join(missing)}")
    for name in ("age", "age_low", "age_high", "age_true"):
        years = table[name].to_numpy(float)
        if np.isinf(years).any() or (np.abs(years[np.isfinite(years)] - 60) > 61).any():
            raise ResultError(f"{where}: {name} has values that are no years from 0 to 120")
    if table.duplicated(["data_set", "condition", "face"]).any():
        raise ResultError(f"{where}: a face is there twice under one condition")


def predict(
    predictors: Sequence[FacePredictor],
    stores: Sequence[Store],
    conditions: Mapping[str, Condition],
    *,
    split: str = "test",
    seed: int = 0,
    about: Sequence[dict[str, Any]] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[PredictionTable]:
    """Let predictors answer for every face of a split under every condition; each face is drawn once for all of them.

    about: what each one's predictions say of themselves. on_progress: faces done, and all.
    Raises DataError when no store has a face of that split.
    """
    plan = [
        (store, name, rows_of(store, split, condition)) for store in stores for name, condition in conditions.items()
    ]
    total, done = sum(len(rows) for _, _, rows in plan), 0
    if not total:
        raise DataError(f"the stores hold no face of the split {split!r}")
    frames: list[list[pd.DataFrame]] = [[] for _ in predictors]
    attention: list[dict[str, dict[str, dict[str, Any]]]] = [{} for _ in predictors]
    names = {id(store): face_names(store) for store in stores}
    for store, name, rows in plan:
        data_set = store.card["data_set"]
        maps: list[list[_Maps]] = [[] for _ in predictors]
        for start in range(0, len(rows), TOGETHER):
            chosen = rows[start : start + TOGETHER]
            views = [view(store, row, conditions[name], seed=seed) for row in chosen]
            faces = [
                Face(item.image, data_set, names[id(store)][row], name) for item, row in zip(views, chosen, strict=True)
            ]
            for number, predictor in enumerate(predictors):
                frame, pair = _look(predictor, store, chosen, views, faces, drawn=bool(conditions[name].styles))
                frames[number].append(frame)
                maps[number] += [] if pair is None else [pair]
            done += len(chosen)
            on_progress(done, total)
        for number, pairs in enumerate(maps):
            if pairs:
                seen, hidden = (np.concatenate([pair[side] for pair in pairs]).mean(0).round(4) for side in (0, 1))
                mean = {"map": seen.tolist(), "coverage": hidden.tolist()}
                attention[number].setdefault(data_set, {})[name] = mean
    found = []
    for number, predictor in enumerate(predictors):
        named = {
            store.card["data_set"]: {
                name: [class_name(group) for group in groups] for name, groups in _classes(store, predictor).items()
            }
            for store in stores
        }
        table = pd.concat(frames[number], ignore_index=True)
        numbers = table.select_dtypes("number").columns
        table = table.astype(dict.fromkeys(numbers, np.float32))
        found.append(PredictionTable(table, named, attention[number], about[number] if about else {}))
    return found


def _classes(store: Store, predictor: FacePredictor) -> dict[str, tuple[frozenset[Any], ...]]:
    """In which classes each of CLASSED is asked on a data set: the finest in which it and the predictor both speak."""
    data_set, asked = store.card["data_set"], {}
    for task, own in predictor.classes.items():
        if task == "age":
            groups = own_classes(data_set, "age")
            if len(groups) < len(TASKS["age"]):
                asked["age_group"] = groups
        elif task == "mask":
            asked["mask"] = (WITHOUT_MASK, WITH_MASK)
            if len(own) == len(TASKS["mask"]):
                asked["mask_of_three"] = own
        else:
            asked[task] = common_classes(own_classes(data_set, task), own)
    return asked


def face_names(store: Store) -> list[str]:
    """What each face is called: its image's name, with #row where an image shows several."""
    counts = Counter(store.names)
    return [name if counts[name] == 1 else f"{name}#{row}" for row, name in enumerate(store.names)]


def _look(
    predictor: FacePredictor,
    store: Store,
    rows: list[int],
    views: Sequence[Occluded],
    faces: Sequence[Face],
    *,
    drawn: bool,
) -> tuple[pd.DataFrame, "_Maps | None"]:
    """The table's rows of some faces, and their attention maps."""
    said = predictor.predict(faces)
    labels = [store.labels[row] for row in rows]
    columns: dict[str, Any] = {
        "data_set": faces[0].data_set,
        "condition": faces[0].condition,
        "face": [face.name for face in faces],
        "style": [item.style for item in views],
        "age_true": [float(label.age[0]) if label.age[0] == label.age[1] else np.nan for label in labels],
        "age": np.full(len(rows), np.nan) if said.years is None else said.years,
        "age_low": np.nan if said.bounds is None else said.bounds[:, 0],
        "age_high": np.nan if said.bounds is None else said.bounds[:, 1],
        "leakage": np.nan,
        "covered": np.nan,
    }
    for asked, groups in _classes(store, predictor).items():
        columns[f"{asked}_true"] = [
            _truth(label, item.mask if drawn else "", asked, groups) for label, item in zip(labels, views, strict=True)
        ]
        shares = _shares(predictor, said, asked, groups)
        columns |= {f"{asked}={class_name(group)}": shares[:, at] for at, group in enumerate(groups)}
    maps = None
    if said.attention is not None:
        height, width = said.attention.shape[1:]
        hidden = np.stack([cv2.resize(v.coverage, (width, height), interpolation=cv2.INTER_AREA) for v in views])
        maps = said.attention, hidden
        weight = said.attention.sum((1, 2)).clip(1e-9)
        columns["leakage"] = (said.attention * hidden).sum((1, 2)) / weight
        columns["covered"] = hidden.mean((1, 2))
    return pd.DataFrame(columns), maps


def _truth(label: Label, drawn: str, asked: str, groups: tuple[frozenset[Any], ...]) -> str:
    """The one class that the label lies in, "" where it says less than that. drawn: the mask that was drawn, if any."""
    known: frozenset[Any]
    if asked == "age_group":
        known = frozenset(range(label.age[0], label.age[1] + 1))
    elif asked in ("mask", "mask_of_three"):
        known = frozenset({drawn}) if drawn else label.mask
    else:
        known = getattr(label, asked)
    return next((class_name(group) for group in groups if known <= group), "")


def _shares(
    predictor: FacePredictor, said: Predicted, asked: str, groups: tuple[frozenset[Any], ...]
) -> npt.NDArray[np.float64]:
    """(N, K) probabilities of the groups: summed over the predictor's classes, or 1 where its years lie."""
    task = {"age_group": "age", "mask_of_three": "mask"}.get(asked, asked)
    if task == "age" and "age" not in said.shares:
        assert said.years is not None
        years = np.rint(said.years).clip(0, 100)
        shares = np.array([[float(year in group) for group in groups] for year in years])
        shares[~np.isfinite(said.years)] = np.nan
        return shares
    table = np.array([[bool(own & group) for group in groups] for own in predictor.classes[task]], float)
    return said.shares[task].astype(np.float64) @ table
