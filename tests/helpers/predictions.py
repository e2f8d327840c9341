"""Tables of random predictions, for tests of what is computed from them."""

from typing import Any

import numpy as np
import pandas as pd

from oamface.evaluation.predictions import PredictionTable

CLASSES = {
    "gender": ["male", "female"],
    "race": ["White", "Black", "Indian"],
    "mask": ["none", "incorrect or worn"],
}


def random_table(
    *,
    seed: int = 0,
    count: int = 120,
    accuracy: float = 0.8,
    conditions: tuple[str, ...] = ("clean", "masks"),
    classes: dict[str, list[str]] | None = None,
    about: dict[str, Any] | None = None,
    data_set: str = "utkface",
) -> PredictionTable:
    """Predictions of at least this accuracy and about 6 years of error; the truth is the same for all seeds."""
    classes = classes or CLASSES
    truth_rng, rng, frames = np.random.default_rng(99), np.random.default_rng(seed), []
    true_ages = truth_rng.integers(0, 95, count).astype(float)
    truth = {task: truth_rng.integers(0, len(names), count) for task, names in classes.items()}
    for condition in conditions:
        ages = true_ages + rng.normal(0, 6, count)
        columns: dict[str, Any] = {
            "data_set": data_set,
            "condition": condition,
            "face": [f"{number}.png" for number in range(count)],
            "style": "" if condition == "clean" else "checked",
            "age_true": true_ages,
            "age": ages.clip(0, 100),
            "age_low": (ages - 10).clip(0, 100),
            "age_high": (ages + 10).clip(0, 100),
            "attention_on_occlusion": 0.1,
            "occluded_area": 0.0 if condition == "clean" else 0.3,
        }
        for task, names in classes.items():
            true = np.full(count, int(condition != "clean")) if task == "mask" else truth[task]
            predicted = np.where(rng.random(count) < accuracy, true, rng.integers(0, len(names), count))
            probabilities = rng.dirichlet(np.ones(len(names)), count) + 1.5 * np.eye(len(names))[predicted]
            probabilities /= probabilities.sum(1, keepdims=True)
            columns[f"{task}_true"] = [names[number] for number in true]
            columns |= {f"{task}={name}": probabilities[:, number] for number, name in enumerate(names)}
        frames.append(pd.DataFrame(columns))
    return PredictionTable(pd.concat(frames, ignore_index=True), {data_set: classes}, {}, about or {})
