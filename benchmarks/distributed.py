"""What docs/distributed.md says: python benchmarks/distributed.py --store stores/utkface [--steps 50]

One process of one thread, one that computes the doubled batch, and two that share it: losses, images a second.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

RECIPE = """
trunk = "face-resnet"
precision = "32-true"
learning_rate = 3e-4
faces_a_pass = {faces}
weights = {{ features = 0.0, soft_labels = 0.0 }}

[[stages]]
size = 103
passes = 1
batch = {batch}
"""
LOGGED = "from oamface.train import loop; loop.LOG_EVERY = 1; loop.SETTLED = 256; from oamface.cli import main; main()"


def train(home: Path, store: Path, *, processes: int, batch: int, steps: int) -> list[dict[str, float]]:
    """The log's steps. Every process has one thread."""
    recipe = home / f"{processes}-{batch}.toml"
    recipe.write_text(RECIPE.format(batch=batch, faces=batch * steps))
    program = home / "train.py"
    program.write_text(LOGGED)
    out = home / recipe.stem
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    call = [sys.executable, *launch, program, "train", recipe, "--store", store, "--out", out, "--workers", "0"]
    subprocess.run(
        list(map(str, call)), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    return [line for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if line["event"] == "step"]


def rate(lines: list[dict[str, float]]) -> float:
    times = np.diff([line["time"] for line in lines])
    return float(np.mean([line["rows"] for line in lines]) / np.mean(times[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32, help="of one process; two share twice as many")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        single = train(home, asked.store, processes=1, batch=asked.batch, steps=asked.steps)
        doubled = train(home, asked.store, processes=1, batch=2 * asked.batch, steps=asked.steps)
        shared = train(home, asked.store, processes=2, batch=2 * asked.batch, steps=asked.steps)
    losses = ("age", "years", "gender", "race", "mask", "attention")
    apart = max(
        abs(one[name] - other[name]) / max(abs(one[name]), 0.1)
        for one, other in zip(doubled, shared, strict=True)
        for name in losses
    )
    print(f"{len(shared)} steps, two processes against one with the doubled batch: losses {apart:.1e} apart at most")
    rates = {"one": rate(single), "one, doubled batch": rate(doubled), "two": rate(shared)}
    print(*(f"{name}: {value:.0f} rows a second" for name, value in rates.items()), sep="\n")
    print(f"two processes against one: {rates['two'] / rates['one']:.2f}")


if __name__ == "__main__":
    main()
