"""Results small enough to be committed: no curves, no tables of classes, no more digits than the intervals carry."""

import json
from collections.abc import Mapping
from typing import Any

from oamface.evaluation.task_metrics import DETAILS

DIGITS = 5  # significant ones
_KEPT = ("schema", "protocol", "predictor", "stores", "conditions", "interval", "speed", "scenarios", "fairness")


def compact_json(value: Any) -> str:
    """JSON without spaces, a line for every key of the outermost object."""
    lines = [f"{json.dumps(key)}:{_dump(item)}" for key, item in _rounded(value).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def compact_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's result without what only the page draws; of calibration the expected error is kept."""
    measured = {
        data_set: {condition: _without_details(tasks) for condition, tasks in conditions.items()}
        for data_set, conditions in result["measured"].items()
    }
    kept = {key: result[key] for key in _KEPT}
    kept["predictor"] = {key: value for key, value in kept["predictor"].items() if key not in ("training", "input")}
    return {**kept, "age_bias": result["error_analysis"]["age_bias"], "measured": measured}


def _without_details(tasks: Mapping[str, Any]) -> dict[str, Any]:
    kept = {task: values for task, values in tasks.items() if not task.endswith(DETAILS)}
    calibration = {task: {"ece": values["ece"]} for task, values in tasks.items() if task.endswith("_calibration")}
    return kept | calibration


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
