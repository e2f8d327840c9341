"""Which classes a data set distinguishes in a task, as sets of ours."""

from typing import Any

from oamface.datasets.readers import fairface, synthetic, utkface
from oamface.labels import RACES, TASKS, check_task

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
