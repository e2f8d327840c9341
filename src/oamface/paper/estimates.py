"""Every measured number that a claim can ask for, with its interval, by key.

Keys are
  DATA_SET/CONDITION/TASK/METRIC                          of the main model
  scenario/DATA_SET/SCENARIO/TASK/METRIC                  in the paper's scenarios
  group/DATA_SET/CONDITION/ATTRIBUTE/METRIC/GROUP         of one group of people
  worst, best, gap/DATA_SET/CONDITION/ATTRIBUTE/METRIC    of the outer two groups, and their distance
  difference/DATA_SET/CONDITION/age/METRIC/61-80/18-30    the first group minus the second
  bias, -bias/DATA_SET/CONDITION/AGES                     mean signed error in years, and with the sign flipped
  false_mask_rate/DATA_SET/CONDITION                      see _false_mask_rates
  model/WHAT                                              size and latency
  study/VARIANT/DATA_SET/CONDITION/TASK/METRIC            of a study's variant
  contrast/VARIANT/BASELINE/DATA_SET/CONDITION/TASK/METRIC
  test/ONE/OTHER/DATA_SET/CONDITION/METRIC/p, cohens_d, cohens_h
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from oamface.evaluation.conditions import CLEAN
from oamface.paper.findings import Estimate, Findings, seeds_and_faces
from oamface.paper.names import DATA_SETS
from oamface.paper.variants import ABLATION, BALANCING, CONTRAST_PAIRS, CROSS_DATASET, SINGLE_TASK

RESNET50_PARAMETERS = 23_508_032  # without its classifier
_OLD, _YOUNG = "61-80", "18-30"
_GROUPED = ("gap/", "group/", "worst/", "best/", "difference/", "bias/", "-bias/", "scenario/")


def all_estimates(findings: Findings) -> dict[str, Estimate]:
    """Key to estimate; a metric that could not be measured is absent."""
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
    estimates |= findings.study
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
    missing = {*ABLATION, *BALANCING, *SINGLE_TASK, *CROSS_DATASET} - findings.variants.keys()
    reasons |= {f"study/{name}/": untrained for name in missing}
    reasons |= {f"contrast/{name}/{other}/": untrained for name, other in CONTRAST_PAIRS if {name, other} & missing}
    if {"full", "no_mask"} & missing:
        reasons["test/full/no_mask/"] = untrained
    if {"consistency", *SINGLE_TASK} & missing:
        reasons |= dict.fromkeys(("model/reduction_from_single_task", "model/speedup_over_single_task"), untrained)
    result = findings.result
    for name in DATA_SETS.keys() - result["measured"].keys():
        starts = ["", "false_mask_rate/", *_GROUPED, *(f"study/{variant}/" for variant in findings.variants)]
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
        # The groups are independent samples: half-widths of intervals add as the root of the sum of squares.
        old, young = groups[_OLD], groups[_YOUNG]
        value = old["value"] - young["value"]
        below = np.hypot(old["value"] - old["low"], young["high"] - young["value"])
        above = np.hypot(old["high"] - old["value"], young["value"] - young["low"])
        difference = {"value": value, "low": value - below, "high": value + above}
        estimates[f"difference/{key}/{_OLD}/{_YOUNG}"] = difference
    return estimates


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
    if {"consistency", *SINGLE_TASK} <= findings.variants.keys():
        multi, *singles = (findings.results[findings.variants[name][0]] for name in ("consistency", *SINGLE_TASK))
        size = sum(single["predictor"]["parameters"] for single in singles)
        yield "reduction_from_single_task", 1 - multi["predictor"]["parameters"] / size
        if all(single["speed"]["run"] == multi["speed"]["run"] for single in singles):
            time = sum(single["speed"]["latency_ms"] for single in singles)
            yield "speedup_over_single_task", time / multi["speed"]["latency_ms"]
