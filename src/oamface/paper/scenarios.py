"""The paper's five scenarios (its Figure 7): all masked, none masked, mixed, and mixed for young and senior faces."""

import zlib
from typing import Any

import pandas as pd

from oamface.evaluation.bootstrap import RESAMPLES
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.predictions import PredictionTable, Subset
from oamface.evaluation.task_metrics import MIN_FACES, all_metrics

MASKS = "masks"  # the condition: held-out masks are drawn over the faces
YOUNG, SENIOR = (18, 30), (61, 100)  # years, both included
TASKS = ("age", "age_group", "gender", "race", "mask", "overall")
SCENARIOS = ("all masked", "none masked", "mixed", "young, mixed", "senior, mixed")


def scenarios(predictions: PredictionTable, *, resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
    """Data set to scenario to the metrics of each task; "mixed" shows half of the faces masked, the others clean."""
    results: dict[str, dict[str, Any]] = {}
    for data_set in predictions.classes:
        masked = predictions.subset(data_set, MASKS)
        if not len(masked):
            continue
        clean = predictions.subset(data_set, CLEAN).same_faces(masked)
        mixed = pd.concat([_half(clean.rows, 0), _half(masked.rows, 1)], ignore_index=True)
        young, senior = (mixed[_has_age(mixed, *ages)] for ages in (YOUNG, SENIOR))
        results[data_set] = {
            name: _metrics(Subset(rows, clean.classes), resamples)
            for name, rows in zip(SCENARIOS, (masked.rows, clean.rows, mixed, young, senior), strict=True)
        }
    return results


def _metrics(subset: Subset, resamples: int) -> dict[str, Any]:
    if len(subset) < MIN_FACES:
        return {"not_enough_faces": len(subset)}
    metrics = all_metrics(subset, resamples=resamples)
    return {"faces": len(subset), **{task: metrics[task] for task in TASKS if task in metrics}}


def _half(rows: pd.DataFrame, half: int) -> pd.DataFrame:
    """Half of the faces, 0 or 1, by the checksum of their names."""
    return rows[[zlib.crc32(face.encode()) % 2 == half for face in rows["face"]]]


def _has_age(rows: pd.DataFrame, first: int, last: int) -> "pd.Series[bool]":
    """Whether a face's age, or its whole age group, lies within these years."""
    inside = rows["age_true"].between(first, last)
    if "age_group_true" in rows:
        ends = rows["age_group_true"].fillna("").astype(str).str.extract(r"^(\d+)-(\d+)$").astype(float)
        inside |= (ends[0] >= first) & (ends[1] <= last)
    return inside.astype(bool)
