"""What fine-tuning gains: python benchmarks/fine_tuning.py STORE [--faces 300] [--start oam-open].

Fine-tunes on some faces of a prepared data set (an eighth of them for calibration) by the commands that anyone would
use, and prints the start and the result on the data set's whole test split.
"""

import json
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from oamface.datasets.index import Index, Record
from oamface.datasets.store import Store, save_store
from oamface.predictor import Predictor

SHOWN = (
    ("age", "mae"),
    ("age", "within_5"),
    ("age_interval", "coverage"),
    ("age_interval", "width"),
    ("gender", "accuracy"),
    ("race", "accuracy"),
)
CALIBRATION = 1 / 8


def subset(store: Store, faces: int, folder: Path) -> Path:
    """A store of so many faces to train on and calibrate with, and all of the test split."""
    counts = {"calibrate": round(faces * CALIBRATION), "train": faces - round(faces * CALIBRATION), "test": None}
    rng, rows = np.random.default_rng(0), list[int]()
    for split, count in counts.items():
        rows += [int(row) for row in rng.permutation([r for r, s in enumerate(store.splits) if s == split])[:count]]
    folder.mkdir()
    records = [Record(store.names[row], store.splits[row], store.labels[row]) for row in rows]
    crops = np.stack([store.crops[row] for row in rows])
    save_store(folder, Index(store.data_set, records), crops, store.landmarks[rows], np.ones(len(rows)))
    return folder


def call(*arguments: object) -> float:
    """Call the command line; the seconds that it took."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "oamface", *map(str, arguments)], check=True)
    return time.monotonic() - started


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--faces", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--start", default="oam-open")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder, store = Path(temporary), Store.open(arguments.store)
        figures = {}
        for faces in arguments.faces:
            own, run, model = (
                subset(store, faces, folder / f"store-{faces}"),
                folder / f"run-{faces}",
                folder / "m.onnx",
            )
            seconds = call("train", "--from", arguments.start, "--store", own, "--output", run)
            epochs = [line for line in map(json.loads, (run / "log.jsonl").open()) if line["event"] == "epoch"]
            best = min(epochs, key=lambda line: line["valid_loss"])["epoch"] + 1
            print(
                f"{faces} faces: {seconds:.0f} s for {len(epochs) - 1} epochs, number {best} was the best", flush=True
            )
            call("export", run / "checkpoint.safetensors", "--store", own, "--output", model)
            figures[f"{faces} faces"] = Predictor(model).description["figures"]
        call("evaluate", "--store", own, "--weights", arguments.start, "--output", folder / "figures.json")
        figures = {arguments.start: json.loads((folder / "figures.json").read_text()), **figures}
        print("| figure | " + " | ".join(figures) + " |\n|---|" + "---|" * len(figures))
        by_model = [measured["data_sets"][store.data_set]["conditions"] for measured in figures.values()]
        for condition in ("clean", "masks"):
            for task, metric in SHOWN:
                values = [conditions[condition].get(task, {}).get(metric) for conditions in by_model]
                if all(values):
                    cells = [f"{v['value']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in values]
                    print(f"| {condition}: {task} {metric} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
