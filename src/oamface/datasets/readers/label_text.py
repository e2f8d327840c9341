"""Labels as people write them: in a CSV file, or as names of folders."""

import re
from collections.abc import Mapping
from typing import Any

from oamface.errors import LabelError
from oamface.labels import AGES, GENDERS, MASKS, RACES, TASKS, WITH_MASK, WITHOUT_MASK, Label

_RANGE = re.compile(r"(\d{1,3})\s*(?:-|–|to)\s*(\d{1,3})", re.ASCII)  # noqa: RUF001 (spreadsheets write a dash)
_YEARS = re.compile(r"(\d{1,3})(?:\.\d+)?", re.ASCII)  # spreadsheets and pandas write 34.0

# Common names, in lower case; those of `labels` themselves are added below.
_SYNONYMS: dict[str, dict[str, frozenset[str]]] = {
    "gender": {
        **dict.fromkeys(("m", "man", "men", "boy"), frozenset({"male"})),
        **dict.fromkeys(("f", "w", "woman", "women", "girl"), frozenset({"female"})),
    },
    "race": {
        "asian": frozenset({"East Asian", "Southeast Asian"}),
        **dict.fromkeys(("hispanic", "latina", "latino_hispanic"), frozenset({"Latino"})),
    },
    "mask": {
        **dict.fromkeys(("no", "without", "without_mask", "no mask"), WITHOUT_MASK),
        **dict.fromkeys(("yes", "with", "with_mask", "mask"), WITH_MASK),
    },
}
for _task, _classes in (("gender", GENDERS), ("race", RACES), ("mask", MASKS)):
    _SYNONYMS[_task] |= {name.lower(): frozenset({name}) for name in _classes}


def read_label(texts: Mapping[str, str]) -> Label:
    """The label that the texts of some tasks describe; an empty text is unknown. Raises LabelError: one is no label."""
    known: dict[str, Any] = {
        task: read_age(text) if task == "age" else read_classes(task, text) for task, text in texts.items() if text
    }
    return Label(**known)


def read_age(text: str) -> tuple[int, int]:
    """The first and the last year of "34", "34.0" or "20-29"; above 100 counts as 100. Raises LabelError."""
    years = _YEARS.fullmatch(text) or _RANGE.fullmatch(text)
    low, high = (int(years[1]), int(years[years.re.groups])) if years else (-1, -1)
    if not 0 <= low <= high <= 120:
        raise LabelError(f"age {text!r}: expected years such as 34, or a range such as 20-29")
    return min(low, AGES[-1]), min(high, AGES[-1])


def read_classes(task: str, text: str) -> frozenset[str]:
    """The classes of gender, race or mask that a text names; several are separated by |. Raises LabelError."""
    classes = [_SYNONYMS[task].get(name.strip().lower()) for name in text.split("|")]
    if None in classes:
        raise LabelError(f"{task} {text!r}: expected one of {', '.join(map(str, TASKS[task]))}")
    return frozenset().union(*(names for names in classes if names))
