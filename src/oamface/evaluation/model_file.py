"""One model file on prepared stores, bare and covered: what `export` keeps in the file and the model card prints."""

from collections.abc import Callable, Sequence
from typing import Any

from oamface.datasets.store import Store
from oamface.evaluation.bootstrap import RESAMPLES, described
from oamface.evaluation.conditions import CORE
from oamface.evaluation.fairness import fairness
from oamface.evaluation.measure import measure
from oamface.evaluation.predictions import predict
from oamface.evaluation.predictors import ModelPredictor
from oamface.predictor import Predictor

FORMAT = "oamface-evaluation/3"
_DETAILS = ("_classes", "_calibration", "_selective")  # tables and curves, which the benchmark keeps


def evaluate(
    engine: Predictor,
    stores: Sequence[Store],
    *,
    split: str = "test",
    resamples: int = RESAMPLES,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Everything measured, as plain values (docs/evaluation.md describes them). on_progress: faces done, and all.

    Raises DataError when no store has a face of that split.
    """
    (predictions,) = predict([ModelPredictor(engine)], stores, CORE, split=split, on_progress=on_progress)
    measured = measure(predictions, resamples=resamples)
    sets = {}
    for store in stores:
        data_set = store.card["data_set"]
        sheets = measured.get(data_set, {})
        sets[data_set] = {
            "source": store.card["source"],
            "faces": max((sheet["faces"] for sheet in sheets.values()), default=0),
            "undetected": store.card["undetected"].get(split, 0),
            "conditions": {
                name: {key: value for key, value in sheet.items() if not key.endswith(_DETAILS)}
                for name, sheet in sheets.items()
            },
        }
    return {
        "schema": FORMAT,
        "model": engine.digest,
        "split": split,
        "interval": described(resamples),
        "data_sets": sets,
        "fairness": fairness(predictions, resamples=resamples),
    }
