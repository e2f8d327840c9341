"""One model on prepared stores: every metric with its interval, per data set and condition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from oamface.data.store import Store
from oamface.engine import Answers, Engine
from oamface.errors import DataError
from oamface.evaluate import metrics
from oamface.evaluate.bootstrap import LEVEL, RESAMPLES, Figure, bootstrap
from oamface.evaluate.conditions import CLEAN, CONDITIONS, Condition, rows_of, view
from oamface.labels import MASKS, TASKS, WITH_MASK, WITHOUT_MASK, Label, members, own_classes

FORMAT = "oamface-evaluation/1"
TOGETHER = 256  # faces drawn and answered at once; bounds memory

Sheet = dict[str, dict[str, Figure]]  # task -> metric -> figure


@dataclass(frozen=True)
class _Seen:
    """N faces of one data set under one condition: what the model said, what is true, what was covered."""

    rows: list[int]
    labels: list[Label]
    answers: Answers
    coverage: npt.NDArray[np.float32]
    drawn: list[str]  # the mask that was drawn, for covered faces


def evaluate(
    engine: Engine,
    stores: Sequence[Store],
    *,
    split: str = "test",
    resamples: int = RESAMPLES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Everything measured, as plain values (docs/evaluation.md describes them). on_progress: faces done, and all.

    Raises DataError when no store has a face of that split.
    """
    plan = [
        (store, name, rows_of(store, split, condition)) for store in stores for name, condition in CONDITIONS.items()
    ]
    total, done = sum(len(rows) for _, _, rows in plan), 0
    if not total:
        raise DataError(f"the stores hold no face of the split {split!r}")
    sets: dict[str, Any] = {}
    bare: _Seen | None = None
    for store, name, rows in plan:
        data_set = store.card["data_set"]
        if name == CLEAN:
            sets[data_set] = {
                "source": store.card["source"],
                "faces": len(rows),
                "without_a_face": store.card["without_a_face"].get(split, 0),
                "conditions": {},
            }
        if not rows:
            continue
        parts = []
        for start in range(0, len(rows), TOGETHER):
            parts.append(_look(engine, store, rows[start : start + TOGETHER], CONDITIONS[name]))
            done += len(parts[-1].rows)
            on_progress(done, total)
        seen = _join(parts)
        sheet: dict[str, Any] = {"faces": len(rows), **_measure(seen, data_set, engine, resamples)}
        if name == CLEAN:
            bare = seen
        elif bare is not None:
            sheet["loss"] = _loss(bare, seen, data_set, resamples)
            sheet["mask_or_none"] = _mask_or_none(bare, seen, resamples)
        sets[data_set]["conditions"][name] = sheet
    return {
        "schema": FORMAT,
        "model": engine.digest,
        "split": split,
        "interval": {"level": LEVEL, "resamples": resamples, "method": "percentile bootstrap over faces"},
        "data_sets": sets,
    }


def _look(engine: Engine, store: Store, rows: list[int], condition: Condition) -> _Seen:
    views = [view(store, row, condition) for row in rows]
    answers = engine.answer([item.image for item in views])
    height, width = answers.attention.shape[1:]
    coverage = [cv2.resize(item.coverage, (width, height), interpolation=cv2.INTER_AREA) for item in views]
    drawn = [item.mask for item in views] if condition.styles else []
    return _Seen(rows, [store.labels[row] for row in rows], answers, np.stack(coverage), drawn)


def _join(parts: Sequence[_Seen]) -> _Seen:
    return _Seen(
        [row for part in parts for row in part.rows],
        [label for part in parts for label in part.labels],
        _stack([part.answers for part in parts]),
        np.concatenate([part.coverage for part in parts]),
        [mask for part in parts for mask in part.drawn],
    )


def _stack(answers: Sequence[Answers]) -> Answers:
    probabilities = {task: np.concatenate([item.probabilities[task] for item in answers]) for task in TASKS}
    return Answers(probabilities, np.concatenate([item.attention for item in answers]))


def _measure(seen: _Seen, data_set: str, engine: Engine, resamples: int) -> Sheet:
    sheet: Sheet = {}
    exact, years = _exact_ages(seen.labels)
    if exact.any():
        said, (low, high) = seen.answers.years, seen.answers.age_bounds(engine.description["intervals"]["quantile"])
        sheet["age"] = bootstrap(metrics.age_metrics, said[exact], years[exact], resamples=resamples)
        sheet["age_interval"] = bootstrap(
            metrics.interval_metrics, low[exact], high[exact], years[exact], resamples=resamples
        )
    for name, task in _classed(data_set):
        known, shares, truth = _answered(seen, data_set, task)
        if known.any():
            sheet[name] = bootstrap(metrics.class_metrics, shares[known], truth[known], resamples=resamples)
    known, shares, truth = _mask_answers(seen)
    if known.any():
        sheet["mask"] = bootstrap(_mask_metrics, shares[known], truth[known], resamples=resamples)
    if seen.drawn:
        three = np.array([MASKS.index(mask) for mask in seen.drawn])
        sheet["mask_of_three"] = bootstrap(
            metrics.class_metrics, seen.answers.probabilities["mask"], three, resamples=resamples
        )
        sheet["attention"] = bootstrap(
            metrics.attention_on_covered, seen.answers.attention, seen.coverage, resamples=resamples
        )
    return sheet


