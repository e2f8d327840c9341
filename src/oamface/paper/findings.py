"""The results of one benchmark folder, and what follows from comparing them: variants, contrasts, paired tests."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oamface.errors import ResultError
from oamface.evaluation.bootstrap import RESAMPLES, percentile_interval, resample_weights
from oamface.evaluation.conditions import CLEAN
from oamface.evaluation.fairness import face_values
from oamface.evaluation.predictions import PredictionTable
from oamface.evaluation.significance import check_comparable, paired_tests
from oamface.evaluation.task_metrics import OCCLUSION_DROP_TASKS, overall_accuracy
from oamface.paper.benchmark import read_result
from oamface.paper.scenarios import MASKS
from oamface.paper.variants import CONTRAST_PAIRS, STUDY_CONDITIONS, STUDY_METRICS

Estimate = dict[str, float]  # value, low, high
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """Results of one protocol on the same faces.

    main: name of the model that the report is about. results: predictor's name to its result, see docs/benchmark.md.
    folder: where the tables of predictions are.
    """

    main: str
    results: dict[str, dict[str, Any]]
    folder: Path

    @classmethod
    def read(cls, folder: Path, main: str | None = None) -> "Findings":
        """All results of a folder. main: None takes the only model file.

        Raises ResultError: no or several model files, or results of different protocols or faces.
        """
        results = {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}
        models = [name for name, result in results.items() if result["predictor"]["kind"] == "model file"]
        main = main or (models[0] if len(models) == 1 else None)
        if main not in results:
            names = ", ".join(results) or "none"
            raise ResultError(
                f"{folder}: no result of {main or 'exactly one model file'}; there are: {names}; name one"
            )
        for result in results.values():
            check_comparable(results[main], result)
        return cls(main, results, folder)

    @property
    def result(self) -> dict[str, Any]:
        """The main model's result."""
        return self.results[self.main]

    @cached_property
    def predictions(self) -> dict[str, PredictionTable]:
        """Every predictor's table of predictions."""
        return {name: PredictionTable.read(self.folder / f"{name}.parquet") for name in self.results}

    @cached_property
    def variants(self) -> dict[str, list[str]]:
        """A study's variant to the names of its runs, seed after seed."""
        runs: dict[str, list[str]] = defaultdict(list)
        for name, result in self.results.items():
            if result["predictor"]["kind"] == "checkpoint":
                runs[name.rpartition("-")[0]].append(name)
        return dict(runs)

    @property
    def peers(self) -> list[str]:
        """The predictors that the model is compared with: other packages, tables and other model files."""
        kinds = {name: result["predictor"]["kind"] for name, result in self.results.items()}
        return [name for name, kind in kinds.items() if name != self.main and kind != "checkpoint"]

    def variant_values(self, variant: str, data_set: str, condition: str, metric: str) -> Values | None:
        """(seeds, faces) values whose mean the metric is; None where a run of the variant has none."""
        rows = [
            metric_values(self.predictions[name], data_set, condition, metric)
            for name in self.variants.get(variant, [])
        ]
        present = [row for row in rows if row is not None]
        return np.stack(present) if present and len(present) == len(rows) else None

    @cached_property
    def study(self) -> dict[str, Estimate]:
        """Estimates of every variant and contrast, by the keys study/... and contrast/... of estimates.py."""
        estimates: dict[str, Estimate] = {}
        for place in product(self.result["measured"], STUDY_CONDITIONS, STUDY_METRICS):
            key = _key(*place)
            values = {name: self.variant_values(name, *place) for name in self.variants}
            for name, rows in values.items():
                if rows is not None:
                    estimates[f"study/{name}/{key}"] = {**seeds_and_faces(rows), "seeds": len(rows)}
            for name, baseline in CONTRAST_PAIRS:
                one, other = values.get(name), values.get(baseline)
                if place[-1] != "occlusion_drop" and one is not None and other is not None:
                    seeds = min(len(one), len(other))
                    change = seeds_and_faces(one[:seeds] - other[:seeds])
                    estimates[f"contrast/{name}/{baseline}/{key}"] = {**change, "seeds": seeds}
        return estimates

    def variant(self, name: str, data_set: str, condition: str, metric: str) -> Estimate | None:
        """A metric of a variant, over its seeds."""
        return self.study.get(f"study/{name}/{_key(data_set, condition, metric)}")

    def contrast(self, name: str, baseline: str, data_set: str, condition: str, metric: str) -> Estimate | None:
        """How much higher a metric is for a variant than for another, paired by seed and face."""
        return self.study.get(f"contrast/{name}/{baseline}/{_key(data_set, condition, metric)}")

    @cached_property
    def tests(self) -> dict[str, list[dict[str, Any]]]:
        """Paired tests by "ONE/OTHER": full/no_mask, the first seed of each, and the main model against every peer."""
        pairs = {f"{self.main}/{peer}": (self.main, peer) for peer in self.peers}
        if {"full", "no_mask"} <= self.variants.keys():
            pairs["full/no_mask"] = self.variants["full"][0], self.variants["no_mask"][0]
        return {
            name: paired_tests(self.predictions[one], self.predictions[other], (CLEAN, MASKS))
            for name, (one, other) in pairs.items()
        }


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
