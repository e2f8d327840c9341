"""An evaluation's figures as rows for people: the terminal's table and the model card read the same ones."""

from math import isnan
from typing import Any

_PLAIN = {"mae", "rmse", "r", "width", "auc", "on_covered", "age_mae"}  # all others are shown in percent
SHOWN = {
    "age": ("mae", "rmse", "r", "within_5", "within_10"),
    "age_interval": ("coverage", "width"),
    "age_group": ("accuracy", "f1", "auc"),
    "gender": ("accuracy", "precision", "recall", "f1", "auc"),
    "race": ("accuracy", "precision", "recall", "f1", "auc"),
    "mask": ("accuracy",),
    "mask_or_none": ("accuracy", "precision", "recall", "f1", "auc"),
    "mask_of_three": ("accuracy",),
    "attention": ("on_covered",),
    "loss": ("age_mae", "age_group_accuracy", "gender_accuracy", "race_accuracy"),
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
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows(evaluation))])


def headline_markdown(evaluation: dict[str, Any]) -> str:
    """The few figures that a reader looks for first, bare beside held-out masks, as a Markdown table."""
    lines = ["| data set | figure | bare | held-out masks |", "|---|---|---|---|"]
    for data_set, measured in evaluation["data_sets"].items():
        for task, metric in HEADLINE:
            cells = []
            for condition in ("clean", "masks"):
                figure = measured["conditions"].get(condition, {}).get(task, {}).get(metric)
                cells.append("{} ({})".format(*_shown(metric, figure)) if figure else "-")
            if cells != ["-", "-"]:
                name = f"{task} {metric}".replace("_", " ").removesuffix(" accuracy")
                lines.append("| " + " | ".join((data_set, name, *cells)) + " |")
    return "\n".join(lines)


def groups_markdown(evaluation: dict[str, Any]) -> str:
    """What differs between groups of people as a Markdown table: worst group first, each with its interval."""
    lines = ["| data set | condition | figure | by | groups, worst first | gap |", "|---|---|---|---|---|---|"]
    for entry in evaluation["groups"]:
        name = entry["figure"].removesuffix("_accuracy")
        cells = []
        for group in entry["groups"]:
            value, ends = _shown(entry["figure"], group)
            cells.append(f"{group['group']} {value} ({ends})")
        gap, ends = _shown(entry["figure"], entry["gap"])
        where = (entry["data_set"], entry["condition"], name, entry["attribute"])
        lines.append("| " + " | ".join((*where, "; ".join(cells), f"{gap} ({ends})")) + " |")
    return "\n".join(lines)


def _shown(name: str, figure: dict[str, float]) -> tuple[str, str]:
    scale, unit = (1.0, "") if name in _PLAIN else (100.0, " %")
    places = 3 if name in ("r", "auc") else 2 if not unit else 1
    value, low, high = (f"{figure[key] * scale:.{places}f}" for key in ("value", "low", "high"))
    return f"{value}{unit}", f"{low} to {high}"
