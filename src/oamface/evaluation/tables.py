"""Figures as tables of text, for the terminal and the model card."""

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

from oamface.evaluation.conditions import CLEAN

_UNITLESS = {"mae", "rmse", "r", "width", "auc", "leakage", "age_mae", "mae_18_30"}  # all others are shown in percent
SHOWN = {
    "age": ("mae", "rmse", "r", "within_5", "within_10"),
    "age_interval": ("coverage", "width"),
    "age_threshold": ("false_accept", "false_refuse", "mae_18_30"),
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
HEADINGS = ("data set", "faces", "condition", "task", "metric", "value", "95 % interval")


def rows(evaluation: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row of text, under HEADINGS, for every figure in SHOWN. evaluation: as of `model_file.evaluate`."""
    lines: list[tuple[str, ...]] = []
    for data_set, results in evaluation["data_sets"].items():
        for condition, tasks in results["conditions"].items():
            for task, names in SHOWN.items():
                figures = tasks.get(task, {})
                # Precision, recall and AUC of masks only where there are faces with and without one.
                if task == "mask" and "auc" in figures and not isnan(figures["auc"]["value"]):
                    names = SHOWN["mask_or_none"]
                where = (data_set, str(tasks["faces"]), condition, task)
                lines += [(*where, name, *_text(name, figures[name])) for name in names if name in figures]
    return lines


def markdown(evaluation: dict[str, Any]) -> str:
    """The rows as a Markdown table."""
    return markdown_table(HEADINGS, rows(evaluation))


def rate_text(rate: Sequence[float]) -> str:
    """The share, its interval and the count; what benchmarks/threshold_rates.py measures."""
    value, low, high, count = rate
    return f"{value:.1%} ({low:.1%} to {high:.1%}, n = {count:.0f})" if count else "-"


def headline_markdown(evaluation: dict[str, Any]) -> str:
    """The figures of HEADLINE, clean beside held-out masks, as a Markdown table."""
    lines = []
    for data_set, results in evaluation["data_sets"].items():
        for task, metric in HEADLINE:
            both = (results["conditions"].get(condition, {}).get(task, {}) for condition in (CLEAN, "masks"))
            cells = [_with_interval(metric, figures[metric]) if metric in figures else "-" for figures in both]
            if cells != ["-", "-"]:
                name = f"{task} {metric}".replace("_", " ").removesuffix(" accuracy")
                lines.append((data_set, name, *cells))
    return markdown_table(("data set", "figure", "clean", "held-out masks"), lines)


def fairness_markdown(evaluation: dict[str, Any]) -> str:
    """Every gap between groups as a Markdown table, its groups worst first."""
    lines = []
    for gap in evaluation["fairness"]:
        figure = gap["figure"]
        groups = "; ".join(f"{group['group']} {_with_interval(figure, group)}" for group in gap["groups"])
        where = (gap["data_set"], gap["condition"], figure.removesuffix("_accuracy"), gap["attribute"])
        lines.append((*where, groups, _with_interval(figure, gap["gap"])))
    return markdown_table(("data set", "condition", "figure", "by", "groups, worst first", "gap"), lines)


def markdown_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Rows of text as a Markdown table."""
    head = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*head, *("| " + " | ".join(line) + " |" for line in lines)])


def _with_interval(metric: str, figure: dict[str, float]) -> str:
    value, interval = _text(metric, figure)
    return f"{value} ({interval})"


def _text(metric: str, figure: dict[str, float]) -> tuple[str, str]:
    """A figure's value and interval as text."""
    scale, unit = (1.0, "") if metric in _UNITLESS else (100.0, " %")
    places = 3 if metric in ("r", "auc") else 2 if not unit else 1
    value, low, high = (f"{figure[key] * scale:.{places}f}" for key in ("value", "low", "high"))
    return f"{value}{unit}", f"{low} to {high}"
