"""Throughput of two training processes against one.

    python benchmarks/distributed.py --store stores/utkface [--steps 50]

One process with one thread, one with the doubled batch, two that share the doubled batch; the losses of the last two.
And two runs that share nothing but the machine: the most that can be reached here.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

RECIPE = """
backbone = "face-resnet"
precision = "32-true"
dropout = 0.0
pretrained = "{pretrained}"
lr = {lr}
samples_per_epoch = {samples}
loss_weights = {{ features = 0.0, kd = 0.0 }}

[[phases]]
image_size = {image_size}
epochs = 1
batch_size = {batch_size}
"""
PROGRAM = """
from oamface.cli.app import main
from oamface.training import initialization, trainer
trainer.LOG_EVERY, initialization.RECALIBRATION_FACES = 1, 256
main()
"""


def train(
    folder: Path, options: argparse.Namespace, name: str, *, processes: int, batch_size: int
) -> list[dict[str, Any]]:
    """The log's steps of one run."""
    recipe, program, out = folder / f"{name}.toml", folder / f"{name}.py", folder / name
    image_size = 103 if options.pretrained == "scratch" else 150  # the shipped weights know no other
    settings = {"pretrained": options.pretrained, "lr": options.lr, "image_size": image_size}
    recipe.write_text(RECIPE.format(batch_size=batch_size, samples=batch_size * options.steps, **settings))
    program.write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    arguments = ["train", recipe, "--store", options.store, "--output", out, "--workers", "0"]
    command = [str(part) for part in (sys.executable, *launch, program, *arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]


def difference(run: list[dict[str, Any]], other: list[dict[str, Any]]) -> str:
    """The largest relative difference of the losses within some numbers of steps."""
    names = ("age", "age_mean", "gender", "race", "mask", "attention")
    steps = [
        max(abs(one[name] - two[name]) / max(abs(one[name]), 0.1) for name in names)
        for one, two in zip(run, other, strict=True)
    ]
    counts = [count for count in (5, 10, 20, 35, 50) if count <= len(steps)]
    return ", ".join(f"{max(steps[:count]):.0e} in {count} steps" for count in counts)


def throughput(steps: list[dict[str, Any]]) -> float:
    """Samples a second; the log's times have a resolution of 0.1 s."""
    seconds = np.diff([step["time"] for step in steps])
    return float(np.mean([step["samples"] for step in steps]) / np.mean(seconds[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=48, help="of one process; two share twice as many")
    parser.add_argument("--pretrained", default="scratch", help="or a model file to start from, such as oam")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--rounds", type=int, default=3, help="of all runs in turn; printed are medians")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder), options))
    for name in rounds[0]:
        print(f"{name}: {np.median([rates[name] for rates in rounds]):.0f} samples a second")
    for name in ("two", "two independent runs"):
        ratios = [rates[name] / rates["one"] for rates in rounds]
        print(f"{name} against one: {np.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Samples a second of every kind of run; prints how the losses differ."""
    batch = options.batch
    single = train(folder, options, "single", processes=1, batch_size=batch)
    shared = train(folder, options, "shared", processes=2, batch_size=2 * batch)
    with ThreadPoolExecutor(2) as pool:
        independent = list(
            pool.map(lambda name: train(folder, options, name, processes=1, batch_size=batch), ("first", "second"))
        )
    doubled = train(folder, options, "doubled", processes=1, batch_size=2 * batch)
    print(f"losses of two processes against one with the same batch: {difference(doubled, shared)}", flush=True)
    rates = {"one": throughput(single), "one, doubled batch": throughput(doubled), "two": throughput(shared)}
    return {**rates, "two independent runs": sum(map(throughput, independent))}


if __name__ == "__main__":
    main()
