"""The quality score: fitted, and measured on test faces: python benchmarks/quality.py STORE... [--fit]

Writes docs/results/quality.json and its table in docs/age-thresholds.md. STORE: prepared data
sets, such as stores/utkface, stores/aaf and stores/fairface; those without exact ages only show the score by group.
--fit also writes src/oamface/quality.json.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from timeit import repeat
from typing import Any

import numpy as np
import pandas as pd
from age_faces import ROOT, Faces, plain
from quality_fit import fifths, fit_curves, fit_widening, relative_errors, with_quality
from tables import update

from oamface.atomic import write_text
from oamface.datasets.store import open_stores
from oamface.predictor import Predictor
from oamface.quality import LEAST_QUALITY, MEASURES, assess, constants, measure

FITTED, RESULTS = ROOT / "src/oamface/quality.json", ROOT / "docs/results/quality.json"


def fit(faces: Faces, model: str) -> None:
    """Fit curves and widening on the calibration parts, and write FITTED."""
    natural, degraded = faces.every("calibrate", "natural"), faces.exact("calibrate", "degraded")
    both = pd.concat([natural, degraded], ignore_index=True)
    curves = fit_curves(both[list(MEASURES)], relative_errors(both, natural))
    fitted = {"command": "python benchmarks/quality.py STORE... --fit", "model": model, "faces": len(both)}
    write_fitted({**fitted, "curves": curves, "widening": {"at": [0, 1], "factor": [1, 1]}})
    exact = with_quality(both[both.age.notna()])
    widening = fit_widening(exact.score.to_numpy(), exact.reach.to_numpy())
    write_fitted({**fitted, "curves": curves, "widening": widening})


def write_fitted(fitted: dict[str, Any]) -> None:
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fitted.items())
    write_text(FITTED, f"{{\n{lines}\n}}\n")
    constants.cache_clear()


def measured(faces: Faces, predictor: Predictor) -> dict[str, Any]:
    """Everything that RESULTS holds."""
    every = with_quality(faces.every("test", "natural"))
    degraded = with_quality(faces.exact("test", "degraded"))
    natural, ranges = every[every.age.notna()], every[every.age.isna()]
    parts = {"natural": natural, "degraded": degraded, "both": pd.concat([natural, degraded], ignore_index=True)}
    if len(ranges):
        parts["natural, age groups"] = ranges
    tables = {
        name: [one._asdict() for one in fifths(part, relative_errors(part, every))] for name, part in parts.items()
    }
    return {
        "weights": predictor.path.name,
        "models": {predictor.path.stem: predictor.digest},
        "fifths": tables,
        "groups": dict(groups(every)),
        "below": {name: float((part.score < LEAST_QUALITY).mean()) for name, part in parts.items()},
        "milliseconds": cost(),
    }


def groups(faces: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """Mean score, share below LEAST_QUALITY and count of every data set and its groups of 100 faces and more."""
    for data_set, known in faces.groupby("data_set"):
        for column in ("data_set", "gender", "race"):
            for name, rows in known[known[column] != ""].groupby(column):
                if len(rows) >= 100:
                    below = float((rows.score < LEAST_QUALITY).mean())
                    label = str(name) if column == "data_set" else f"{data_set}, {name}"
                    yield label, {"score": float(rows.score.mean()), "below": below, "n": len(rows)}


def cost() -> float:
    """Milliseconds a face, on one core: the best of several rounds, since other processes disturb."""
    crop = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    landmarks = np.array([[45, 62], [82, 62], [64, 80], [49, 95], [79, 95]])
    rounds = repeat(lambda: assess([*measure(crop, landmarks), 1.0]), number=50, repeat=20)
    return min(rounds) / 50 * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--weights", default="oam-int8")
    parser.add_argument("--predictions", type=Path, help="a folder to keep predictions in")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    predictor = Predictor(options.weights, threads=1)
    faces = Faces(predictor, open_stores(options.stores), options.predictions)
    if options.fit:
        fit(faces, predictor.digest)
    results = plain(measured(faces, predictor))
    write_text(RESULTS, json.dumps(results) + "\n")
    print("\n".join(map(str, update(ROOT))))


if __name__ == "__main__":
    main()
