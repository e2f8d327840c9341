"""Runs predictors on the faces of stores under conditions, and collects their predictions in tables."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from oamface.datasets.labels import dataset_classes
from oamface.datasets.store import Store
from oamface.errors import DataError
from oamface.evaluation.conditions import Condition, apply_condition, select_rows
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.predictors import Classes, FacePredictor, Sample, SamplePredictions
from oamface.labels import AGES, MASKS, WITH_MASK, WITHOUT_MASK, Label, class_name, common_classes
from oamface.occlusion import Occluded
from oamface.parallel import map_ahead

BATCH = 256  # faces drawn and predicted at once; bounds memory
FloatArray = npt.NDArray[np.floating]


def run_predictors(
    predictors: Sequence[FacePredictor],
    stores: Sequence[Store],
    conditions: Mapping[str, Condition],
    *,
    split: str = "test",
    seed: int = 0,
    about: Sequence[dict[str, Any]] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[PredictionTable]:
    """A table for each predictor, with every face of a split under every condition; all see the same images.

    about: of each table. on_progress: faces done, and all. Raises DataError: no face of that split.
    """
    batches = [
        (number, name, rows[start : start + BATCH])
        for number, store in enumerate(stores)
        for name, condition in conditions.items()
        for rows in [select_rows(store, split, condition)]
        for start in range(0, len(rows), BATCH)
    ]
    done, total = 0, sum(len(rows) for _, _, rows in batches)
    if not total:
        raise DataError(f"the stores hold no face of the split {split!r}")
    collectors = [_Collector(predictor) for predictor in predictors]
    names = [face_names(store) for store in stores]

    def draw(batch: tuple[int, str, list[int]]) -> list[Occluded]:
        number, name, rows = batch
        return [apply_condition(stores[number], row, conditions[name], seed=seed) for row in rows]

    drawn = map_ahead(draw, batches, 2, ahead=2)  # while the networks predict
    for (number, condition_name, rows), faces in zip(batches, drawn, strict=True):
        store, condition = stores[number], conditions[condition_name]
        labels = [store.labels[row] for row in rows]
        if condition.styles:
            labels = [replace(label, mask=frozenset({face.mask})) for label, face in zip(labels, faces, strict=True)]
        samples = [
            Sample(face.image, store.data_set, names[number][row], condition_name)
            for face, row in zip(faces, rows, strict=True)
        ]
        for collector in collectors:
            collector.add(samples, labels, faces)
        done += len(rows)
        on_progress(done, total)
    data_sets = [store.data_set for store in stores]
    return [item.table(data_sets, about[number] if about else {}) for number, item in enumerate(collectors)]


def face_names(store: Store) -> list[str]:
    """The name of each face: its image's, with #row where an image has several faces."""
    counts = Counter(store.names)
    return [name if counts[name] == 1 else f"{name}#{row}" for row, name in enumerate(store.names)]


