"""An evaluation's figures as rows for people: the terminal's table and the model card read the same ones."""

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

_PLAIN = {"mae", "rmse", "r", "width", "auc", "leakage", "age_mae"}  # all others are shown in percent
SHOWN = {
    "age": ("mae", "rmse", "r", "within_5", "within_10"),
    "age_interval": ("coverage", "width"),
    "age_group": ("accuracy", "f1", "auc"),
    "gender": ("accuracy", "precision", "recall", "f1", "auc"),
    "race": ("accuracy", "precision", "recall", "f1", "auc"),
    "mask": ("accuracy",),
    "mask_or_none": ("accuracy", "precision", "recall", "f1", "auc"),
    "mask_of_three": ("accuracy",),
    "attention": ("leakage",),
    "occlusion_drop": ("age_mae", "age_group_accuracy", "gender_accuracy", "race_accuracy"),
}
HEADLINE = (
    ("age", "mae"),
    ("age", "within_5"),
    ("age_interval", "coverage"),
    ("age_group", "accuracy"),
    ("gender", "accuracy"),
    ("race", "accuracy"),
    ("mask", "accuracy"),
)
HEADINGS = ("data set", "faces", "condition", "task", "metric", "measured", "95 % interval")


def rows(evaluation: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row of text, under HEADINGS, for every figure that says something about its condition."""
    table: list[tuple[str, ...]] = []
    for data_set, measured in evaluation["data_sets"].items():
        for condition, sheet in measured["conditions"].items():
            for task, names in SHOWN.items():
                figures = sheet.get(task, {})
                # Where all faces are masked, or none, the binary answer's other metrics say nothing.
                if task == "mask" and "auc" in figures and not isnan(figures["auc"]["value"]):
                    names = SHOWN["mask_or_none"]
                for name in names:
                    if name in figures:
                        where = (data_set, str(sheet["faces"]), condition)
                        table.append((*where, task, name, *_shown(name, figures[name])))
    return table


def markdown(evaluation: dict[str, Any]) -> str:
    """The rows as a Markdown table."""
    return table(HEADINGS, rows(evaluation))


def headline_markdown(evaluation: dict[str, Any]) -> str:
    """The few figures that a reader looks for first, bare beside held-out masks, as a Markdown table."""
    lines = []
    for data_set, measured in evaluation["data_sets"].items():
        for task, metric in HEADLINE:
            sheets = (measured["conditions"].get(condition, {}).get(task, {}) for condition in ("clean", "masks"))
            cells = [_in_one(metric, sheet[metric]) if metric in sheet else "-" for sheet in sheets]
            if cells != ["-", "-"]:
                name = f"{task} {metric}".replace("_", " ").removesuffix(" accuracy")
                lines.append((data_set, name, *cells))
    return table(("data set", "figure", "bare", "held-out masks"), lines)


def groups_markdown(evaluation: dict[str, Any]) -> str:
    """What differs between groups of people as a Markdown table: worst group first, each with its interval."""
    lines = []
    for entry in evaluation["fairness"]:
        figure = entry["figure"]
        groups = "; ".join(f"{group['group']} {_in_one(figure, group)}" for group in entry["groups"])
        where = (entry["data_set"], entry["condition"], figure.removesuffix("_accuracy"), entry["attribute"])
        lines.append((*where, groups, _in_one(figure, entry["gap"])))
    return table(("data set", "condition", "figure", "by", "groups, worst first", "gap"), lines)


def table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Rows of text as a Markdown table."""
    ruled = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*ruled, *("| " + " | ".join(line) + " |" for line in lines)])


def _in_one(name: str, figure: dict[str, float]) -> str:
    value, ends = _shown(name, figure)
    return f"{value} ({ends})"


def _shown(name: str, figure: dict[str, float]) -> tuple[str, str]:
    scale, unit = (1.0, "") if name in _PLAIN else (100.0, " %")
    places = 3 if name in ("r", "auc") else 2 if not unit else 1
    value, low, high = (f"{figure[key] * scale:.{places}f}" for key in ("value", "low", "high"))
    return f"{value}{unit}", f"{low} to {high}"
