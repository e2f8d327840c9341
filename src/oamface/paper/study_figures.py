"""The report's figures of the study's variants, of peers, and of training; None if there is no data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oamface.errors import ResultError
from oamface.evaluation.conditions import CLEAN
from oamface.paper.findings import Findings
from oamface.paper.names import DATA_SETS, axis_label, scale
from oamface.paper.plots import GRID, INK, PALETTE, bars, dots, heatmap, horizontal_dots, panels
from oamface.paper.scenarios import MASKS
from oamface.paper.variants import ABLATION, BALANCING, CONTRASTS, CROSS_DATASET

COMPARED = (("age", "mae"), ("gender", "accuracy"), ("race", "accuracy"))
Log = Sequence[Mapping[str, Any]]


def comparison(findings: Findings, claimed: Mapping[str, float]) -> Figure | None:
    """The model, peers and small networks of the study on UTKFace (Figures 11 to 13, 15); dotted: claimed values."""
    rows: list[tuple[str, Any, list[Any]]] = []
    for condition in (CLEAN, MASKS):
        for name in (findings.main, *findings.peers):
            tasks = findings.results[name]["measured"].get("utkface", {}).get(condition, {})
            estimates = [tasks.get(task, {}).get(metric) for task, metric in COMPARED]
            rows.append((f"{name}, {condition}", PALETTE[0 if name == findings.main else 2], estimates))
        for variant, color in (("no_mask", PALETTE[3]), ("full", PALETTE[1])):
            estimates = [findings.study.variant(variant, "utkface", condition, "_".join(metric)) for metric in COMPARED]
            rows.append((f"small, {variant}, {condition}", color, estimates))
    rows = [row for row in rows if any(row[2])]
    if not rows:
        return None
    labels, colors, columns = zip(*rows, strict=True)
    figure, grid = panels(0.3 * len(rows) + 0.9, len(COMPARED), sharey=True)
    for axes, (task, metric), column in zip(grid, COMPARED, zip(*columns, strict=True), strict=True):
        bars(axes, labels, column, colors, scale=scale(f"{task}_{metric}"))
        if (key := f"utkface/{CLEAN}/{task}/{metric}") in claimed:
            axes.axvline(claimed[key], color=INK, ls=":", lw=1)
        axes.set_title(axis_label(f"{task}_{metric}"))
        axes.margins(x=0.16)
    return figure


def ablation(findings: Findings) -> Figure | None:
    """Variants of one part more each (Table 8): means with intervals, and single seeds as small dots."""
    places = [(CLEAN, "gender_accuracy"), (MASKS, "gender_accuracy"), (MASKS, "race_accuracy"), (MASKS, "age_mae")]
    figure, grid = panels(2.9, len(places))
    for axes, (condition, metric) in zip(grid, places, strict=True):
        for place, name in enumerate(ABLATION):
            dots(
                axes,
                [place],
                [findings.study.variant(name, "utkface", condition, metric)],
                PALETTE[place],
                scale=scale(metric),
            )
            values = scale(metric) * np.array(findings.study.run_values(name, "utkface", condition, metric))
            axes.plot(np.full(len(values), place + 0.22), values, ".", color=PALETTE[place], ms=4, alpha=0.6)
        axes.set_title(f"{axis_label(metric)},\n{condition}", fontsize=8)
        labels = [name.replace("_", " ") for name in ABLATION]
        axes.set_xticks(range(len(ABLATION)), labels, rotation=60, ha="right", fontsize=7.5)
    return figure if any(axes.has_data() for axes in grid) else None


def contrasts(findings: Findings) -> Figure | None:
    """What each part changes, over seeds and faces."""
    places = [(CLEAN, "gender_accuracy"), (MASKS, "gender_accuracy"), (MASKS, "age_mae")]
    figure, grid = panels(2.6, len(places), sharey=True)
    colors, drawn = [PALETTE[0]] * len(CONTRASTS), False
    for axes, (condition, metric) in zip(grid, places, strict=True):
        changes = [findings.study.contrast(name, other, "utkface", condition, metric) for _, name, other in CONTRASTS]
        drawn = drawn or any(changes)
        horizontal_dots(axes, [part for part, _, _ in CONTRASTS], changes, colors, scale(metric))
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_title(f"{axis_label(metric)}, {condition}", fontsize=8)
        axes.set_xlabel("years, less is better" if metric == "age_mae" else "points, more is better", fontsize=8)
    return figure if drawn else None


def balancing(findings: Findings) -> Figure | None:
    """Methods of balancing the losses of the four tasks."""
    variants = [name for name in BALANCING if name in findings.study.runs]
    if len(variants) < 2:
        return None
    places = [
        *((CLEAN, f"{metric}") for metric in ("age_mae", "gender_accuracy", "race_accuracy")),
        (MASKS, "mask_accuracy"),
    ]
    figure, grid = panels(2.1, len(places), sharey=True)
    for axes, (condition, metric) in zip(grid, places, strict=True):
        estimates = [findings.study.variant(name, "utkface", condition, metric) for name in variants]
        horizontal_dots(
            axes, [BALANCING[name] for name in variants], estimates, PALETTE[: len(variants)], scale(metric)
        )
        axes.set_title(f"{axis_label(metric)},\n{condition}", fontsize=8)
    return figure


def cross_dataset(findings: Findings) -> Figure | None:
    """Trained on one data set, tested on another."""
    variants = [name for name in CROSS_DATASET if name in findings.study.runs]
    if len(variants) < 2:
        return None
    columns = [
        ("utkface", "age_mae"),
        *((name, f"{task}_accuracy") for name in ("utkface", "fairface") for task in ("gender", "race")),
    ]
    table = np.full((len(variants), len(columns)), np.nan)
    for row, variant in enumerate(variants):
        for column, (data_set, metric) in enumerate(columns):
            estimate = findings.study.variant(variant, data_set, CLEAN, metric)
            if estimate is not None:
                table[row, column] = estimate["value"] * scale(metric)
    better = table * np.where([metric == "age_mae" for _, metric in columns], -1, 1)
    shade = (better - better.min(0)) / np.ptp(better, axis=0).clip(1e-9)
    labels = [f"{DATA_SETS[data_set]}\n{axis_label(metric)}" for data_set, metric in columns]
    figure, (axes,) = panels(1.9)
    heatmap(axes, shade, table, labels, [f"trained on {CROSS_DATASET[name]}" for name in variants], fmt=".1f")
    return figure


def read_logs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The events of consecutive runs' logs; "total_step" counts steps over all of them. Raises ResultError: no log."""
    events, before = [], 0
    for path in paths:
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            events += [{**line, "total_step": before + line["step"]} for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultError(f"{path}: not a log of a training run ({error})") from error
        before += max((line["step"] for line in lines), default=0)
    return events


def training_tasks(log: Log) -> Figure | None:
    """Validation metrics after every epoch (Figures 8 and 16)."""
    epochs = [event for event in log if event["event"] == "epoch"]
    if len(epochs) < 2:
        return None
    figure, (left, right) = panels(2.8, 2)
    steps = [event["total_step"] / 1000 for event in epochs]
    for number, task in enumerate(("gender", "race", "mask")):
        accuracies = [100 * event.get(f"valid_{task}", np.nan) for event in epochs]
        left.plot(steps, accuracies, "o-", ms=3, color=PALETTE[number], label=task)
    right.plot(steps, [event.get("valid_age_mae", np.nan) for event in epochs], "o-", ms=3, color=PALETTE[3])
    left.set(title="accuracy", xlabel="thousand steps", ylabel="%")
    left.legend(ncols=3, fontsize=8)
    right.set(title="age error", xlabel="thousand steps", ylabel="MAE, years")
    for before, after, step in zip(epochs, epochs[1:], steps, strict=False):
        if before["image_size"] != after["image_size"]:
            for axes in (left, right):
                axes.axvline(step, color=GRID, lw=1)
                axes.text(step, axes.get_ylim()[0], f" {after['image_size']} px", fontsize=7, va="bottom")
    return figure


def training_loss(log: Log) -> Figure | None:
    """The parts of the training loss (Figure 9), smoothed to some 120 points."""
    events = [event for event in log if event["event"] == "step"]
    if len(events) < 2:
        return None
    figure, (axes,) = panels(2.8)
    width = max(1, len(events) // 120)
    count = len(events) // width * width
    steps = [event["total_step"] / 1000 for event in events[:count:width]]
    names = ("age", "age_mean", "gender", "race", "mask", "attention", "consistency")
    for number, name in enumerate(name for name in names if name in events[0]):
        values = np.array([event.get(name, np.nan) for event in events[:count]], float).reshape(-1, width)
        axes.plot(steps, np.nanmean(values, 1), color=PALETTE[number], lw=1.2, label=name.replace("_", " "))
    axes.set(xlabel="thousand steps", ylabel="loss, unweighted", yscale="log")
    axes.legend(ncols=4, fontsize=8)
    return figure


OF_FINDINGS = (ablation, contrasts, balancing, cross_dataset)
OF_LOG = (training_tasks, training_loss)
