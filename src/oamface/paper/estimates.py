"""Every measured number that a claim can ask for, with its interval, by key.

Keys are
  DATA_SET/CONDITION/TASK/METRIC                          of the main model
  scenario/DATA_SET/SCENARIO/TASK/METRIC                  in the paper's scenarios
  group/DATA_SET/CONDITION/ATTRIBUTE/METRIC/GROUP         of one group of people
  worst, best, gap/DATA_SET/CONDITION/ATTRIBUTE/METRIC    of the outer two groups, and their distance
  difference/DATA_SET/CONDITION/age/METRIC/61-80/18-30    the first group minus the second
  bias, -bias/DATA_SET/CONDITION/AGES                     mean signed error in years, and with the sign flipped
  false_mask_rate/DATA_SET/CONDITION                      see _false_mask_rates
  others/DATA_SET/CONDITION/ATTRIBUTE/METRIC/GROUP        mean of all other groups minus this one
  model/WHAT                                              size and latency
  training/WHAT                                           from the log of the model's training
  study/VARIANT/DATA_SET/CONDITION/TASK/METRIC            of a study's variant
  contrast/VARIANT/BASELINE/DATA_SET/CONDITION/TASK/METRIC
  test/ONE/OTHER/DATA_SET/CONDITION/METRIC/p, cohens_d, cohens_h
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from oamface.evaluation.bootstrap import Estimate
from oamface.evaluation.conditions import CLEAN
from oamface.paper.findings import BASELINE, Findings
from oamface.paper.names import DATA_SETS
from oamface.paper.study_results import seeds_and_faces
from oamface.paper.variants import ABLATION, BALANCING, CONTRAST_PAIRS, CROSS_DATASET, SINGLE_TASK

RESNET50_PARAMETERS = 23_508_032  # without its classifier
_OLD, _YOUNG = "61-80", "18-30"
_GROUPED = ("gap/", "group/", "worst/", "best/", "difference/", "others/", "bias/", "-bias/", "scenario/")


def all_estimates(findings: Findings, log: Sequence[Mapping[str, Any]] = ()) -> dict[str, Estimate]:
    """Key to estimate; a metric that could not be measured is absent. log: events of the model's training."""
    result = findings.result
    estimates: dict[str, Estimate] = {}
    for data_set, conditions in result["measured"].items():
        for condition, tasks in conditions.items():
            estimates |= _of_tasks(f"{data_set}/{condition}", tasks)
    for data_set, scenarios in result["scenarios"].items():
        for name, tasks in scenarios.items():
            estimates |= _of_tasks(f"scenario/{data_set}/{name}", tasks)
    for entry in result["fairness"]:
        estimates |= _of_groups(entry)
    for row in result["error_analysis"]["age_bias"]:
        key, bias = f"bias/{row['data_set']}/{row['condition']}/{row['age']}", row["bias"]
        estimates[key] = bias
        estimates[f"-{key}"] = {"value": -bias["value"], "low": -bias["high"], "high": -bias["low"]}
    estimates |= _false_mask_rates(findings)
    estimates |= {f"model/{name}": _exact(value) for name, value in _size_and_latency(findings)}
    estimates |= {f"training/{name}": _exact(value) for name, value in _training(log)}
    estimates |= findings.study.estimates
    estimates |= _occluded_baseline(estimates)
    for pair, rows in findings.tests.items():
        for row in rows:
            key = f"test/{pair}/{row['data_set']}/{row['condition']}/{row['figure']}"
            names = {"p_holm": "p", "cohens_d": "cohens_d", "cohens_h": "cohens_h"}
            estimates |= {f"{key}/{name}": _exact(row[column]) for column, name in names.items() if column in row}
    return estimates


def missing_reasons(findings: Findings) -> dict[str, str]:
    """Start of a key to why no such key has an estimate."""
    reasons: dict[str, str] = {}
    untrained = "the study's variants were not benchmarked; `oamface paper study` trains them"
    reasons["training/"] = "no log of the model's training was given"
    reasons |= dict.fromkeys(("model/smaller", "model/faster"), f"{BASELINE} was not benchmarked")
    reasons["contrast/synthetic/"] = "no study with and without synthetic people was benchmarked"
    missing = {*ABLATION, *BALANCING, *SINGLE_TASK, *CROSS_DATASET} - findings.study.runs.keys()
    reasons |= {f"study/{name}/": untrained for name in missing}
    reasons |= {f"contrast/{name}/{other}/": untrained for name, other in CONTRAST_PAIRS if {name, other} & missing}
    if {"full", "no_mask"} & missing:
        reasons["test/full/no_mask/"] = untrained
    if {"consistency", *SINGLE_TASK} & missing:
        timed = (
            "reduction_from_single_task",
            "speedup_over_single_task",
            "saved_by_one_backbone",
            "saved_by_balancing",
        )
        reasons |= {f"model/{name}": untrained for name in timed}
    result = findings.result
    for name in DATA_SETS.keys() - result["measured"].keys():
        starts = ["", "false_mask_rate/", *_GROUPED, *(f"study/{variant}/" for variant in findings.study.runs)]
        starts += [f"contrast/{variant}/{other}/" for variant, other in CONTRAST_PAIRS]
        reasons |= {f"{start}{name}/": f"{name} was not benchmarked" for start in starts}
    for condition in {"objects", "accessories"} - set(result["conditions"]):
        reasons |= {f"false_mask_rate/{name}/{condition}": "condition not benchmarked" for name in result["measured"]}
    return reasons | dict.fromkeys(_GROUPED, "too few faces")


def _exact(value: float) -> Estimate:
    return {"value": value, "low": value, "high": value}


