"""The paper's five scenarios: all masked, none masked, mixed, and mixed among the young and the old (its Figure 7)."""

import zlib
from typing import Any

import numpy as np
import pandas as pd

from oamface.evaluation.bootstrap import RESAMPLES
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.measure import LEAST, all_figures
from oamface.evaluation.predictions import Part, PredictionTable

MASKED = "masks"
YOUNG, SENIOR = (18, 30), (61, 100)  # years, both included
SHOWN = ("age", "age_group", "gender", "race", "mask", "overall")
SCENARIOS = ("all masked", "none masked", "mixed", "young, mixed", "senior, mixed")


def scenarios(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
    """Data set to scenario to its figures; mixed shows each face either bare or masked, half of each."""
    found: dict[str, dict[str, Any]] = {}
    for data_set in predictions.classes:
        bare, masked = predictions.part(data_set, CLEAN), predictions.part(data_set, MASKED)
        if not len(masked):
            continue
        bare = bare.like(masked)
        mixed = pd.concat([_half(bare.rows, 0), _half(masked.rows, 1)], ignore_index=True)
        rows = {
            "all masked": masked.rows,
            "none masked": bare.rows,
            "mixed": mixed,
            "young, mixed": mixed[_aged(mixed, *YOUNG)],
            "senior, mixed": mixed[_aged(mixed, *SENIOR)],
        }
        found[data_set] = {}
        for name in SCENARIOS:
            part = Part(rows[name], bare.classes)
            if len(part) < LEAST:
                found[data_set][name] = {"not_enough_faces": len(part)}
                continue
            sheet = all_figures(part, resamples=resamples)
            kept = {task: sheet[task] for task in SHOWN if task in sheet}
            found[data_set][name] = {"faces": len(part), **kept}
    return found


def _half(rows: pd.DataFrame, side: int) -> pd.DataFrame:
    """The faces of one half; a face's name decides."""
    return rows[[zlib.crc32(face.encode()) % 2 == side for face in rows["face"]]]


def _aged(rows: pd.DataFrame, first: int, last: int) -> "pd.Series[bool]":
    """Faces known to be of these years: exactly, or by an age group that lies inside."""
    inside = rows["age_true"].between(first, last)
    if "age_group_true" in rows:
        groups = rows["age_group_true"].fillna("").astype(str)
        ends = groups.str.extract(r"^(\d+)-(\d+)$").astype(float)
        inside |= (ends[0] >= first) & (ends[1] <= last)
    return inside.astype(bool) & np.ones(len(rows), bool)
