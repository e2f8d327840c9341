"""The tasks, their classes, and labels as sets of candidate classes.

A data set may know less than the model predicts: UTKFace's "Asian" is East Asian or Southeast Asian. So a label is a
set of candidate classes, and an unknown label is all of them. Training maximises the set's probability, evaluation
sums it. What each data set calls its classes is in `oamface.datasets.labels`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oamface.errors import LabelError

if TYPE_CHECKING:  # the command line reads the classes alone, and `oamface --help` should not wait for numpy
    import numpy as np
    import numpy.typing as npt

AGES = tuple(range(101))
GENDERS = ("male", "female")
RACES = ("White", "Black", "East Asian", "Southeast Asian", "Indian", "Middle Eastern", "Latino")
MASKS = ("none", "incorrect", "worn")
TASKS: dict[str, tuple[int, ...] | tuple[str, ...]] = {"age": AGES, "gender": GENDERS, "race": RACES, "mask": MASKS}

WITHOUT_MASK = frozenset({"none"})
WITH_MASK = frozenset({"incorrect", "worn"})


@dataclass(frozen=True)
class Label:
    """The candidate classes of one face in every task; by default all of them.

    age: first and last candidate year, both included, 0..100. gender, race, mask: sets of class names.
    Raises LabelError: an unknown class, no class at all, or years out of order or range.
    """

    age: tuple[int, int] = (AGES[0], AGES[-1])
    gender: frozenset[str] = frozenset(GENDERS)
    race: frozenset[str] = frozenset(RACES)
    mask: frozenset[str] = frozenset(MASKS)

    def __post_init__(self) -> None:
        low, high = self.age
        if not AGES[0] <= low <= high <= AGES[-1]:
            raise LabelError(f"ages {low} to {high}: expected years in order within {AGES[0]} to {AGES[-1]}")
        for task, names in (("gender", self.gender), ("race", self.race), ("mask", self.mask)):
            classes = [str(name) for name in TASKS[task]]
            if not names or not names <= set(classes):
                unknown = sorted(names - set(classes)) or "no class at all"
                raise LabelError(f"{task}: {unknown}; expected some of {', '.join(classes)}")


def check_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The names of tasks, stripped of spaces and without repetitions; a string holds several between commas.

    Raises LabelError: an unknown task, or none.
    """
    try:
        listed = names.split(",") if isinstance(names, str) else [str(name) for name in names]
    except TypeError:
        raise LabelError(f"tasks {names!r}: expected a list of names; known are {', '.join(TASKS)}") from None
    tasks = tuple(dict.fromkeys(name.strip() for name in listed if name.strip()))
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise LabelError(f"tasks: {', '.join(unknown)} is unknown; known are {', '.join(TASKS)}")
    if not tasks:
        raise LabelError(f"tasks: none is named; known are {', '.join(TASKS)}")
    return tasks


def check_task(task: str) -> None:
    """Raises LabelError: an unknown task."""
    if task not in TASKS:
        raise LabelError(f"task {task!r}: known are {', '.join(TASKS)}")


def common_classes(one: Iterable[frozenset[Any]], other: Iterable[frozenset[Any]]) -> tuple[frozenset[Any], ...]:
    """The finest classes that two groupings of a task share: sets that overlap, directly or through others, are merged.

    The merged classes come in the order in which their first set was given.
    """
    merged: list[frozenset[Any]] = []
    for group in (*one, *other):
        overlapping = [classes for classes in merged if classes & group]
        place = min((merged.index(classes) for classes in overlapping), default=len(merged))
        merged = [classes for classes in merged if classes not in overlapping]
        merged.insert(place, group.union(*overlapping))
    return tuple(merged)


def class_name(classes: Iterable[Any]) -> str:
    """The name of a set of classes: "Latino or Middle Eastern"; of years the first and the last: "20-29"."""
    names = sorted(classes)
    if names and isinstance(names[0], int):
        return f"{names[0]}-{names[-1]}" if len(names) > 1 else str(names[0])
    return " or ".join(names)


def candidate_mask(labels: Iterable[Label], task: str) -> "npt.NDArray[np.bool_]":
    """(N, classes) bool: True where a class of the task is a candidate of the label. Raises LabelError."""
    import numpy as np

    check_task(task)
    if task == "age":
        bounds = np.array([label.age for label in labels], int).reshape(-1, 2)
        return (np.array(AGES) >= bounds[:, :1]) & (np.array(AGES) <= bounds[:, 1:])
    rows = [[name in getattr(label, task) for name in TASKS[task]] for label in labels]
    return np.array(rows, bool).reshape(-1, len(TASKS[task]))
