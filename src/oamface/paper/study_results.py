"""What the small networks of a study reached: estimates of every variant and contrast, in one compact JSON file.

They do not depend on the shipped weights: the file is kept, and no study is trained again for a report.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from oamface.atomic import write_text
from oamface.errors import ResultError
from oamface.evaluation.bootstrap import RESAMPLES, Estimate, percentile_interval, resample_weights
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.fairness import face_values
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.significance import paired_tests
from oamface.evaluation.task_metrics import OCCLUSION_DROP_TASKS, overall_accuracy
from oamface.paper.compact import compact_json
from oamface.paper.scenarios import MASKS
from oamface.paper.variants import CONTRAST_PAIRS, STUDY_CONDITIONS, STUDY_METRICS

FORMAT = "oamface-study/1"
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StudyResults:
    """Results of a study's runs, all by one protocol on the same faces.

    runs: variant to what its networks are, seed after seed: name, digest, parameters, steps, samples, image_size,
    pretrained, latency_ms, batch_ms, timed_in. estimates: keys study/... and contrast/... of estimates.py to value,
    low, high and seeds; of a variant also `runs`, the value of every seed. tests: of full against no_mask, the first
    seed of each. about: protocol, stores, recipes with their SHA-256, how it was measured.
    """

    runs: dict[str, list[dict[str, Any]]]
    estimates: dict[str, dict[str, Any]]
    tests: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def empty(cls) -> Self:
        return cls({}, {}, [], {})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ResultError: no such file, or another kind of file."""
        try:
            content = json.loads(path.read_text())
            if content.pop("schema") != FORMAT:
                raise ValueError(f"not of the form {FORMAT}")
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(f"{path}: not the results of a study ({error})") from error

    def write(self, path: Path) -> None:
        """Raises FileError."""
        write_text(path, compact_json({"schema": FORMAT, **asdict(self)}))

    def variant(self, name: str, data_set: str, condition: str, metric: str) -> Estimate | None:
        """A metric of a variant, over its seeds."""
        return self.estimates.get(f"study/{name}/{_key(data_set, condition, metric)}")

    def run_values(self, name: str, data_set: str, condition: str, metric: str) -> list[float]:
        """A metric of each of a variant's runs; empty where there is none."""
        estimate: Mapping[str, Any] = self.variant(name, data_set, condition, metric) or {}
        return list(estimate.get("runs", ()))

    def contrast(self, name: str, baseline: str, data_set: str, condition: str, metric: str) -> Estimate | None:
        """How much higher a metric is for a variant than for another, paired by seed and face."""
        return self.estimates.get(f"contrast/{name}/{baseline}/{_key(data_set, condition, metric)}")


def measure_study(
    results: Mapping[str, dict[str, Any]], predictions: Mapping[str, PredictionTable], recipes: Mapping[str, str] = {}
) -> StudyResults:
    """results, predictions: of a benchmark, by the runs' names VARIANT-SEED. recipes: file to SHA-256."""
    if not results:
        return StudyResults.empty()
    names: dict[str, list[str]] = defaultdict(list)
    for name in sorted(results):
        names[name.rpartition("-")[0]].append(name)
    first = next(iter(results.values()))
    estimates: dict[str, dict[str, Any]] = {}
    for place in product(first["measured"], STUDY_CONDITIONS, STUDY_METRICS):
        key = _key(*place)
        values = {name: _variant_values(predictions, runs, *place) for name, runs in names.items()}
        for name, rows in values.items():
            if rows is not None:
                runs = {"seeds": len(rows), "runs": rows.mean(1).tolist()}
                estimates[f"study/{name}/{key}"] = seeds_and_faces(rows) | runs
        for name, baseline in CONTRAST_PAIRS:
            one, other = values.get(name), values.get(baseline)
            if place[-1] != "occlusion_drop" and one is not None and other is not None:
                seeds = min(len(one), len(other))
                change = seeds_and_faces(one[:seeds] - other[:seeds])
                estimates[f"contrast/{name}/{baseline}/{key}"] = {**change, "seeds": seeds}
    tests = []
    if {"full", "no_mask"} <= names.keys():
        tests = paired_tests(predictions[names["full"][0]], predictions[names["no_mask"][0]], (CLEAN, MASKS))
    about = {key: first[key] for key in ("protocol", "stores", "interval")} | {"recipes": dict(recipes)}
    return StudyResults(
        {name: [_describe_run(results[run]) for run in runs] for name, runs in names.items()}, estimates, tests, about
    )


def _describe_run(result: Mapping[str, Any]) -> dict[str, Any]:
    predictor, speed = result["predictor"], result["speed"]
    recipe = predictor["recipe"]
    return {
        **{key: predictor[key] for key in ("name", "digest", "parameters", "steps")},
        "samples": recipe["samples_per_epoch"] * sum(phase["epochs"] for phase in recipe["phases"]),
        "image_size": recipe["phases"][-1]["image_size"],
        "pretrained": recipe["pretrained"],
        **{key: speed[key] for key in ("latency_ms", "batch_ms", "processor")},
        "timed_in": speed["run"],
    }


def _variant_values(
    predictions: Mapping[str, PredictionTable], runs: list[str], data_set: str, condition: str, metric: str
) -> Values | None:
    """(seeds, faces) values whose mean the metric is; None where a run has none."""
    rows = [metric_values(predictions[name], data_set, condition, metric) for name in runs]
    present = [row for row in rows if row is not None]
    return np.stack(present) if len(present) == len(rows) else None


def metric_values(predictions: PredictionTable, data_set: str, condition: str, metric: str) -> Values | None:
    """(N,) values whose mean a metric is, over the faces that have one; None where there are none.

    metric: one of fairness.face_values, "overall_accuracy", or "occlusion_drop" of gender and race under the condition.
    """
    subset = predictions.subset(data_set, condition)
    if metric == "occlusion_drop":
        clean = predictions.subset(data_set, CLEAN).same_faces(subset)
        values = np.subtract(*(overall_accuracy(side, OCCLUSION_DROP_TASKS) for side in (clean, subset)))
    elif metric == "overall_accuracy":
        values = overall_accuracy(subset)
    else:
        values = face_values(subset).get(metric, np.zeros(0))
    finite = np.isfinite(values)
    return values[finite] if finite.any() else None


def seeds_and_faces(values: Values, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of (seeds, faces) with a bootstrap interval that resamples both."""
    seeds, faces = values.shape
    rng, means = np.random.default_rng((seed, 1)), []
    for weights in resample_weights(faces, resamples, seed):
        per_seed = weights @ values.T / faces
        means.append(np.take_along_axis(per_seed, rng.integers(0, seeds, per_seed.shape), 1).mean(1))
    low, high = percentile_interval(np.concatenate(means))
    return {"value": float(values.mean()), "low": low, "high": high}


def _key(data_set: str, condition: str, metric: str) -> str:
    """DATA_SET/CONDITION/TASK/METRIC of a metric called TASK_METRIC."""
    if metric == "occlusion_drop":
        return f"{data_set}/{condition}/occlusion_drop/overall_accuracy"
    task, _, name = metric.rpartition("_")
    return f"{data_set}/{condition}/{task}/{name}"