def _of_tasks(prefix: str, tasks: Mapping[str, Any]) -> dict[str, Estimate]:
    return {
        f"{prefix}/{task}/{metric}": estimate
        for task, metrics in tasks.items()
        if isinstance(metrics, dict)
        for metric, estimate in metrics.items()
        if isinstance(estimate, dict) and {"value", "low", "high"} <= estimate.keys()
    }


def _of_groups(entry: Mapping[str, Any]) -> dict[str, Estimate]:
    key = "/".join(entry[name] for name in ("data_set", "condition", "attribute", "figure"))
    groups = {group["group"]: group for group in entry["groups"]}  # worst first
    estimates = {f"gap/{key}": entry["gap"], f"worst/{key}": entry["groups"][0], f"best/{key}": entry["groups"][-1]}
    estimates |= {f"group/{key}/{name}": group for name, group in groups.items()}
    if {_OLD, _YOUNG} <= groups.keys():
        estimates[f"difference/{key}/{_OLD}/{_YOUNG}"] = _difference(groups[_OLD], groups[_YOUNG])
    for name, group in groups.items():
        if others := [other for other in groups.values() if other is not group]:
            estimates[f"others/{key}/{name}"] = _difference(_mean(others), group)
    return estimates


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """Of independent samples: half-widths of intervals add as the root of the sum of squares."""
    value = one["value"] - other["value"]
    below = np.hypot(one["value"] - one["low"], other["high"] - other["value"])
    above = np.hypot(one["high"] - one["value"], other["value"] - other["low"])
    return {"value": value, "low": value - below, "high": value + above}


def _mean(groups: Sequence[Mapping[str, Any]]) -> Estimate:
    """Of independent groups, weighted by their faces."""
    shares = np.array([group["faces"] for group in groups]) / sum(group["faces"] for group in groups)
    value, low, high = (np.array([group[key] for group in groups]) for key in ("value", "low", "high"))
    mean = float(shares @ value)
    below, above = (float(np.sqrt((shares**2) @ (end - value) ** 2)) for end in (low, high))
    return {"value": mean, "low": mean - below, "high": mean + above}


def _occluded_baseline(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The mean of gender and race of the baseline under masks, with the widest interval they allow."""
    key = "study/no_mask/utkface/masks"
    both = [estimates.get(f"{key}/{task}/accuracy") for task in ("gender", "race")]
    if None in both:
        return {}
    mean = {end: float(np.mean([estimate[end] for estimate in both if estimate])) for end in ("value", "low", "high")}
    return {f"{key}/gender_and_race/accuracy": mean}


def _training(log: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Age errors after the first and the last epoch, and epochs until the error was within 1 % of the least."""
    epochs = [event for event in log if event["event"] == "epoch" and "valid_age_mae" in event]
    starts = [event for event in log if event["event"] == "start"]
    batch = next((event["samples"] for event in log if "samples" in event), None)
    if epochs and starts and batch:
        errors = [event["valid_age_mae"] for event in epochs]
        faces = sum(data["train"] for data in starts[-1]["data"].values())
        converged = next(event for event in epochs if event["valid_age_mae"] <= 1.01 * min(errors))
        yield "age_mae_first", errors[0]
        yield "age_mae_last", errors[-1]
        yield "epochs", round(converged["total_step"] * batch / faces, 1)


def _false_mask_rates(findings: Findings) -> dict[str, Estimate]:
    """How much the share predicted as masked grows when objects other than masks occlude the same faces."""
    predictions, estimates = findings.predictions[findings.main], {}
    for data_set in predictions.classes:
        for condition in ("objects", "accessories"):
            subset = predictions.subset(data_set, condition)
            if len(subset) and "mask" in subset.classes:
                clean = predictions.subset(data_set, CLEAN).same_faces(subset)
                before, after = (side.classifications("mask")[1].argmax(1) for side in (clean, subset))
                change = (after - before)[None].astype(float)
                estimates[f"false_mask_rate/{data_set}/{condition}"] = seeds_and_faces(change)
    return estimates


def _size_and_latency(findings: Findings) -> Iterator[tuple[str, float]]:
    """Name and value of what is counted or timed, so has no interval."""
    predictor, speed = findings.result["predictor"], findings.result["speed"]
    yield "latency_ms", speed["latency_ms"]
    if "parameters" in predictor:
        yield "parameters", round(predictor["parameters"] / 1e6, 1)
        yield "reduction_from_four_resnet50", round(1 - predictor["parameters"] / (4 * RESNET50_PARAMETERS), 3)
    if "bytes" in predictor:
        yield "megabytes", predictor["bytes"] / 2**20
    if BASELINE in findings.results and "bytes" in predictor:
        small = findings.results[BASELINE]
        yield "smaller", 1 - small["predictor"]["bytes"] / predictor["bytes"]
        if small["speed"]["run"] == speed["run"]:
            yield "faster", 1 - small["speed"]["latency_ms"] / speed["latency_ms"]
    runs = {name: run[0] for name, run in findings.study.runs.items()}
    if {"consistency", *SINGLE_TASK} <= runs.keys():
        multi, singles = runs["consistency"], [runs[name] for name in SINGLE_TASK]
        yield "reduction_from_single_task", 1 - multi["parameters"] / sum(run["parameters"] for run in singles)
        if all(run["timed_in"] == multi["timed_in"] for run in singles):
            time = sum(run["latency_ms"] for run in singles)
            yield "speedup_over_single_task", time / multi["latency_ms"]
            yield "saved_by_one_backbone", 1 - multi["latency_ms"] / time
    if {"consistency", "full"} <= runs.keys() and runs["full"]["timed_in"] == runs["consistency"]["timed_in"]:
        yield "saved_by_balancing", 1 - runs["full"]["latency_ms"] / runs["consistency"]["latency_ms"]
