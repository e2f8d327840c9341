"""How steady ages are: a face against its mirror image, for every shipped model: python benchmarks/mirror.py STORE

Prints a Markdown table with 95 % intervals (bootstrap over faces). STORE: a prepared data set; its test part is used.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from oamface.datasets.store import Store
from oamface.evaluation.bootstrap import bootstrap
from oamface.evaluation.metrics import means
from oamface.predictor import Predictor
from oamface.weights import WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    store = Store.open(parser.parse_args().store)
    crops = [store.crops[row] for row, split in enumerate(store.splits) if split == "test"]
    print(f"| {store.data_set}, {len(crops):,} faces | mean difference, years | one face in a hundred differs by |")
    print("|---|---|---|")
    for name in WEIGHTS:
        predictor = Predictor(name)
        years = [predictor.predict(images).years for images in (crops, [crop[:, ::-1] for crop in crops])]
        difference = np.abs(years[0] - years[1])
        mean = bootstrap(partial(means, names=["mean"]), difference[:, None])["mean"]
        cell = f"{mean['value']:.2f} ({mean['low']:.2f} to {mean['high']:.2f})"
        print(f"| `{name}` | {cell} | {np.percentile(difference, 99):.1f} |")


if __name__ == "__main__":
    main()
