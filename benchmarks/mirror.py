"""How steady ages are: a face against its mirror image, for every shipped model: python benchmarks/mirror.py STORE

Prints a Markdown table with 95 % intervals (bootstrap over faces). STORE: a prepared data set; its test part is used.
"""

import argparse
from pathlib import Path

import numpy as np

from oamface.datasets.store import Store
from oamface.predictor import Predictor
from oamface.weights import WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    store = Store.open(parser.parse_args().store)
    crops = [store.crops[row] for row, split in enumerate(store.splits) if split == "test"]
    draws = np.random.default_rng(0).integers(0, len(crops), (1000, len(crops)))
    print(f"| {store.data_set}, {len(crops):,} faces | mean difference, years | one face in a hundred differs by |")
    print("|---|---|---|")
    for name in WEIGHTS:
        predictor = Predictor(name)
        years = [predictor.predict(images).years for images in (crops, [crop[:, ::-1] for crop in crops])]
        difference = np.abs(years[0] - years[1])
        low, high = np.percentile(difference[draws].mean(1), (2.5, 97.5))
        print(f"| `{name}` | {difference.mean():.2f} ({low:.2f} to {high:.2f}) | {np.percentile(difference, 99):.1f} |")


if __name__ == "__main__":
    main()
