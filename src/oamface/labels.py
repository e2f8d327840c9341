"""The label space: what the four tasks can answer, and how a data set that knows less maps onto it.

A label is a *set* of classes: UTKFace's "Asian" is East Asian or Southeast Asian. Training maximises, and evaluation
sums, the probability of the set, so every data set speaks to the same heads. An unknown label is every class.
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

# Coarser classes of the data sets, as sets of ours.
UTKFACE_RACES = (
    frozenset({"White"}),
    frozenset({"Black"}),
    frozenset({"East Asian", "Southeast Asian"}),
    frozenset({"Indian"}),
    frozenset({"Latino", "Middle Eastern"}),
)
FAIRFACE_RACES = {race: frozenset({race}) for race in RACES} | {"Latino_Hispanic": frozenset({"Latino"})}
SYNTH_RACES = {  # the ancestries that synthetic heads know
    "White": frozenset({"White"}),
    "Black": frozenset({"Black"}),
    "Asian": frozenset({"East Asian", "Southeast Asian"}),
}
FAIRFACE_AGES = {
    "0-2": (0, 2),
    "3-9": (3, 9),
    "10-19": (10, 19),
    "20-29": (20, 29),
    "30-39": (30, 39),
    "40-49": (40, 49),
    "50-59": (50, 59),
    "60-69": (60, 69),
    "more than 70": (70, 100),
}
_OWN_CLASSES: dict[tuple[str, str], tuple[frozenset[Any], ...]] = {
    ("utkface", "race"): UTKFACE_RACES,
    ("synth", "race"): (
        *SYNTH_RACES.values(),
        *(frozenset({race}) for race in ("Indian", "Middle Eastern", "Latino")),
    ),
    ("fairface", "age"): tuple(frozenset(range(low, high + 1)) for low, high in FAIRFACE_AGES.values()),
}
WITHOUT_MASK = frozenset({"none"})
WITH_MASK = frozenset({"incorrect", "worn"})


@dataclass(frozen=True)
class Label:
    """What a data set says of one face; everything not said is every class.

    age: first and last year it may be, both included, 0..100. gender, race, mask: sets of class names.
    Raises LabelError for an unknown or an empty class, and for years out of order or range.
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
            known = TASKS[task]
            if not names or not names <= set(known):
                unknown = sorted(names - set(known)) or "no class at all"
                raise LabelError(f"{task}: {unknown}; known are {', '.join(map(str, known))}")


def check_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Names of tasks, each once, without spaces around them or empty ones. Raises LabelError: unknown, or none left."""
    chosen = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    unknown = [name for name in chosen if name not in TASKS]
    if unknown or not chosen:
        raise LabelError(f"tasks {', '.join(unknown) or 'none'}: known are {', '.join(TASKS)}")
    return chosen


def own_classes(data_set: str, task: str) -> tuple[frozenset[Any], ...]:
    """The classes in which a data set speaks of a task, as sets of ours: its own coarser ones, or each of ours alone.

    Raises LabelError for an unknown task.
    """
    _check_task(task)
    return _OWN_CLASSES.get((data_set, task), tuple(frozenset({name}) for name in TASKS[task]))


def common_classes(one: Iterable[frozenset[Any]], other: Iterable[frozenset[Any]]) -> tuple[frozenset[Any], ...]:
    """The finest classes in which both sides can speak: sets that overlap, directly or through others, are joined."""
    joined: list[frozenset[Any]] = []
    for group in (*one, *other):
        touching = [known for known in joined if known & group]
        place = min((joined.index(known) for known in touching), default=len(joined))
        joined = [known for known in joined if known not in touching]
        joined.insert(place, group.union(*touching))
    return tuple(joined)


def class_name(members: Iterable[Any]) -> str:
    """A set of classes in words: "Latino or Middle Eastern"; years as their first and last, "20-29"."""
    names = sorted(members)
    if names and isinstance(names[0], int):
        return f"{names[0]}-{names[-1]}" if len(names) > 1 else str(names[0])
    return " or ".join(names)


def members(labels: Iterable[Label], task: str) -> "npt.NDArray[np.bool_]":
    """(N, classes) bool: True where a class of the task is in the label's set; rows of unknown labels are all True.

    Raises LabelError for an unknown task.
    """
    import numpy as np

    _check_task(task)
    classes = TASKS[task]
    if task == "age":
        years = np.array(AGES)
        bounds = np.array([label.age for label in labels], int).reshape(-1, 2)
        return (years >= bounds[:, :1]) & (years <= bounds[:, 1:])
    rows = [[name in getattr(label, task) for name in classes] for label in labels]
    return np.array(rows, bool).reshape(-1, len(classes))


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise LabelError(f"task {task!r}: known are {', '.join(TASKS)}")
