"""The report's tables, as text: what is measured, row by row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oamface.evaluation.conditions import CLEAN, OCCLUDED
from oamface.evaluation.corruptions import CORRUPTIONS
from oamface.paper.findings import Findings
from oamface.paper.names import (
    DATA_SETS,
    condition_name,
    data_set_name,
    estimate_text,
    metric_name,
    p_text,
    place,
    unit,
)
from oamface.paper.scenarios import MASKS
from oamface.paper.variants import ABLATION_METRICS, BACKBONE_METRICS, BACKBONES, CONTRASTS, SINGLE_TASK

SIGNIFICANT = 0.05  # Holm-corrected p of a gap between groups
_RUNTIMES = {"model file": "ONNX Runtime", "peer": "its own package"}
_CLASS_TABLES = (
    ("utkface", "gender"),
    ("utkface", "race"),
    ("fairface", "race"),
    ("fairface", "age_group"),
    ("masks", "mask"),
)


@dataclass(frozen=True)
class Table:
    """columns: headings; one that starts with ">" is right-aligned. rows: one text for each column."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @classmethod
    def of(cls, columns: str, rows: Iterable[Sequence[str]]) -> "Table":
        """columns: headings separated by "|"."""
        return cls(tuple(columns.split("|")), [tuple(row) for row in rows])


