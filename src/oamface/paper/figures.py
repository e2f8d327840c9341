"""The report's figures of the main model: functions from findings to a matplotlib Figure, None if there is no data.

Intervals are 95 %. study_figures.py has those of the study's variants and of training.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from oamface.occlusion.contact_sheet import plain_face
from oamface.paper import study_figures
from oamface.paper.findings import Findings
from oamface.paper.names import DATA_SETS, axis_label, condition_name, scale
from oamface.paper.plots import GRID, INK, PALETTE, STYLE, bars, dots, heatmap, hide_empty, panels
from oamface.paper.scenarios import MASKS, SCENARIOS

MIN_FACES = 50  # of a risk-coverage curve
OVERVIEW = (  # data set, task, metric
    *(("utkface", task, metric) for task in ("gender", "race") for metric in ("accuracy", "f1")),
    *(("utkface", "age", metric) for metric in ("within_5", "within_10")),
    *(("fairface", task, "accuracy") for task in ("gender", "race", "age_group")),
    *(("masks", "mask", metric) for metric in ("accuracy", "precision", "recall")),
)
GROUP_GAPS = (  # data set, attribute, metric
    ("utkface", "age", "age_mae"),
    ("utkface", "race", "race_accuracy"),
    ("utkface", "age", "gender_accuracy"),
    ("fairface", "race and gender", "gender_accuracy"),
)


def overview(findings: Findings) -> Figure | None:
    """The main metrics of every task (the paper's Figure 5)."""
    rows = [(where, _estimate(findings, where[0], CLEAN, *where[1:])) for where in OVERVIEW]
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    names = {"f1": "F1", "within_5": "within 5 years", "within_10": "within 10 years"}
    labels = [
        f"{DATA_SETS[data_set]}: {task.replace('_', ' ')} {names.get(metric, metric)}"
        for (data_set, task, metric), _ in rows
    ]
    colors = [PALETTE[list(DATA_SETS).index(where[0])] for where, _ in rows]
    figure, (axes,) = panels(0.32 * len(rows) + 0.9)
    bars(axes, labels, [estimate for _, estimate in rows], colors)
    axes.set(xlim=(0, 100), xlabel="%")
    return figure


def mask_confusion(findings: Findings) -> Figure | None:
    """Confusion matrices of the mask (Figure 6)."""
    return _confusion_matrices(findings, [("masks", CLEAN, "mask"), ("utkface", MASKS, "mask_of_three")])


def confusions(findings: Findings) -> Figure | None:
    """Confusion matrices of the other classes (the paper's second Figure 2)."""
    tasks = [("utkface", "gender"), ("utkface", "race"), ("fairface", "race"), ("fairface", "age_group")]
    return _confusion_matrices(findings, [(data_set, CLEAN, task) for data_set, task in tasks])


def _confusion_matrices(findings: Findings, places: Sequence[tuple[str, str, str]]) -> Figure | None:
    tables = []
    for data_set, condition, task in places:
        table = findings.result["measured"].get(data_set, {}).get(condition, {}).get(f"{task}_classes")
        if table:
            where = "" if condition == CLEAN else f", {condition_name(condition)}"
            tables.append((f"{DATA_SETS[data_set]}: {task.replace('_', ' ')}{where}", table))
    if not tables:
        return None
    columns, largest = min(2, len(tables)), max(len(table["names"]) for _, table in tables)
    rows = -(-len(tables) // columns)
    figure, grid = panels(rows * (2.4 if largest < 4 else 3.3), columns, rows)
    for axes, (title, table) in zip(grid, tables, strict=False):
        _confusion_matrix(axes, np.array(table["confusion"]), table["names"])
        axes.set_title(title, fontsize=9)
    hide_empty(grid)
    return figure


def _confusion_matrix(axes: Axes, counts: Any, names: Sequence[str]) -> None:
    """Rows: true classes that occur; columns: predicted ones. Few classes get counts beside percents."""
    percents, occur, few = 100 * counts / counts.sum(1, keepdims=True).clip(1), counts.sum(1) > 0, len(counts) < 4
    notes = np.array(
        [[f"{p:.0f} %\n{n}" if few else f"{p:.0f}" for p, n in zip(*row, strict=True)]
         for row in zip(percents, counts, strict=True)]
    )  # fmt: skip
    short = ["masked" if name == "incorrect or worn" else name.replace(" or ", "/\n") for name in names]
    rows = [name for name, occurs in zip(short, occur, strict=True) if occurs]
    sizes = {"fmt": "", "vmin": 0, "vmax": 100, "annot_kws": {"size": 8 if few else 7}}
    heatmap(axes, percents[occur], notes[occur], short, rows, **sizes)
    if len(counts) > 3:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("predicted, % of the true class", fontsize=7.5)


def mask_probabilities(findings: Findings) -> Figure | None:
    """Histograms of the predicted probability of a mask, of faces with and without one."""
    predictions = findings.predictions[findings.main]
    figure, grid = panels(2.6, 2, sharey=True)
    sides = (("masks", (CLEAN,), "real images"), ("utkface", (CLEAN, MASKS), "UTKFace, held-out masks drawn"))
    for axes, (data_set, conditions, title) in zip(grid, sides, strict=True):
        tables = [predictions.subset(data_set, condition).classifications("mask") for condition in conditions]
        tables = [table for table in tables if table[0].any()]
        for number, name in enumerate(("no mask", "mask")):
            values = [probabilities[valid & (truth == number), 1] for valid, probabilities, truth in tables]
            joined = np.concatenate([np.zeros(0), *values])
            if len(joined):
                percent, label = np.full(len(joined), 100 / len(joined)), f"{name} ({len(joined)})"
                axes.hist(joined, 25, range=(0, 1), weights=percent, alpha=0.65, label=label, color=PALETTE[number])
        if tables:
            axes.set(title=title, xlabel="probability of a mask", ylim=(0.02, 150), yscale="log")
            axes.set_ylabel("% of its faces")
            axes.legend(fontsize=8)
    hide_empty(grid)
    return figure if any(axes.has_data() for axes in grid) else None


def scenarios(findings: Findings) -> Figure | None:
    """The five scenarios (Figure 7)."""
    metrics = findings.result["scenarios"].get("utkface", {})
    names = [name for name in SCENARIOS if "faces" in metrics.get(name, {})]
    if not names:
        return None
    figure, (left, right) = panels(3.2, 2, width_ratios=(3, 2))
    for number, task in enumerate(("gender", "race", "mask")):
        accuracies = [metrics[name].get(task, {}).get("accuracy") for name in names]
        places = [place + 0.18 * (number - 1) for place in range(len(names))]
        dots(left, places, accuracies, PALETTE[number], task, scale=100)
    dots(right, range(len(names)), [metrics[name].get("age", {}).get("mae") for name in names], PALETTE[3])
    left.set(title="accuracy", ylabel="%", ylim=(40, 101))
    left.legend(ncols=3, fontsize=8, loc="lower left")
    right.set(title="age error", ylabel="MAE, years", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(range(len(names)), [name.replace(", ", ",\n").replace(" masked", "\nmasked") for name in names])
    return figure


def groups(findings: Findings) -> Figure | None:
    """Metrics by group of people, worst first (Figure 14)."""
    entries = [
        entry
        for entry in findings.result["fairness"]
        if entry["condition"] == CLEAN and (entry["data_set"], entry["attribute"], entry["figure"]) in GROUP_GAPS
    ]
    if not entries:
        return None
    figure, grid = panels(4.6, (len(entries) + 1) // 2, 2)
    for axes, entry in zip(grid, entries, strict=False):
        metric, labels = entry["figure"], [f"{group['group']} ({group['faces']})" for group in entry["groups"]]
        bars(axes, labels, entry["groups"], [PALETTE[0]] * len(labels), scale=scale(metric), values=False)
        title = f"{DATA_SETS[entry['data_set']]}: {axis_label(metric)}\nby {entry['attribute']}"
        axes.set_title(title, fontsize=8.5)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_xlim(0, 100 if scale(metric) == 100 else None)
    hide_empty(grid)
    return figure


def age_scatter(findings: Findings) -> Figure | None:
    """Predicted against true age (Figure 17, left)."""
    return _age_panels(findings, "predicted age, years", (0, 100), lambda predicted, true: predicted)


def age_residuals(findings: Findings) -> Figure | None:
    """Age error against true age (Figure 17, right)."""
    return _age_panels(findings, "predicted - true, years", (0, 0), lambda predicted, true: predicted - true)


def _age_panels(
    findings: Findings, label: str, ideal: tuple[float, float], value: Callable[[Any, Any], Any]
) -> Figure | None:
    predictions = findings.predictions[findings.main]
    sides = [predictions.subset("utkface", condition).ages() for condition in (CLEAN, MASKS)]
    if not all(valid.any() for valid, _, _ in sides):
        return None
    figure, grid = panels(3.2, 2, sharey=True)
    for axes, title, (valid, predicted, true) in zip(grid, ("clean", "held-out masks"), sides, strict=True):
        predicted, true = predicted[valid], true[valid]
        values, decade = value(predicted, true), true // 10
        axes.scatter(true, values, s=5, alpha=0.22, color=PALETTE[0], linewidths=0, rasterized=True)
        axes.plot([0, 100], ideal, color=INK, lw=0.8)
        medians = [
            (10 * number + 5, np.median(values[decade == number]))
            for number in range(10)
            if (decade == number).sum() >= 10
        ]
        axes.plot(*zip(*medians, strict=True), "o-", color=PALETTE[3], ms=4, label="median of a decade")
        axes.set(xlabel="true age, years", title=title)
        axes.legend(fontsize=8)
    grid[0].set_ylabel(label)
    return figure


def robustness(findings: Findings) -> Figure | None:
    """Accuracy under corruptions of increasing strength."""
    measured = findings.result["measured"].get("utkface", {})
    names = [name for name in CORRUPTIONS if f"{name}_{STRENGTHS[0]}" in measured]
    if not names:
        return None
    rows, places = -(-len(names) // 5), (0, *STRENGTHS)
    figure, grid = panels(1.4 * rows + 0.3, 5, rows, sharex=True, sharey=True)
    for axes, name in zip(grid, names, strict=False):
        for number, task in enumerate(("gender", "race")):
            conditions = (CLEAN, *(f"{name}_{strength}" for strength in STRENGTHS))
            accuracies = [_estimate(findings, "utkface", condition, task, "accuracy") for condition in conditions]
            dots(axes, places, accuracies, PALETTE[number], task, scale=100, line=True)
        axes.set_title(condition_name(name), fontsize=8)
        axes.set_xticks(places)
    grid[0].legend(fontsize=7)
    hide_empty(grid)
    figure.supxlabel("strength (0: clean)", fontsize=8)
    figure.supylabel("accuracy, %", fontsize=8)
    return figure


def reliability(findings: Findings) -> Figure | None:
    """Reliability diagrams: accuracy against confidence."""
    tasks = [
        ("utkface", "gender"),
        ("utkface", "race"),
        ("fairface", "race"),
        ("fairface", "age_group"),
        ("masks", "mask"),
    ]
    measured = findings.result["measured"]
    entries = [
        (f"{DATA_SETS[data_set]}\n{task.replace('_', ' ')}", entry)
        for data_set, task in tasks
        if (entry := measured.get(data_set, {}).get(CLEAN, {}).get(f"{task}_calibration"))
    ]
    if not entries:
        return None
    figure, grid = panels(2.1, len(entries), sharey=True)
    for axes, (title, entry) in zip(grid, entries, strict=True):
        confidence, accuracy, faces = (
            np.array([b[key] for b in entry["bins"]]) for key in ("confidence", "accuracy", "faces")
        )
        axes.plot([0, 1], [0, 1], color=GRID, lw=1.2)
        axes.plot(confidence, accuracy, color=PALETTE[0], lw=1)
        axes.scatter(confidence, accuracy, s=6 + 90 * faces / faces.max(), color=PALETTE[0], alpha=0.75)
        axes.set_title(f"{title}, ECE {100 * entry['ece']['value']:.1f} %", fontsize=8)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
    grid[0].set_ylabel("accuracy")
    figure.supxlabel("confidence", fontsize=9)
    return figure


def selective(findings: Findings) -> Figure | None:
    """Risk-coverage curves: the error when only the most confident predictions are kept."""
    predictions = findings.predictions[findings.main]
    figure, (left, right) = panels(2.7, 2)
    tasks = [("utkface", "gender"), ("utkface", "race"), ("fairface", "gender"), ("fairface", "race")]
    for condition, style in ((CLEAN, "-"), (MASKS, "--")):
        for number, (data_set, task) in enumerate(tasks):
            valid, probabilities, truth = predictions.subset(data_set, condition).classifications(task)
            if valid.sum() >= MIN_FACES:
                wrong = probabilities[valid].argmax(1) != truth[valid]
                coverage, risk = _risk_coverage(1 - probabilities[valid].max(1), wrong)
                label = f"{DATA_SETS[data_set]} {task}" if condition == CLEAN else None
                left.plot(100 * coverage, 100 * risk, style, color=PALETTE[number], lw=1.3, label=label)
        subset = predictions.subset("utkface", condition)
        _, predicted, true = subset.ages()
        valid, low, high = subset.age_bounds()
        if valid.sum() >= MIN_FACES:
            coverage, risk = _risk_coverage((high - low)[valid], np.abs(predicted - true)[valid])
            right.plot(100 * coverage, risk, style, color=PALETTE[3], label=condition_name(condition))
    if not (left.has_data() or right.has_data()):
        return None
    left.set(xlabel="% of predictions kept", ylabel="% wrong", title="classes (dashed: masks)", ylim=(0, None))
    right.set(xlabel="% of predictions kept", ylabel="MAE, years", title="age, by interval width", ylim=(0, None))
    for axes in (left, right):
        axes.legend(fontsize=7)
    return figure


def _risk_coverage(uncertainty: Any, loss: Any) -> tuple[Any, Any]:
    """At most 200 points of the share of predictions kept, from a tenth on, and the mean loss of those."""
    order, counts = np.argsort(uncertainty, kind="stable"), np.arange(1, len(loss) + 1)
    coverage, risk = counts / len(loss), np.cumsum(loss[order]) / counts
    first = int((coverage < 0.1).sum())
    points = np.linspace(first, len(loss) - 1, min(200, len(loss) - first)).astype(int)
    return coverage[points], risk[points]


def attention(findings: Findings) -> Figure | None:
    """Mean attention, and what was occluded, over a drawn face."""
    maps = findings.result["attention"].get("utkface", {})
    conditions = [name for name in (CLEAN, MASKS, "objects") if name in maps]
    if not conditions:
        return None
    columns = [(f"attention, {name}", maps[name]["attention"]) for name in conditions]
    columns += [(f"occlusion, {name}", maps[name]["occlusion_mask"]) for name in conditions if name != CLEAN]
    face = cv2.cvtColor(plain_face(160)[0], cv2.COLOR_RGB2GRAY)
    figure, grid = panels(1.75, len(columns))
    for axes, (title, values) in zip(grid, columns, strict=True):
        resized = cv2.resize(np.array(values, np.float32), (160, 160), interpolation=cv2.INTER_CUBIC)
        axes.imshow(face, cmap="gray", vmin=0, vmax=255)
        image = axes.imshow(resized, alpha=0.6, cmap="viridis", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    figure.colorbar(image, ax=grid, shrink=0.6, pad=0.01)
    return figure


def _estimate(findings: Findings, *keys: str) -> dict[str, float] | None:
    """The main model's estimate of data set, condition, task, metric."""
    entry: Any = findings.result["measured"]
    for key in keys:
        entry = entry.get(key, {})
    return entry or None


_OF_FINDINGS = (
    overview, mask_confusion, mask_probabilities, confusions, scenarios, age_scatter, age_residuals, groups, attention,
    robustness, reliability, selective, *study_figures.OF_FINDINGS,
)  # fmt: skip
FIGURES = tuple(draw.__name__ for draw in (*_OF_FINDINGS, study_figures.comparison, *study_figures.OF_LOG))


def draw_all(
    findings: Findings, *, log: Sequence[Mapping[str, Any]] = (), claimed: Mapping[str, float] | None = None
) -> dict[str, Figure]:
    """Name to figure, of all FIGURES that there is data for.

    log: events of the model's training. claimed: key of an estimate to the value in the paper's Table 1.
    """
    with matplotlib.rc_context(STYLE):
        figures = {draw.__name__: draw(findings) for draw in _OF_FINDINGS}
        figures["comparison"] = study_figures.comparison(findings, claimed or {})
        figures |= {draw.__name__: draw(log) for draw in study_figures.OF_LOG}
    return {name: figure for name, figure in figures.items() if figure is not None}
