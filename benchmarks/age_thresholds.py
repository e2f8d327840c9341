"""Age thresholds on test faces: python benchmarks/age_thresholds.py STORE... [--weights oam-int8]

Prints Markdown: false accepts and false refuses by challenge age, operating points, calibration error by group, and
what a policy that may refer does. STORE: prepared data sets with exact ages, such as stores/utkface and stores/aaf.
"""

import argparse
from pathlib import Path

import numpy as np

from oamface.age_thresholds import calibrated_tails, tails
from oamface.datasets.store import open_stores
from oamface.evaluation.age_thresholds import (
    calibration_error,
    false_accept,
    false_refuse,
    minors,
    operating_points,
    rate,
)
from oamface.predictor import Predictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--weights", default="oam-int8")
    options = parser.parse_args()
    predictor = Predictor(options.weights)
    estimated, true, probabilities, raw, groups = [], [], [], [], []
    for store in open_stores(options.stores):
        rows = [row for row, split in enumerate(store.splits) if split == "test"]
        rows = [row for row in rows if store.labels[row].age[0] == store.labels[row].age[1]]
        predictions = predictor.predict(store.crops[row] for row in rows)
        estimated.append(predictions.years)
        true.append(np.array([store.labels[row].age[0] for row in rows]))
        raw.append(tails(predictions.probabilities["age"]))
        probabilities.append(calibrated_tails(predictions.probabilities["age"], predictor.at_least))
        for row in rows:
            label = store.labels[row]
            races = sorted(label.race)
            race = "/".join(races) if len(races) < 4 else "unknown"
            groups.append((store.data_set, "/".join(sorted(label.gender)), race))
    years, ages = np.concatenate(estimated), np.concatenate(true)
    calibrated, sums = np.concatenate(probabilities), np.concatenate(raw)
    print(f"{options.weights}, {len(ages)} test faces; mean absolute error at 18 to 30 years: ", end="")
    young = (ages >= 18) & (ages <= 30)
    print(f"{np.abs(years - ages)[young].mean():.2f} (n = {young.sum()})\n")
    print("| at least | challenge | accepted, of those up to five years younger | refused, of 25 years and more |")
    print("|---|---|---|---|")
    for threshold in (13, 16, 18, 21):
        for challenge in sorted({threshold, *(18, 21, 25, 30)}):
            if challenge >= threshold:
                accept = false_accept(years, ages, threshold, challenge)
                refuse = false_refuse(years, ages, threshold, challenge)
                print(f"| {threshold} | {challenge} | {accept} | {refuse} |")
    print(
        "\n| false accepts of 13-17 wanted | challenge | measured | refused, of 25 years and more |\n|---|---|---|---|"
    )
    for point in operating_points(years, ages, 18):
        print(f"| {point.wanted:.1%} | {point.challenge} | {point.accept} | {point.refuse} |")
    print("\n| age | said to be at least 18 |\n|---|---|")
    for age in range(10, 18):
        print(f"| {age} | {rate(years[ages == age] >= 18)} |")
    print("\n| calibration error at 18 | as predicted | calibrated | n |\n|---|---|---|---|")
    table = np.array(groups)
    names = ["all", *sorted(set(table.ravel()))]
    for name in names:
        rows = np.ones(len(ages), bool) if name == "all" else (table == name).any(1)
        if rows.sum() >= 100:
            before = calibration_error(sums[rows, 18], ages[rows], 18)
            after = calibration_error(calibrated[rows, 18].astype(float), ages[rows], 18)
            print(f"| {name} | {before:.2%} | {after:.2%} | {rows.sum()} |")
    print_referral(years, ages, calibrated[:, 18])


def print_referral(years: np.ndarray, ages: np.ndarray, probability: np.ndarray) -> None:
    """The plain threshold beside a policy that refers the fifth of the faces whose probability says least."""
    referred = np.argsort(np.abs(probability - 0.5))[: len(ages) // 5]
    answered = np.ones(len(ages), bool)
    answered[referred] = False
    young, old = minors(ages, 18), ages >= 25
    print("\n| | 13-17 accepted | 25 and more accepted |\n|---|---|---|")
    print(f"| estimate of at least 18 | {rate(years[young] >= 18)} | {rate(years[old] >= 18)} |")
    accepted = answered & (probability >= 0.5)
    print(f"| the same, a fifth of all faces referred | {rate(accepted[young])} | {rate(accepted[old])} |")


if __name__ == "__main__":
    main()