def headline(measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and interval of the few metrics that a reader looks for first."""
    metrics = (
        ("utkface", "gender", "accuracy", "%", "gender, UTKFace"),
        ("utkface", "race", "accuracy", "%", "race of five, UTKFace"),
        ("utkface", "age", "mae", "years", "age MAE, UTKFace"),
        ("fairface", "race", "accuracy", "%", "race of seven, FairFace"),
        ("masks", "mask", "accuracy", "%", "mask, real images"),
    )
    rows = []
    for data_set, task, metric, its_unit, name in metrics:
        estimate = measured.get(data_set, {}).get(CLEAN, {}).get(task, {}).get(metric)
        if estimate:
            value, _, interval = estimate_text(estimate, its_unit).partition(" (")
            rows.append((name, value, interval.rstrip(")")))
    return rows


def per_class(measured: Mapping[str, Any]) -> dict[str, Table]:
    """Title to precision, recall and F1 of every class."""
    tables = {}
    for data_set, task in _CLASS_TABLES:
        classes = measured.get(data_set, {}).get(CLEAN, {}).get(f"{task}_classes")
        if classes:
            tables[f"{DATA_SETS[data_set]}: {task.replace('_', ' ')} by class"] = Table.of(
                "class|>precision|>recall|>F1|>faces",
                (
                    (name, f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{row['f1']:.3f}", str(row["faces"]))
                    for name, row in classes["by_class"].items()
                ),
            )
    return tables


def occlusion(measured: Mapping[str, Any]) -> Table:
    """What occlusions cost, and attention leakage."""
    rows = []
    for data_set, conditions in measured.items():
        for condition in OCCLUDED:
            metrics = conditions.get(condition, {})
            if drop := metrics.get("occlusion_drop"):
                row = [data_set_name(data_set), condition_name(condition), str(metrics["faces"])]
                row.append(estimate_text(drop.get("age_mae"), "", 2))
                row += [estimate_text(drop.get(f"{task}_accuracy"), "%") for task in ("gender", "race")]
                row.append(estimate_text(metrics.get("mask_or_none", {}).get("accuracy"), "%"))
                rows.append([*row, estimate_text(metrics.get("attention", {}).get("leakage"), "", 2)])
    columns = "data set|condition|>faces|>age MAE, years|>gender drop|>race drop|>mask or none|>attention leakage"
    return Table.of(columns, rows)


def robustness(rows: Sequence[Mapping[str, Any]], main: str, baseline: str) -> Table:
    """Corruption errors in percent of the baseline's, their means, and the errors that they compare."""
    names = [f"{data_set_name(row['data_set'])} {row['task'].replace('_', ' ')}" for row in rows]
    lines = [(condition_name(name), *(estimate_text(row["ce"][name], "%", 0) for row in rows)) for name in CORRUPTIONS]
    lines.append(("mCE (without low light)", *(estimate_text(row["mce"], "%", 0) for row in rows)))
    for name, prefix in ((main, ""), (baseline, "baseline_")):
        for title, key in (("clean", "clean"), ("corrupted", "corrupted")):
            errors = (estimate_text(row[prefix + key], "years" if row["task"] == "age" else "%") for row in rows)
            lines.append((f"error of {name}, {title}", *errors))
    return Table.of("|".join(("corruption", *(f">{name}" for name in names))), lines)


def age_intervals(measured: Mapping[str, Any]) -> Table:
    return Table.of(
        "data set|condition|>coverage of the 90 % age interval|>mean width",
        (
            (
                data_set_name(data_set),
                condition_name(condition),
                estimate_text(metrics["age_interval"]["coverage"], "%"),
                estimate_text(metrics["age_interval"]["width"], "years"),
            )
            for data_set, conditions in measured.items()
            for condition, metrics in conditions.items()
            if "age_interval" in metrics
        ),
    )


def gaps(fairness: Sequence[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """Significant gaps between groups as a table, the others as sentences."""
    rows, others = [], []
    for entry in fairness:
        metric, worst, best = entry["figure"], entry["groups"][0], entry["groups"][-1]
        name, gap = f"{metric_name(metric)} by {entry['attribute']}", estimate_text(entry["gap"], unit(metric))
        if entry["p_holm"] < SIGNIFICANT:
            ends = (f"{group['group']}: {estimate_text(group, unit(metric))}" for group in (worst, best))
            rows.append((place(entry), name, *ends, gap, p_text(entry["p_holm"])))
        else:
            others.append(f"{place(entry)}: {name}, {gap}, p = {p_text(entry['p_holm'])}")
    return Table.of("data set, condition|metric|worst group|best group|>gap|>p (Holm)", rows), others


def error_tables(analysis: Mapping[str, Any]) -> dict[str, Table]:
    """Title to table of the error analysis."""
    return {
        "Age error by age": Table.of(
            "data set, condition|true age|>faces|>signed error|>MAE",
            (
                (place(row), row["age"], str(row["faces"]), *(estimate_text(row[m], "years") for m in ("bias", "mae")))
                for row in analysis["age_bias"]
            ),
        ),
        "Most confused races": Table.of(
            "data set|true|predicted|>of the class|>faces",
            (
                (data_set_name(row["data_set"]), row["true"], row["predicted"], f"{row['share']:.1%}",
                 f"{row['count']} of {row['faces']}")
                for row in analysis["race_confusions"][:12]
            ),
        ),
        "Groups with most errors of perceived gender": Table.of(
            "data set|group|>error rate|>faces",
            (
                (data_set_name(row["data_set"]), row["group"], estimate_text(row["error_rate"], "%"), str(row["faces"]))
                for row in analysis["gender_errors"]
            ),
        ),
        "Predicted as masked, by occlusion": Table.of(
            "data set, condition|occlusion|a mask?|>predicted as masked|>faces",
            (
                (place(row), row["style"], "yes" if row["is_mask"] else "no", estimate_text(row["mask_rate"], "%"),
                 str(row["faces"]))
                for row in analysis["mask_predictions"]
            ),
        ),
    }  # fmt: skip


def paired(tests: Sequence[Mapping[str, Any]], one: str, other: str) -> Table:
    """Paired tests of two predictors."""
    rows = []
    for row in tests:
        its_unit = unit(row["figure"])
        effect = f"d = {row['cohens_d']:.2f}" if "cohens_d" in row else f"h = {row['cohens_h']:.2f}"
        texts = (estimate_text(row[key], its_unit) for key in ("one", "other", "improvement"))
        rows.append((place(row), metric_name(row["figure"]), *texts, effect, p_text(row["p_holm"])))
    return Table.of(f"data set, condition|metric|>{one}|>{other}|>improvement|>effect size|>p (Holm)", rows)


def contrasts(findings: Findings) -> tuple[Table, Table]:
    """What each part of the network changes: where the interval excludes 0, and elsewhere."""
    clear, unclear = [], []
    for part, name, baseline in CONTRASTS:
        for where in ABLATION_METRICS:
            change = findings.study.contrast(name, baseline, *where)
            sides = [findings.study.variant(variant, *where) for variant in (name, baseline)]
            if change is None or None in sides:
                continue
            data_set, condition, metric = where
            values = " / ".join(estimate_text(side["value"], unit(metric)) for side in sides if side)
            label = f"{data_set_name(data_set)}, {condition_name(condition)}: {metric_name(metric)}"
            row = (part, label, values, estimate_text(change, unit(metric)))
            if change["low"] > 0 or change["high"] < 0:
                better = (change["value"] > 0) != (metric == "age_mae")
                clear.append((*row, "better" if better else "worse"))
            else:
                unclear.append((*row, "no effect seen"))
    columns = "part|metric|>with / without|>change|effect"
    return Table.of(columns, clear), Table.of(columns, unclear)


def backbones(findings: Findings) -> Table:
    rows = []
    for name, title in BACKBONES.items():
        if name in findings.study.runs:
            run = findings.study.runs[name][0]
            row = [title, f"{run['parameters'] / 1e6:.1f} M", str(run["image_size"]), f"{run['samples']:,}"]
            for where in BACKBONE_METRICS:
                row.append(estimate_text(findings.study.variant(name, *where), unit(where[-1])))
            rows.append(row)
    columns = "backbone|>parameters|>pixels|>faces seen|>UTKFace age MAE|>gender|>race"
    return Table.of(f"{columns}|>gender, masks|>race, masks|>FairFace gender", rows)


def single_task(findings: Findings) -> Table:
    """Each single-task network beside the multi-task one with the same parts."""
    rows = []
    for name in SINGLE_TASK:
        task = name.removeprefix("only_")
        metric = "age_mae" if task == "age" else f"{task}_accuracy"
        for condition in (CLEAN, MASKS):
            sides = [findings.study.variant(variant, "utkface", condition, metric) for variant in (name, "consistency")]
            if all(sides):
                values = (estimate_text(side["value"], unit(metric)) for side in sides if side)
                rows.append((f"{metric_name(metric)}, {condition}", *values))
    return Table.of("metric (UTKFace)|>single-task network|>multi-task network", rows)


def latency(findings: Findings) -> Table:
    timed = []
    for name, result in findings.results.items():
        predictor, speed = result["predictor"], result["speed"]
        timed.append((name, predictor, speed, _RUNTIMES.get(predictor["kind"], "a table"), speed["run"]))
    for name in ("consistency", *SINGLE_TASK):
        timed += [(run["name"], run, run, "torch", run["timed_in"]) for run in findings.study.runs.get(name, ())[:1]]
    runs, rows = list(dict.fromkeys(run for *_, run in timed)), []
    for name, described, speed, runtime, run in timed:
        parameters = f"{described['parameters'] / 1e6:.1f} M" if "parameters" in described else "-"
        times = (f"{speed[key]:.1f} ms" for key in ("latency_ms", "batch_ms"))
        rows.append((name, parameters, *times, f"{runtime}, run {runs.index(run) + 1} on {speed['processor']}"))
    batch = findings.result["speed"]["batch"]
    return Table.of(f"network|>parameters|>one face|>per face, batch of {batch}|timed in", rows)


def stores(stores: Mapping[str, Any]) -> Table:
    return Table.of(
        "data set|>test faces|>undetected|digest of faces and labels",
        (
            (data_set_name(name), str(store["faces"]), str(store["undetected"]), store["digest"][:16])
            for name, store in stores.items()
        ),
    )


def study_budget(findings: Findings) -> str:
    """What the study's networks were trained with, in a sentence; "" without a study."""
    variants = {name: runs for name, runs in findings.study.runs.items() if name not in BACKBONES}
    if not variants:
        return ""
    run = (variants.get("full") or next(iter(variants.values())))[0]
    counts = sorted({len(runs) for runs in variants.values()})
    weights = "random weights"
    if run["pretrained"] != "scratch":
        weights = "one backbone, distilled from a face-recognition network on clean faces without labels"
    return (
        f"Small networks on equal budgets: each starts from {weights} and sees {run['samples']:,} faces at"
        f" {run['image_size']} px in {run['steps']} steps; seeds per variant: {', '.join(map(str, counts))}."
        " They are uncalibrated and far from their best: the study compares parts."
    )