def _loss(bare: _Seen, covered: _Seen, data_set: str, resamples: int) -> dict[str, Figure]:
    """What covering the same faces costs: years of mean error, and points of accuracy as shares of 1."""
    at = {row: place for place, row in enumerate(bare.rows)}
    pick = np.array([at[row] for row in covered.rows])
    losses: dict[str, Figure] = {}
    exact, years = _exact_ages(covered.labels)
    if exact.any():
        before = np.abs(bare.answers.years[pick] - years)[exact]
        after = np.abs(covered.answers.years - years)[exact]
        losses |= bootstrap(lambda a, b: {"age_mae": float((b - a).mean())}, before, after, resamples=resamples)
    for name, task in _classed(data_set):
        known, shares, truth = _answered(covered, data_set, task)
        _, clear, _ = _answered(bare, data_set, task)
        before, after = clear[pick].argmax(1) == truth, shares.argmax(1) == truth
        losses |= bootstrap(_drop(f"{name}_accuracy"), before[known], after[known], resamples=resamples)
    return losses


def _classed(data_set: str) -> list[tuple[str, str]]:
    """Name and task of every answer that is one of a few classes; years are, where the data set groups them."""
    grouped = len(own_classes(data_set, "age")) < len(TASKS["age"])
    return [*([("age_group", "age")] if grouped else []), ("gender", "gender"), ("race", "race")]


def _drop(name: str) -> Callable[..., dict[str, float]]:
    return lambda before, after: {name: float(before.mean() - after.mean())}


def _mask_or_none(bare: _Seen, covered: _Seen, resamples: int) -> dict[str, Figure]:
    """Bare and covered faces together: is there a mask? Precision, recall and AUC need both kinds."""
    sides = [_mask_answers(bare), _mask_answers(covered)]
    known, shares, truth = (np.concatenate(pair) for pair in zip(*sides, strict=True))
    return bootstrap(_mask_metrics, shares[known], truth[known], resamples=resamples)


def _mask_metrics(shares: npt.NDArray[np.floating], truth: npt.NDArray[np.integer]) -> dict[str, float]:
    """Of the binary answer; precision, recall and F1 are those of "masked"."""
    confusion = metrics.confusion_matrix(shares.argmax(1), truth, 2)
    right, answered, true = confusion[1, 1], confusion[:, 1].sum(), confusion[1].sum()
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "precision": float(right / answered) if answered else float("nan"),
        "recall": float(right / true) if true else float("nan"),
        "f1": float(2 * right / (answered + true)) if answered + true else float("nan"),
        "auc": metrics.auc(shares[:, 1], truth == 1),
    }


def _mask_answers(seen: _Seen) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(N,) whether the truth is known, (N, 2) shares of none and masked, (N,) 0 or 1."""
    shares = _summed(seen.answers.probabilities["mask"], "mask", (WITHOUT_MASK, WITH_MASK))
    if seen.drawn:
        masked = np.array([mask != "none" for mask in seen.drawn])
        return np.ones(len(masked), bool), shares, masked.astype(np.int64)
    table = members(seen.labels, "mask")
    bare, masked = ~table[:, 1:].any(1), ~table[:, 0]
    return bare | masked, shares, masked.astype(np.int64)


def _answered(
    seen: _Seen, data_set: str, task: str
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(N,) whether the label is one of the data set's classes, (N, K) their probabilities, (N,) which it is."""
    classes = own_classes(data_set, task)
    shares = _summed(seen.answers.probabilities[task], task, classes)
    at = {members_: number for number, members_ in enumerate(classes)}
    truth = np.array([at.get(_label_set(label, task), -1) for label in seen.labels])
    return truth >= 0, shares, truth


def _label_set(label: Label, task: str) -> frozenset[Any]:
    return frozenset(range(label.age[0], label.age[1] + 1)) if task == "age" else getattr(label, task)


def _summed(
    probabilities: npt.NDArray[np.float32], task: str, classes: Iterable[frozenset[Any]]
) -> npt.NDArray[np.float32]:
    """(N, K) probabilities of the K sets of classes."""
    names = TASKS[task]
    table = np.array([[name in group for group in classes] for name in names], np.float32)
    return probabilities @ table


def _exact_ages(labels: Sequence[Label]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """(N,) whether one year is named, (N,) that year."""
    bounds = np.array([label.age for label in labels], float).reshape(-1, 2)
    return bounds[:, 0] == bounds[:, 1], bounds[:, 0]
