"""Evaluates one model file on prepared stores: the figures that `export` keeps in the file and the model card shows."""

from collections.abc import Callable, Sequence
from typing import Any

from oamface.datasets.store import Store
from oamface.evaluation.bootstrap import RESAMPLES, describe_interval
from oamface.evaluation.conditions import CORE
from oamface.evaluation.fairness import fairness
from oamface.evaluation.inference import run_predictors
from oamface.evaluation.predictors import ModelPredictor
from oamface.evaluation.task_metrics import DETAILS, compute_metrics
from oamface.predictor import Predictor

FORMAT = "oamface-evaluation/3"


def evaluate(
    predictor: Predictor,
    stores: Sequence[Store],
    *,
    split: str = "test",
    resamples: int = RESAMPLES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """All figures on clean and occluded faces, as plain values; docs/evaluation.md describes them.

    on_progress: faces done, and all. Raises DataError: no face of that split.
    """
    model = ModelPredictor(predictor)
    (predictions,) = run_predictors([model], stores, CORE, split=split, on_progress=on_progress)
    by_data_set = compute_metrics(predictions, resamples=resamples)
    data_sets = {}
    for store in stores:
        conditions = by_data_set.get(store.data_set, {})
        data_sets[store.data_set] = {
            "source": store.digest,
            "faces": max((values["faces"] for values in conditions.values()), default=0),
            "undetected": store.card["undetected"].get(split, 0),
            "conditions": {
                name: {key: value for key, value in values.items() if not key.endswith(DETAILS)}
                for name, values in conditions.items()
            },
        }
    return {
        "schema": FORMAT,
        "model": predictor.digest,
        "split": split,
        "interval": describe_interval(resamples),
        "data_sets": data_sets,
        "fairness": fairness(predictions, resamples=resamples),
    }
