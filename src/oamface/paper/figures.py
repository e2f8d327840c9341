"""The figures: each a small function from findings to a matplotlib Figure, None where there is nothing to draw.

One style for all: seaborn's colour-blind palette, 95 % intervals as lines, paper claims as open diamonds.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.corruptions import CAMERA
from oamface.occlusion.contact_sheet import plain_face
from oamface.paper.findings import BALANCING, CONTRASTS, CROSSED, LADDER, Findings
from oamface.paper.scenarios import MASKED, SCENARIOS

PALETTE = seaborn.color_palette("colorblind")
BLUES = seaborn.light_palette(PALETTE[0], as_cmap=True)
INK, GRID = "#22313f", "#d5dce2"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "oamface",
}
NAMES = {"utkface": "UTKFace", "fairface": "FairFace", "masks": "mask images"}
READABLE = {
    "age_mae": "age MAE (years)",
    "age_group_accuracy": "age group (%)",
    "gender_accuracy": "gender (%)",
    "race_accuracy": "race (%)",
    "mask_accuracy": "mask (%)",
    "overall_accuracy": "gender, race and mask (%)",
    "age_interval_coverage": "age intervals' coverage (%)",
}


def overview(findings: Findings, **unused: Any) -> Figure | None:
    """Every task's main metrics, with intervals (the paper's Figure 5)."""
    measured = findings.results[findings.main]["measured"]
    bars = []
    for data_set, task, metric, label in (
        ("utkface", "gender", "accuracy", "gender accuracy"),
        ("utkface", "gender", "f1", "gender F1"),
        ("utkface", "race", "accuracy", "race of five, accuracy"),
        ("utkface", "race", "f1", "race of five, F1"),
        ("utkface", "age", "within_5", "age within 5 years"),
        ("utkface", "age", "within_10", "age within 10 years"),
        ("fairface", "gender", "accuracy", "gender accuracy"),
        ("fairface", "race", "accuracy", "race of seven, accuracy"),
        ("fairface", "age_group", "accuracy", "age group of nine"),
        ("masks", "mask", "accuracy", "mask accuracy"),
        ("masks", "mask", "precision", "mask precision"),
        ("masks", "mask", "recall", "mask recall"),
    ):
        figure = measured.get(data_set, {}).get(CLEAN, {}).get(task, {}).get(metric)
        if figure:
            bars.append((f"{NAMES[data_set]}: {label}", figure, PALETTE[list(NAMES).index(data_set)]))
    if not bars:
        return None
    page = Figure(figsize=(7.5, 0.32 * len(bars) + 0.9), layout="constrained")
    axes = page.subplots()
    _bars(axes, [bar[0] for bar in bars], [bar[1] for bar in bars], [bar[2] for bar in bars])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="%")
    return page


def mask_confusion(findings: Findings, **unused: Any) -> Figure | None:
    """Mask or none on real images (Figure 6)."""
    return _confusions(findings, [("masks", CLEAN, "mask"), ("utkface", MASKED, "mask_of_three")])


def confusions(findings: Findings, **unused: Any) -> Figure | None:
    """Confusion matrices of every classified task (the paper's second Figure 2)."""
    places = [("utkface", CLEAN, "gender"), ("utkface", CLEAN, "race")]
    return _confusions(findings, [*places, ("fairface", CLEAN, "race"), ("fairface", CLEAN, "age_group")])


def mask_probabilities(findings: Findings, **unused: Any) -> Figure | None:
    """How sure the mask answer is, for masked and bare faces."""
    predictions = findings.predictions[findings.main]
    wanted = (("masks", CLEAN), ("utkface", CLEAN), ("utkface", MASKED))
    places = [(data_set, condition) for data_set, condition in wanted if data_set in predictions.classes]
    sides = [(d, c, *predictions.part(d, c).answers("mask")) for d, c in places]
    if not any(known.any() for _, _, known, _, _ in sides):
        return None
    page = Figure(figsize=(7.5, 2.6), layout="constrained")
    titles = {"masks": "real images", "utkface": "UTKFace, held-out masks drawn"}
    for axes, (chosen, title) in zip(page.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for truth, name, colour in ((0, "no mask", PALETTE[0]), (1, "mask", PALETTE[1])):
            values = [shares[known & (true == truth), 1] for d, _, known, shares, true in sides if d == chosen]
            joined = np.concatenate(values) if values else np.zeros(0)
            if len(joined):
                axes.hist(
                    joined,
                    np.linspace(0, 1, 26),
                    weights=np.full(len(joined), 100 / len(joined)),
                    alpha=0.65,
                    label=f"{name} ({len(joined)})",
                    color=colour,
                )
        axes.set_visible(axes.has_data())
        if axes.has_data():
            axes.set(title=title, xlabel="probability of a mask", yscale="log")
            axes.legend(fontsize=8)
    page.axes[0].set_ylabel("% of its faces")
    return page


def scenarios(findings: Findings, **unused: Any) -> Figure | None:
    """The five scenarios (Figure 7)."""
    found = findings.results[findings.main]["scenarios"].get("utkface")
    if not found:
        return None
    page = Figure(figsize=(7.5, 3.2), layout="constrained")
    left, right = page.subplots(1, 2, width_ratios=(3, 2))
    tasks = ("gender", "race", "mask")
    names = [name for name in SCENARIOS if "faces" in found[name]]
    for number, task in enumerate(tasks):
        figures = [found[name].get(task, {}).get("accuracy") for name in names]
        _dots(left, np.arange(len(names)) + 0.18 * (number - 1), figures, PALETTE[number], task, 100)
    left.set(title="right answers", ylabel="%", ylim=(40, 101))
    left.legend(ncols=3, fontsize=8, loc="lower left")
    _dots(right, np.arange(len(names)), [found[name].get("age", {}).get("mae") for name in names], PALETTE[3], "age", 1)
    right.set(title="age error", ylabel="MAE, years", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(range(len(names)), [name.replace(", ", ",\n").replace(" masked", "\nmasked") for name in names])
    return page


def training_tasks(findings: Findings, *, logs: Sequence[Path] = (), **unused: Any) -> Figure | None:
    """Validation figures after every pass of training (Figures 8 and 16)."""
    lines = [line for line in _log(logs) if line["event"] == "pass"]
    if len(lines) < 2:
        return None
    page = Figure(figsize=(7.5, 2.8), layout="constrained")
    left, right = page.subplots(1, 2)
    steps = [line["at"] / 1000 for line in lines]
    for number, task in enumerate(("gender", "race", "mask")):
        left.plot(
            steps,
            [100 * line.get(f"valid_{task}", np.nan) for line in lines],
            "o-",
            ms=3,
            color=PALETTE[number],
            label=task,
        )
    left.set(title="answers in the label's set", xlabel="thousand steps", ylabel="%")
    left.legend(ncols=3, fontsize=8)
    right.plot(steps, [line.get("valid_years", np.nan) for line in lines], "o-", ms=3, color=PALETTE[3])
    right.set(title="age error", xlabel="thousand steps", ylabel="MAE, years")
    _sizes(page, lines, steps)
    return page


def training_loss(findings: Findings, *, logs: Sequence[Path] = (), **unused: Any) -> Figure | None:
    """The parts of the training loss (Figure 9)."""
    lines = [line for line in _log(logs) if line["event"] == "step"]
    if len(lines) < 2:
        return None
    page = Figure(figsize=(7.5, 2.8), layout="constrained")
    axes = page.subplots()
    names = [name for name in ("age", "years", "gender", "race", "mask", "attention", "recovery") if name in lines[0]]
    for number, name in enumerate(names):
        values = np.array([line.get(name, np.nan) for line in lines])
        width = max(1, len(values) // 120)
        whole = len(values) // width * width
        smooth = np.nanmean(np.where(np.isfinite(values[:whole]), values[:whole], np.nan).reshape(-1, width), 1)
        at = [line["at"] / 1000 for line in lines][:whole:width]
        axes.plot(at, smooth, color=PALETTE[number % len(PALETTE)], lw=1.2, label=name)
    axes.set(xlabel="thousand steps", ylabel="loss, unweighted", yscale="log")
    axes.legend(ncols=4, fontsize=8)
    return page


def comparison(findings: Findings, *, claimed: dict[str, float] | None = None, **unused: Any) -> Figure | None:
    """The model, peers, small networks of the study, and what the paper claims (Figures 11 to 13, 15).

    claimed: address of a figure to the paper's number.
    """
    rows: list[tuple[str, Any, dict[str, Any]]] = []
    small = {"no_mask": "small, never saw a mask", "full": "small, full"}
    for condition in (CLEAN, MASKED):
        where = _seen(condition)
        for name in (findings.main, *findings.peers):
            sheet = findings.results[name]["measured"].get("utkface", {}).get(condition, {})
            measured = {f"{task}_{metric}": sheet.get(task, {}).get(metric) for task, metric in _COMPARED}
            rows.append((f"{name}, {where}", PALETTE[0 if name == findings.main else 2], measured))
        for number, (variant, title) in enumerate(small.items()):
            measured = {
                f"{task}_{metric}": findings.of_variant(variant, "utkface", condition, f"{task}_{metric}")
                for task, metric in _COMPARED
            }
            rows.append((f"{title}, {where}", PALETTE[(3, 1)[number]], measured))
    rows = [row for row in rows if any(row[2].values())]
    if not rows:
        return None
    page = Figure(figsize=(7.5, 0.3 * len(rows) + 0.9), layout="constrained")
    for axes, (task, metric) in zip(page.subplots(1, len(_COMPARED), sharey=True), _COMPARED, strict=True):
        what = f"{task}_{metric}"
        labels, colours, figures = [row[0] for row in rows], [row[1] for row in rows], [row[2][what] for row in rows]
        _bars(axes, labels, figures, colours, scale=_scale(what))
        if claimed:
            axes.axvline(claimed[f"utkface/{CLEAN}/{task}/{metric}"], color=INK, ls=":", lw=1)
        axes.set_title(READABLE[what])
        axes.margins(x=0.16)
    page.axes[0].invert_yaxis()
    return page


_COMPARED = (("age", "mae"), ("gender", "accuracy"), ("race", "accuracy"))


def ablation(findings: Findings, **unused: Any) -> Figure | None:
    """What each part brings on equal budgets (Table 8)."""
    chosen = [(CLEAN, "gender_accuracy"), (MASKED, "gender_accuracy"), (MASKED, "race_accuracy"), (MASKED, "age_mae")]
    page = Figure(figsize=(7.5, 2.9), layout="constrained")
    drawn = False
    for axes, (condition, figure) in zip(page.subplots(1, 4), chosen, strict=True):
        scale = _scale(figure)
        for place, name in enumerate(LADDER):
            value = findings.of_variant(name, "utkface", condition, figure)
            runs = findings.values(name, "utkface", condition, figure)
            if value is None or runs is None:
                continue
            drawn = True
            _dots(axes, np.array([place]), [value], PALETTE[place], name, scale)
            axes.plot(
                np.full(len(runs), place + 0.22),
                scale * runs.mean(1),
                ".",
                color=PALETTE[place],
                ms=4,
                alpha=0.6,
            )
        axes.set_title(f"{READABLE[figure]},\n{_seen(condition)}", fontsize=8)
        axes.set_xticks(
            range(len(LADDER)), [name.replace("_", " ") for name in LADDER], rotation=60, ha="right", fontsize=7.5
        )
    return page if drawn else None


def contrasts(findings: Findings, **unused: Any) -> Figure | None:
    """The differences themselves, with intervals over seeds and faces."""
    places = [(CLEAN, "gender_accuracy"), (MASKED, "gender_accuracy"), (MASKED, "age_mae")]
    page, drawn = Figure(figsize=(7.5, 2.6), layout="constrained"), False
    for axes, (condition, figure) in zip(page.subplots(1, 3, sharey=True), places, strict=True):
        scale = _scale(figure)
        for place, (_, one, other) in enumerate(CONTRASTS):
            change = findings.contrast(one, other, "utkface", condition, figure)
            if change:
                drawn = True
                axes.plot([scale * change["low"], scale * change["high"]], [place, place], color=PALETTE[0], lw=2)
                axes.plot(scale * change["value"], place, "o", color=PALETTE[0], ms=5)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_title(f"{READABLE[figure]}, {_seen(condition)}", fontsize=8)
        axes.set_xlabel("years less is better" if figure == "age_mae" else "points more is better", fontsize=8)
        axes.set_yticks(range(len(CONTRASTS)), [name for name, _, _ in CONTRASTS], fontsize=8)
    page.axes[0].invert_yaxis()
    return page if drawn else None


def groups(findings: Findings, **unused: Any) -> Figure | None:
    """Figures by group of people, worst first (Figure 14)."""
    entries = [
        entry
        for entry in findings.results[findings.main]["fairness"]
        if entry["condition"] == CLEAN
        and (entry["data_set"], entry["attribute"], entry["figure"])
        in {
            ("utkface", "age", "age_mae"),
            ("utkface", "race", "race_accuracy"),
            ("utkface", "age", "gender_accuracy"),
            ("fairface", "race and gender", "gender_accuracy"),
        }
    ]
    if not entries:
        return None
    page = Figure(figsize=(7.5, 4.6), layout="constrained")
    grid = page.subplots(2, (len(entries) + 1) // 2, squeeze=False).ravel()
    for axes, entry in zip(grid, entries, strict=False):
        scale = _scale(entry["figure"])
        names = [f"{group['group']} ({group['faces']})" for group in entry["groups"]]
        _bars(axes, names, entry["groups"], [PALETTE[0]] * len(names), scale=scale, value=False)
        axes.invert_yaxis()
        axes.set_title(
            f"{NAMES[entry['data_set']]}: {READABLE[entry['figure']]}\nby {entry['attribute']}", fontsize=8.5
        )
        axes.tick_params(axis="y", labelsize=7)
        if scale == 100:
            axes.set_xlim(0, 100)
    for axes in grid[len(entries) :]:
        axes.set_visible(False)
    return page


def age_scatter(findings: Findings, **unused: Any) -> Figure | None:
    """Answered against true years, bare and masked (Figure 17)."""
    return _ages(findings, residuals=False)


def age_residuals(findings: Findings, **unused: Any) -> Figure | None:
    """Error against true years: the old are taken for younger (Figure 17)."""
    return _ages(findings, residuals=True)


def robustness(findings: Findings, **unused: Any) -> Figure | None:
    """Accuracy and age error as the camera gets worse."""
    measured = findings.results[findings.main]["measured"].get("utkface", {})
    if not any(f"{name}_{damage.strengths[0]:g}" in measured for name, damage in CAMERA.items()):
        return None
    page = Figure(figsize=(7.5, 3.9), layout="constrained")
    upper, lower = page.subplots(2, len(CAMERA), sharey="row")
    for column, (name, damage) in enumerate(CAMERA.items()):
        places = [CLEAN, *(f"{name}_{strength:g}" for strength in damage.strengths)]
        ticks = ["none", *(f"{strength:g}" for strength in damage.strengths)]
        for number, task in enumerate(("gender", "race", "mask")):
            figures = [measured.get(place, {}).get(task, {}).get("accuracy") for place in places]
            _dots(upper[column], np.arange(len(places)), figures, PALETTE[number], task, 100, line=True)
        figures = [measured.get(place, {}).get("age", {}).get("mae") for place in places]
        _dots(lower[column], np.arange(len(places)), figures, PALETTE[3], "age", 1, line=True)
        upper[column].set_title(name.replace("_", " "), fontsize=9)
        for axes in (upper[column], lower[column]):
            axes.set_xticks(range(len(ticks)), ticks, fontsize=7)
        lower[column].set_xlabel(damage.unit, fontsize=7.5)
    upper[0].set_ylabel("right, %")
    lower[0].set_ylabel("age MAE, years")
    upper[-1].legend(fontsize=7)
    return page


def reliability(findings: Findings, **unused: Any) -> Figure | None:
    """How sure against how often right (the model's probabilities after temperature)."""
    measured = findings.results[findings.main]["measured"]
    places = [
        ("utkface", "gender"),
        ("utkface", "race"),
        ("fairface", "race"),
        ("fairface", "age_group"),
        ("masks", "mask"),
    ]
    found = [
        (d, t, measured[d][CLEAN][f"{t}_calibration"])
        for d, t in places
        if f"{t}_calibration" in measured.get(d, {}).get(CLEAN, {})
    ]
    if not found:
        return None
    page = Figure(figsize=(7.5, 2.1), layout="constrained")
    for axes, (data_set, task, entry) in zip(
        page.subplots(1, len(found), sharey=True, squeeze=False)[0], found, strict=True
    ):
        axes.plot([0, 1], [0, 1], color=GRID, lw=1.2)
        sure, right = ([part[key] for part in entry["bins"]] for key in ("sure", "right"))
        faces = np.array([part["faces"] for part in entry["bins"]], float)
        axes.plot(sure, right, color=PALETTE[0], lw=1)
        axes.scatter(sure, right, s=6 + 90 * faces / faces.max(), color=PALETTE[0], alpha=0.75)
        axes.set_title(
            f"{NAMES[data_set]}\n{task.replace('_', ' ')}, ECE {100 * entry['ece']['value']:.1f} %", fontsize=8
        )
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
    page.axes[0].set_ylabel("right")
    page.supxlabel("sure", fontsize=9)
    return page


def selective(findings: Findings, **unused: Any) -> Figure | None:
    """What is gained by withholding the least sure answers: error against the share of faces answered."""
    predictions = findings.predictions[findings.main]
    page, drawn = Figure(figsize=(7.5, 2.7), layout="constrained"), False
    left, right = page.subplots(1, 2)
    places = [("utkface", "gender"), ("utkface", "race"), ("fairface", "gender"), ("fairface", "race")]
    for number, (data_set, task) in enumerate(places):
        for condition, style in ((CLEAN, "-"), (MASKED, "--")):
            known, shares, truth = predictions.part(data_set, condition).answers(task)
            if known.sum() < 50:
                continue
            drawn = True
            wrong = shares[known].argmax(1) != truth[known]
            share, risk = _risk(1 - shares[known].max(1), wrong)
            label = f"{NAMES[data_set]} {task}" if condition == CLEAN else None
            left.plot(100 * share, 100 * risk, style, color=PALETTE[number], lw=1.3, label=label)
    for condition, style in ((CLEAN, "-"), (MASKED, "--")):
        part = predictions.part("utkface", condition)
        _, said, true = part.years()
        known, low, high = part.bounds()
        if known.sum() >= 50:
            share, risk = _risk((high - low)[known], np.abs(said - true)[known])
            right.plot(100 * share, risk, style, color=PALETTE[3], label=_seen(condition))
    left.set(xlabel="% of faces answered", ylabel="% wrong", title="classes (dashed: masked)", ylim=(0, None))
    right.set(xlabel="% of faces answered", ylabel="MAE, years", title="age, by width of its interval", ylim=(0, None))
    if not drawn:
        return None
    left.legend(fontsize=7)
    right.legend(fontsize=8)
    return page


def cross(findings: Findings, **unused: Any) -> Figure | None:
    """Trained on one data set, tested on another."""
    variants = [name for name in CROSSED if name in findings.variants]
    if len(variants) < 2:
        return None
    columns = [
        ("utkface", "age_mae"),
        ("utkface", "gender_accuracy"),
        ("utkface", "race_accuracy"),
        ("fairface", "gender_accuracy"),
        ("fairface", "race_accuracy"),
    ]
    table = np.full((len(variants), len(columns)), np.nan)
    for row, variant in enumerate(variants):
        for column, (data_set, figure) in enumerate(columns):
            found = findings.values(variant, data_set, CLEAN, figure)
            if found is not None:
                table[row, column] = found[0].mean() * _scale(figure)
    page = Figure(figsize=(7.5, 1.9), layout="constrained")
    axes = page.subplots()
    worth = np.where(np.arange(len(columns)) == 0, -table, table)
    spread = np.ptp(worth, axis=0)
    seaborn.heatmap(
        (worth - worth.min(0)) / np.where(spread > 0, spread, 1),
        annot=table,
        fmt=".1f",
        cmap=BLUES,
        cbar=False,
        ax=axes,
        linewidths=2,
    )
    axes.set_xticklabels([f"{NAMES[d]}\n{READABLE[f]}" for d, f in columns], fontsize=8)
    axes.set_yticklabels([f"trained on {CROSSED[name]}" for name in variants], rotation=0, fontsize=8)
    return page


def balancing(findings: Findings, **unused: Any) -> Figure | None:
    """Ways to balance the four tasks, seed 0 of each."""
    variants = [name for name in BALANCING if name in findings.variants]
    if len(variants) < 2:
        return None
    places = [
        ("utkface", CLEAN, "age_mae"),
        ("utkface", CLEAN, "gender_accuracy"),
        ("utkface", CLEAN, "race_accuracy"),
        ("utkface", MASKED, "mask_accuracy"),
    ]
    page = Figure(figsize=(7.5, 2.1), layout="constrained")
    for axes, (data_set, condition, figure) in zip(page.subplots(1, 4, sharey=True), places, strict=True):
        scale = _scale(figure)
        for place, name in enumerate(variants):
            found = findings.values(name, data_set, condition, figure)
            if found is None:
                continue
            values = found[0]
            reach = 1.96 * values.std() / np.sqrt(len(values))
            axes.errorbar(scale * values.mean(), place, xerr=scale * reach, fmt="o", color=PALETTE[place], ms=5)
        axes.set_title(f"{READABLE[figure]},\n{_seen(condition)}", fontsize=8)
        axes.set_yticks(range(len(variants)), [BALANCING[name] for name in variants], fontsize=8)
    page.axes[0].invert_yaxis()
    return page


def attention(findings: Findings, **unused: Any) -> Figure | None:
    """Where the network looks on average, bare and masked, over a drawn face; what was covered beside it."""
    maps = findings.results[findings.main]["attention"].get("utkface", {})
    chosen = [name for name in (CLEAN, MASKED, "objects") if name in maps]
    if not chosen:
        return None
    page = Figure(figsize=(7.5, 1.75), layout="constrained")
    face = plain_face(160)[0]
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    columns = [(f"attention, {_named(name)}", maps[name]["map"]) for name in chosen]
    columns += [(f"covered, {_named(name)}", maps[name]["coverage"]) for name in chosen if name != CLEAN]
    for axes, (title, values) in zip(page.subplots(1, len(columns)), columns, strict=True):
        fine = cv2.resize(np.array(values, np.float32), (160, 160), interpolation=cv2.INTER_CUBIC)
        axes.imshow(grey)
        shown = axes.imshow(fine, alpha=0.6, cmap="viridis", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    page.colorbar(shown, ax=page.axes, shrink=0.6, pad=0.01)
    return page


FIGURES: dict[str, Callable[..., Figure | None]] = {
    function.__name__: function
    for function in (
        overview,
        mask_confusion,
        mask_probabilities,
        confusions,
        scenarios,
        training_tasks,
        training_loss,
        comparison,
        age_scatter,
        age_residuals,
        groups,
        attention,
        robustness,
        reliability,
        selective,
        ablation,
        contrasts,
        balancing,
        cross,
    )
}


def draw_all(findings: Findings, **given: Any) -> dict[str, Figure]:
    """Every figure that the findings have something for, by name, in the style of the report."""
    with matplotlib.rc_context(STYLE):
        drawn = {name: draw(findings, **given) for name, draw in FIGURES.items()}
        for figure in drawn.values():
            if figure is not None:
                figure.draw_without_rendering()
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _short(label: str) -> str:
    return "masked" if label == "incorrect or worn" else label.replace(" or ", "/\n")


def _scale(figure: str) -> float:
    """Years are shown as they are, shares in percent."""
    return 1 if figure == "age_mae" else 100


def _seen(condition: str) -> str:
    return "bare" if condition == CLEAN else "masked"


def _named(condition: str) -> str:
    return {CLEAN: "bare", MASKED: "masks", "objects": "phones"}[condition]


def _bars(
    axes: Axes,
    labels: Sequence[str],
    figures: Sequence[dict[str, float] | None],
    colours: Sequence[Any],
    *,
    scale: float = 100,
    value: bool = True,
) -> None:
    """Horizontal bars, the first at the bottom, with intervals and, beside them, the values; none where None."""
    for place, (figure, colour) in enumerate(zip(figures, colours, strict=True)):
        if figure is None:
            continue
        axes.barh(place, scale * figure["value"], color=colour, alpha=0.8, height=0.68)
        axes.plot([scale * figure["low"], scale * figure["high"]], [place, place], color=INK, lw=1.4)
        if value:
            text = f" {scale * figure['value']:.1f}"
            axes.text(scale * figure["high"], place, text, va="center", fontsize=7.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(visible=False, axis="y")


def _dots(
    axes: Axes,
    places: Any,
    figures: Sequence[dict[str, float] | None],
    colour: Any,
    label: str,
    scale: float,
    *,
    line: bool = False,
) -> None:
    """Values with their intervals at places; what is None is left out."""
    known = [(place, figure) for place, figure in zip(places, figures, strict=True) if figure]
    for place, figure in known:
        axes.plot([place, place], [scale * figure["low"], scale * figure["high"]], color=colour, lw=1.6, alpha=0.7)
    if known:
        values = [scale * figure["value"] for _, figure in known]
        axes.plot([place for place, _ in known], values, "o-" if line else "o", color=colour, ms=4, lw=1, label=label)


def _confusions(findings: Findings, places: Sequence[tuple[str, str, str]]) -> Figure | None:
    measured = findings.results[findings.main]["measured"]
    tables = []
    for data_set, condition, task in places:
        entry = measured.get(data_set, {}).get(condition, {}).get(f"{task}_classes")
        if entry:
            where = "" if condition == CLEAN else f", {condition.replace('_', ' ')}"
            tables.append((f"{NAMES[data_set]}: {task.replace('_', ' ')}{where}", entry))
    if not tables:
        return None
    columns = min(2, len(tables))
    rows = -(-len(tables) // columns)
    largest = max(len(entry["names"]) for _, entry in tables)
    page = Figure(figsize=(7.5, rows * (2.4 if largest < 4 else 3.3)), layout="constrained")
    grid = page.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, entry) in zip(grid, tables, strict=False):
        counts = np.array(entry["confusion"])
        shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
        present = counts.sum(1) > 0
        notes = np.array(
            [
                [
                    f"{share:.0f} %\n{count}" if len(counts) < 4 else f"{share:.0f}"
                    for share, count in zip(*pair, strict=True)
                ]
                for pair in zip(shares, counts, strict=True)
            ]
        )
        size = 8 if len(counts) < 4 else 7
        seaborn.heatmap(
            shares[present],
            annot=notes[present],
            fmt="",
            cmap=BLUES,
            vmin=0,
            vmax=100,
            cbar=False,
            ax=axes,
            linewidths=1,
            annot_kws={"size": size},
        )
        short = [_short(name) for name in entry["names"]]
        axes.set_xticklabels(
            short, rotation=45 if len(counts) > 3 else 0, ha="right" if len(counts) > 3 else "center", fontsize=7
        )
        axes.set_yticklabels(
            [name for name, there in zip(short, present, strict=True) if there], rotation=0, fontsize=7
        )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("answered, % of the true class", fontsize=7.5)
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    return page


def _ages(findings: Findings, *, residuals: bool) -> Figure | None:
    predictions = findings.predictions[findings.main]
    parts = [(c, *predictions.part("utkface", c).years()) for c in (CLEAN, MASKED)]
    if not all(known.any() for _, known, _, _ in parts):
        return None
    page = Figure(figsize=(7.5, 3.2), layout="constrained")
    for axes, (condition, known, said, true) in zip(page.subplots(1, 2, sharey=True), parts, strict=True):
        said, true = said[known], true[known]
        shown = said - true if residuals else said
        axes.scatter(true, shown, s=5, alpha=0.22, color=PALETTE[0], linewidths=0, rasterized=True)
        axes.plot([0, 100], [0, 0] if residuals else [0, 100], color=INK, lw=0.8)
        ends = np.arange(0, 101, 10)
        place = np.digitize(true, ends) - 1
        middle = [(ends[at] + 5, np.median(shown[place == at])) for at in range(10) if (place == at).sum() >= 10]
        axes.plot(*zip(*middle, strict=True), "o-", color=PALETTE[3], ms=4, label="median of a decade")
        axes.set(xlabel="true years", title="bare" if condition == CLEAN else "held-out masks")
        axes.legend(fontsize=8, loc="upper left" if not residuals else "lower left")
    page.axes[0].set_ylabel("answered - true, years" if residuals else "answered years")
    return page


def _risk(unsure: Any, loss: Any) -> tuple[Any, Any]:
    order = np.argsort(unsure, kind="stable")
    risk = np.cumsum(loss[order]) / np.arange(1, len(order) + 1)
    share = np.arange(1, len(order) + 1) / len(order)
    kept = share >= 0.1
    places = np.linspace(0, kept.sum() - 1, min(200, int(kept.sum()))).astype(int)
    return share[kept][places], risk[kept][places]


def _log(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The lines of several runs' logs, one after another; `at` counts steps over all of them."""
    lines, before = [], 0
    for path in paths:
        read = [json.loads(line) for line in path.read_text().splitlines()]
        lines += [{**line, "at": before + line["step"]} for line in read]
        before += max((line["step"] for line in read), default=0)
    return lines


def _sizes(page: Figure, lines: Sequence[dict[str, Any]], steps: Sequence[float]) -> None:
    """A line where the size of the images changes."""
    for before, after, step in zip(lines, lines[1:], steps, strict=False):
        if before["size"] != after["size"]:
            for axes in page.axes:
                axes.axvline(step, color=GRID, lw=1)
                axes.text(step, axes.get_ylim()[0], f" {after['size']} px", fontsize=7, va="bottom")
