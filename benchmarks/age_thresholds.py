"""Age thresholds on test faces: python benchmarks/age_thresholds.py STORE... [--weights oam-int8]

Writes docs/results/age-thresholds.json, its tables in docs/age-thresholds.md, their figure, and
the operating points of model cards. STORE: prepared data sets with exact ages, such as stores/utkface and stores/aaf.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from age_faces import ROOT, Faces, plain
from quality_fit import with_quality
from tables import update
from threshold_rates import (
    Ages,
    calibration_error,
    false_accept,
    false_refuse,
    operating_points,
    passing_challenge,
    rate,
    referral,
    reliability,
    trade_off,
)

from oamface.atomic import write_text
from oamface.datasets.store import open_stores
from oamface.predictor import Predictor
from oamface.quality import LEAST_QUALITY
from oamface.weights import OPERATING_POINTS, WEIGHTS

RESULTS, FIGURE = ROOT / "docs/results/age-thresholds.json", ROOT / "docs/age-thresholds/trade-off.svg"
THRESHOLDS, CHALLENGES = (13, 16, 18, 21), (18, 21, 25, 30)
MAX_FALSE_REFUSE = 0.05
REFERRED = 0.2  # of all faces
LEAST_GROUP = 100  # faces


def ages(faces: pd.DataFrame) -> Ages:
    return Ages(faces.years.to_numpy(), faces.age.to_numpy().astype(int))


def at_least(faces: pd.DataFrame, years: int) -> np.ndarray:
    """(N,) calibrated probabilities."""
    return np.stack(faces.at_least.to_list())[:, years].astype(float)


def groups(natural: pd.DataFrame, masked: pd.DataFrame, degraded: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Groups of LEAST_GROUP test faces and more, by name."""
    yield "all", natural
    for column in ("data_set", "gender", "race"):
        for name, rows in natural[natural[column] != ""].groupby(column):
            if len(rows) >= LEAST_GROUP:
                yield str(name), rows
    yield "with a mask drawn", masked
    order = natural.score.rank(method="first")
    yield "lowest fifth of quality", natural[order <= len(natural) / 5]
    yield "degraded images", degraded
    yield f"degraded, quality from {LEAST_QUALITY}", degraded[degraded.score >= LEAST_QUALITY]


def measured(faces: Faces) -> dict[str, Any]:
    """The figures of one model, as plain values."""
    calibrate = with_quality(faces.exact("calibrate", "natural"))
    natural, masked, degraded = (with_quality(faces.exact("test", name)) for name in ("natural", "masked", "degraded"))
    people = ages(natural)
    young = (people.true >= 18) & (people.true <= 30)
    grid = [
        {
            "age": age,
            "challenge": challenge,
            "accepted": false_accept(*people, age, challenge),
            "refused": false_refuse(*people, age, challenge),
        }
        for age in THRESHOLDS
        for challenge in sorted({age, *CHALLENGES})
        if challenge >= age
    ]
    spans = {**{str(age): (age, age) for age in range(13, 18)}, "18-24": (18, 24), "25-40": (25, 40)}
    by_age = {
        name: {challenge: rate(people.estimated[inside] >= challenge) for challenge in (18, 25)}
        for name, (low, high) in spans.items()
        for inside in [(people.true >= low) & (people.true <= high)]
    }
    by_group = {
        name: {
            "n": len(rows),
            "error": calibration_error(at_least(rows, 18), ages(rows).true, 18),
            "accepted": false_accept(*ages(rows), 18, 25),
            "refused": false_refuse(*ages(rows), 18, 25),
        }
        for name, rows in groups(natural, masked, degraded)
    }
    return {
        "faces": len(natural),
        "mae_18_30": {"value": float(np.abs(people.estimated - people.true)[young].mean()), "n": int(young.sum())},
        "grid": grid,
        "by_age": by_age,
        "by_group": by_group,
        "trade_off": {age: trade_off(people, age, range(age, 41)) for age in THRESHOLDS},
        "reliability": {age: reliability(at_least(natural, age), people.true, age) for age in THRESHOLDS},
        "operating_points": [one._asdict() for one in operating_points(ages(calibrate), people, 18)],
        "referral": referrals(calibrate, natural),
    }


def referrals(calibrate: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """The plain threshold, a policy that refers a fifth of all faces, and plain thresholds that pass as many adults."""
    rejected = MAX_FALSE_REFUSE

    def refers(faces: pd.DataFrame, bound: float) -> np.ndarray:
        adult = at_least(faces, 18)
        return ((adult > rejected) & (adult < bound)) | (faces.score < LEAST_QUALITY).to_numpy()

    bounds = np.linspace(rejected, 1, 951)
    bound = min(bounds, key=lambda one: abs(refers(calibrate, one).mean() - REFERRED))
    people, refer = ages(test), refers(test, bound)
    found = referral(~refer & (at_least(test, 18) >= bound), refer, people.true)
    nobody = np.zeros(len(test), bool)
    strict = passing_challenge(people, found.passed.value)
    return {
        "max_false_accept": round(1 - float(bound), 3),
        "plain": referral(people.estimated >= 18, nobody, people.true),
        "referring": found,
        "challenge": round(strict, 1),
        "plain, as many of all adults pass": referral(people.estimated >= strict, nobody, people.true),
    }


def draw(main: dict[str, Any]) -> None:
    """Trade-off curves and reliability, as FIGURE."""
    mpl.rcParams.update({"svg.hashsalt": "oamface", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for age, points in main["trade_off"].items():
        accept, refuse = (np.array([point[at] for point in points]) * 100 for at in (1, 2))
        left.plot(accept.clip(0.5), refuse.clip(0.05), label=f"at least {age}")
    left.set(xscale="log", yscale="log", xlabel="accepted, of those up to five years younger, %")
    left.set(ylabel="refused, of 25 and more, %", title="Challenge ages from the threshold to 40")
    for age, bins in main["reliability"].items():
        right.plot([mean for mean, _ in bins], [share[0] for _, share in bins], marker=".", label=f"at least {age}")
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    right.set(xlabel="calibrated probability", ylabel="share of that age or older", title="Reliability")
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--weights", nargs="+", default=list(WEIGHTS), help="the first is shown in full")
    parser.add_argument("--predictions", type=Path, help="a folder to keep predictions in")
    options = parser.parse_args()
    stores, models, cards = open_stores(options.stores), {}, {}
    for name in options.weights:
        predictor = Predictor(name, threads=1)
        faces = Faces(predictor, stores, options.predictions)
        if name == options.weights[0]:
            figures = measured(faces)
        else:
            calibrate, test = (ages(faces.exact(split, "natural")) for split in ("calibrate", "test"))
            figures = {"operating_points": [one._asdict() for one in operating_points(calibrate, test, 18)]}
        models[name] = plain({"sha256": predictor.digest, **figures})
        cards[predictor.digest] = models[name]["operating_points"]
    results = {"command": "python benchmarks/age_thresholds.py STORE...", "model": options.weights[0], "models": models}
    write_text(RESULTS, json.dumps(results) + "\n")
    write_text(OPERATING_POINTS, json.dumps(cards, indent=1) + "\n")
    draw(models[options.weights[0]])
    print("\n".join(map(str, update(ROOT))))


if __name__ == "__main__":
    main()
