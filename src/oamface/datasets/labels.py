"""Which classes a data set distinguishes in a task, as sets of ours."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from oamface.datasets.readers import fairface, synthetic, utkface
from oamface.labels import AGES, RACES, TASKS, Label, check_task

Classes = tuple[frozenset[Any], ...]


def _with_single_classes(groups: Classes, classes: tuple[Any, ...]) -> Classes:
    """The groups, and each class that is in none of them."""
    grouped = frozenset().union(*groups)
    return (*groups, *(frozenset({name}) for name in classes if name not in grouped))


_COARSE_CLASSES: dict[tuple[str, str], Classes] = {
    ("utkface", "race"): utkface.RACE_CODES,
    ("fairface", "age"): tuple(frozenset(range(low, high + 1)) for low, high in fairface.AGE_GROUPS.values()),
    ("synth", "race"): _with_single_classes(tuple(synthetic.RACES.values()), RACES),
}


def dataset_classes(data_set: str, task: str) -> Classes:
    """The classes that a data set distinguishes in a task: its own coarser ones, or each of ours.

    Raises LabelError: an unknown task.
    """
    check_task(task)
    return _COARSE_CLASSES.get((data_set, task), _with_single_classes((), TASKS[task]))


def age_groups(data_set: str, labels: Sequence[Label]) -> Classes:
    """The groups of years that a data set distinguishes, and each year outside them; () where it knows exact years.

    They are its published ones, or the ranges in its labels unless these overlap.
    """
    published = dataset_classes(data_set, "age")
    if len(published) < len(AGES):
        return published
    ranges = sorted({label.age for label in labels if label.age[0] < label.age[1] and label.age != Label().age})
    if not ranges or any(one[1] >= other[0] for one, other in pairwise(ranges)):
        return ()
    return _with_single_classes(tuple(frozenset(range(low, high + 1)) for low, high in ranges), AGES)
