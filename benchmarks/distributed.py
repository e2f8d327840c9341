"""What docs/distributed.md says: python benchmarks/distributed.py --store stores/utkface [--steps 50]

One process of one thread, one that computes the doubled batch, two that share it: losses, rows a second. Beside them
what cannot be beaten here: two runs that share nothing but the machine, and what the rounding of two threads does to
the losses of one process.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

RECIPE = """
backbone = "face-resnet"
precision = "32-true"
pretrained = "{pretrained}"
learning_rate = {rate}
faces_a_pass = {faces}
weights = {{ features = 0.0, soft_labels = 0.0 }}

[[stages]]
size = {size}
passes = 1
batch = {batch}
"""
LOGGED = "from oamface.training import trainer as t; t.LOG_EVERY = 1; t.SETTLED = 256; from oamface.cli.app import main; main()"


def train(
    home: Path, *, processes: int, batch: int, asked: argparse.Namespace, threads: int = 1, name: str = "run"
) -> list[dict[str, float]]:
    """The log's steps. threads: of each process."""
    recipe, program, out = (home / f"{name}{ending}" for ending in (".toml", ".py", ""))
    size = 103 if asked.pretrained == "scratch" else 150  # pixels; what is trained knows no others
    start = {"pretrained": asked.pretrained, "rate": asked.rate, "size": size}
    recipe.write_text(RECIPE.format(batch=batch, faces=batch * asked.steps, **start))
    program.write_text(LOGGED)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    call = [sys.executable, *launch, program, "train", recipe, "--store", asked.store, "--out", out, "--workers", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(list(map(str, call)), check=True, env=environment, capture_output=True)
    return [line for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if line["event"] == "step"]


def apart(run: list[dict[str, float]], other: list[dict[str, float]]) -> str:
    """How far two runs' losses are from each other at most, as shares, by how many steps were made."""
    names = ("age", "years", "gender", "race", "mask", "attention")
    steps = [
        max(abs(one[name] - two[name]) / max(abs(one[name]), 0.1) for name in names)
        for one, two in zip(run, other, strict=True)
    ]
    return ", ".join(
        f"{max(steps[:count]):.0e} in {count} steps" for count in (5, 10, 20, 35, 50) if count <= len(steps)
    )


def rate(lines: list[dict[str, float]]) -> float:
    times = np.diff([line["time"] for line in lines])
    return float(np.mean([line["rows"] for line in lines]) / np.mean(times[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=32, help="of one process; two share twice as many")
    parser.add_argument("--pretrained", default="scratch", help="or a model file to start from, such as oam")
    parser.add_argument("--rate", type=float, default=3e-4, help="of learning")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        single = train(home, processes=1, batch=asked.batch, asked=asked, name="single")
        with ThreadPoolExecutor(2) as pool:
            beside = list(
                pool.map(lambda name: train(home, processes=1, batch=asked.batch, asked=asked, name=name), "ab")
            )
        doubled = train(home, processes=1, batch=2 * asked.batch, asked=asked, name="doubled")
        rounded = train(home, processes=1, batch=2 * asked.batch, asked=asked, threads=2, name="rounded")
        shared = train(home, processes=2, batch=2 * asked.batch, asked=asked, name="shared")
    print(f"losses of two processes, from one with the doubled batch: {apart(doubled, shared)} apart")
    print(f"of one process with two threads, from the same: {apart(doubled, rounded)} apart")
    rates = {"one": rate(single), "one, doubled batch": rate(doubled), "two": rate(shared)}
    rates["two that share nothing"] = sum(map(rate, beside))
    print(*(f"{name}: {value:.0f} rows a second" for name, value in rates.items()), sep="\n")
    reached, possible = rates["two"], rates["two that share nothing"]
    print(f"two processes against one: {reached / rates['one']:.2f}, of {possible / rates['one']:.2f} possible here")


if __name__ == "__main__":
    main()