class _Collector:
    """Collects one predictor's table batch by batch."""

    def __init__(self, predictor: FacePredictor) -> None:
        self._predictor = predictor
        self._frames: list[pd.DataFrame] = []
        # Of each data set and condition: (2, h, w), attention and occlusion masks summed over faces.
        self._map_sums: defaultdict[tuple[str, str], FloatArray] = defaultdict(lambda: np.zeros(1))

    def add(self, samples: Sequence[Sample], labels: Sequence[Label], faces: Sequence[Occluded]) -> None:
        """Predict for a batch of one data set and condition."""
        predictions = self._predictor.predict(samples)
        data_set, condition = samples[0].data_set, samples[0].condition
        bounds = predictions.age_bounds
        columns: dict[str, Any] = {
            "data_set": data_set,
            "condition": condition,
            "face": [sample.name for sample in samples],
            "style": [face.style for face in faces],
            "age_true": [float(label.age[0]) if label.age[0] == label.age[1] else np.nan for label in labels],
            "age": np.full(len(samples), np.nan) if predictions.years is None else predictions.years,
            "age_low": np.nan if bounds is None else bounds[:, 0],
            "age_high": np.nan if bounds is None else bounds[:, 1],
            "attention_on_occlusion": np.nan,
            "occluded_area": np.nan,
        }
        for task, groups in _evaluated_classes(data_set, self._predictor.classes).items():
            columns[f"{task}_true"] = [_true_class(label, task, groups) for label in labels]
            probabilities = _group_probabilities(predictions, self._predictor.classes, task, groups)
            columns |= {f"{task}={class_name(group)}": probabilities[:, at] for at, group in enumerate(groups)}
        if predictions.attention is not None:
            attention, size = predictions.attention, predictions.attention.shape[:0:-1]
            masks = np.stack([cv2.resize(face.occlusion_mask, size, interpolation=cv2.INTER_AREA) for face in faces])
            sums = np.stack([attention.sum(0, np.float64), masks.sum(0, np.float64)])
            self._map_sums[data_set, condition] = self._map_sums[data_set, condition] + sums
            columns["attention_on_occlusion"] = (attention * masks).sum((1, 2)) / attention.sum((1, 2)).clip(1e-9)
            columns["occluded_area"] = masks.mean((1, 2))
        self._frames.append(pd.DataFrame(columns))

    def table(self, data_sets: Sequence[str], about: dict[str, Any]) -> PredictionTable:
        """Everything collected."""
        table = pd.concat(self._frames, ignore_index=True)
        table = table.astype(dict.fromkeys(table.select_dtypes("number").columns, np.float32))
        classes = {
            data_set: {
                task: [class_name(group) for group in groups]
                for task, groups in _evaluated_classes(data_set, self._predictor.classes).items()
            }
            for data_set in data_sets
        }
        counts = table.groupby(["data_set", "condition"]).size()
        attention: dict[str, dict[str, dict[str, Any]]] = {}
        for (data_set, condition), sums in self._map_sums.items():
            means = (sums / counts[data_set, condition]).round(4).tolist()
            maps = dict(zip(("attention", "occlusion_mask"), means, strict=True))
            attention.setdefault(data_set, {})[condition] = maps
        return PredictionTable(table, classes, attention, about)


def _evaluated_classes(data_set: str, predicted: Mapping[str, Classes]) -> dict[str, Classes]:
    """The classes of every classification task on a data set: the finest that it and the predictor share."""
    classes: dict[str, Classes] = {}
    for task, own in predicted.items():
        if task == "age":
            age_groups = dataset_classes(data_set, "age")
            if len(age_groups) < len(AGES):
                classes["age_group"] = age_groups
        elif task == "mask":
            classes["mask"] = (WITHOUT_MASK, WITH_MASK)
            if len(own) == len(MASKS):
                classes["mask_of_three"] = own
        else:
            classes[task] = common_classes(dataset_classes(data_set, task), own)
    return classes


def _true_class(label: Label, task: str, groups: Classes) -> str:
    """The one class that holds all candidates of a label, "" where no class does."""
    candidates: frozenset[Any]
    if task == "age_group":
        candidates = frozenset(range(label.age[0], label.age[1] + 1))
    else:
        candidates = getattr(label, "mask" if task == "mask_of_three" else task)
    return next((class_name(group) for group in groups if candidates <= group), "")


def _group_probabilities(
    predictions: SamplePredictions, classes: Mapping[str, Classes], task: str, groups: Classes
) -> npt.NDArray[np.float64]:
    """(N, K) probabilities of the groups: summed over the predictor's classes, or 1 for the group of its age."""
    task = {"age_group": "age", "mask_of_three": "mask"}.get(task, task)
    if task == "age" and "age" not in predictions.probabilities:
        assert predictions.years is not None
        years = np.rint(predictions.years).clip(0, 100)
        one_hot = np.array([[float(year in group) for group in groups] for year in years])
        one_hot[~np.isfinite(predictions.years)] = np.nan
        return one_hot
    membership = np.array([[bool(own & group) for group in groups] for own in classes[task]], float)
    return predictions.probabilities[task].astype(np.float64) @ membership
