"""Tables of predictions, for tests of what is computed from them."""

from typing import Any

import numpy as np
import pandas as pd

from oamface.evaluation.predictions import PredictionTable

CLASSES = {
    "gender": ["male", "female"],
    "race": ["White", "Black", "Indian"],
    "mask": ["none", "incorrect or worn"],
}


def table(
    *,
    seed: int = 0,
    count: int = 120,
    right: float = 0.8,
    conditions: tuple[str, ...] = ("clean", "masks"),
    classes: dict[str, list[str]] | None = None,
    about: dict[str, Any] | None = None,
    data_set: str = "utkface",
) -> PredictionTable:
    """A predictor that is right with a probability and about 6 years off; the truth is the same for every seed."""
    classes = classes or CLASSES
    truth, rng, frames = np.random.default_rng(99), np.random.default_rng(seed), []
    ages = truth.integers(0, 95, count).astype(float)
    true = {name: truth.integers(0, len(labels), count) for name, labels in classes.items()}
    for condition in conditions:
        said = ages + rng.normal(0, 6, count)
        columns: dict[str, Any] = {
            "data_set": data_set,
            "condition": condition,
            "face": [f"{number}.png" for number in range(count)],
            "style": "" if condition == "clean" else "checked",
            "age_true": ages,
            "age": said.clip(0, 100),
            "age_low": (said - 10).clip(0, 100),
            "age_high": (said + 10).clip(0, 100),
            "leakage": 0.1,
            "covered": 0.0 if condition == "clean" else 0.3,
        }
        for name, labels in classes.items():
            number = true[name]
            if name == "mask":
                number = np.full(count, int(condition != "clean"))
            answer = np.where(rng.random(count) < right, number, rng.integers(0, len(labels), count))
            shares = rng.dirichlet(np.ones(len(labels)), count) + 1.5 * np.eye(len(labels))[answer]
            shares /= shares.sum(1, keepdims=True)
            columns[f"{name}_true"] = [labels[at] for at in number]
            columns |= {f"{name}={label}": shares[:, at] for at, label in enumerate(labels)}
        frames.append(pd.DataFrame(columns))
    return PredictionTable(pd.concat(frames, ignore_index=True), {data_set: classes}, {}, about or {})
