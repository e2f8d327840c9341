"""How the report names data sets, conditions and metrics."""

from collections.abc import Mapping
from typing import Any

from oamface.evaluation.conditions import CLEAN

DATA_SETS = {"utkface": "UTKFace", "fairface": "FairFace", "masks": "mask images"}
METRICS = {  # name and unit
    "age_mae": ("age MAE", "years"),
    "age_group_accuracy": ("age group", "%"),
    "gender_accuracy": ("gender", "%"),
    "race_accuracy": ("race", "%"),
    "mask_accuracy": ("mask", "%"),
    "overall_accuracy": ("gender, race and mask", "%"),
    "age_interval_coverage": ("age intervals' coverage", "%"),
}
_DIGITS = {"%": 1, "years": 2, "ms": 1, "M": 1, "MB": 1}


def data_set_name(data_set: str) -> str:
    return DATA_SETS.get(data_set, data_set)


def condition_name(condition: str) -> str:
    return condition.replace("_", " ")


def place(row: Mapping[str, Any]) -> str:
    """Data set and condition of a row: "UTKFace, masks"."""
    return f"{data_set_name(row['data_set'])}, {condition_name(row.get('condition', CLEAN))}"


def metric_name(metric: str) -> str:
    return METRICS[metric][0]


def unit(metric: str) -> str:
    return METRICS[metric][1]


def axis_label(metric: str) -> str:
    """The metric with its unit: "age MAE (years)"."""
    name, its_unit = METRICS[metric]
    return f"{name} ({its_unit})"


def scale(metric: str) -> float:
    """What to multiply by for display: shares are shown in percent."""
    return 100 if unit(metric) == "%" else 1


def estimate_text(estimate: Mapping[str, float] | float | None, its_unit: str, digits: int | None = None) -> str:
    """An estimate with its interval: "91.7 % (90.5 to 92.8)"; a number, or one that is its own interval: "11.4 M"."""
    if estimate is None:
        return "-"
    if not isinstance(estimate, Mapping):
        estimate = {"value": estimate, "low": estimate, "high": estimate}
    factor = 100 if its_unit == "%" else 1
    digits = _DIGITS.get(its_unit, 3) if digits is None else digits
    value, low, high = (f"{factor * estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    text = f"{value} {its_unit}".strip()
    return text if estimate["low"] == estimate["high"] else f"{text} ({low} to {high})"


def p_text(value: float) -> str:
    """A p-value: "< 0.0001", "0.0312", "0.52"."""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
