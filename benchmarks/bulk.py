"""What docs/bulk.md says of speed and memory: python benchmarks/bulk.py [--images 2000] [--many 0]

Bulk analysis with one worker and with two, against the bare analyzer on one thread and against two of these side by
side, which share nothing but the machine, all in one run; memory by count.
"""

import argparse
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.benchmark import PERSON
from oamface.images import read_image
from oamface.labels import TASKS

TINY = (32, 24)  # pixels


def bare(paths: list[str]) -> float:
    """Pictures a second of the analyzer alone, on one thread."""
    cv2.setNumThreads(1)
    analyzer = Analyzer(threads=1, tasks=tuple(TASKS))
    list(analyzer.analyze_all(paths[:32]))
    began = time.monotonic()
    list(analyzer.analyze_all(paths))
    return len(paths) / (time.monotonic() - began)


def folder_of(out: Path, count: int, size: tuple[int, int]) -> Path:
    """So many images of one synthetic person, a thousand a folder."""
    image = Image.fromarray(read_image(PERSON)).resize(size)
    first = out / "first.jpg"
    out.mkdir(parents=True)
    image.save(first)
    for number in range(count):
        part = out / f"{number // 1000:04d}"
        part.mkdir(exist_ok=True)
        shutil.copy(first, part / f"{number:07d}.jpg")
    first.unlink()
    return out


def run(source: Path, out: Path, *options: str, workers: int) -> tuple[float, float]:
    """Seconds for a part once all workers run, and megabytes at most of all processes."""
    program = Path(sys.executable).with_name("oamface")
    call = [program, "bulk", source, "--out", out, "--workers", str(workers), *options]
    process = subprocess.Popen(list(map(str, call)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(10):  # looking costs time itself
            most = max(most, resident(process.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    told, _ = process.communicate()
    over.set()
    watching.join()
    print(" ", told.strip())
    times = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    # The first file of every worker came after its start, which is not what a long run is made of.
    return (times[-1] - times[workers - 1]) / max(1, len(times) - workers), most


def resident(root: int) -> float:
    """Megabytes of a process and all that it started, Ray's among them; what several share is counted once."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])

    def below(process: int) -> bool:
        while process not in (0, root):
            process = parents.get(process, 0)
        return process == root

    total = 0
    for process in filter(below, parents):
        with suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e3


def looked(paths: list[str]) -> tuple[float, float]:
    """The bare analyzer's rate alone, and that of two side by side."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        alone = pool.submit(bare, paths).result()
        possible = sum(pool.map(bare, [paths] * 2))
    print(f"the bare analyzer, one thread: {alone:.1f} images a second; two side by side: {possible:.1f}", flush=True)
    return alone, possible


def rates(home: Path, images: int) -> None:
    source = folder_of(home / "source", images, (320, 240))
    paths = sorted(map(str, source.rglob("*.jpg")))[:1000]
    looks = [looked(paths)]  # before, between and after: a machine's speed drifts by more than what is asked
    found, most = {}, {}
    for workers in (1, 2):
        seconds, most[workers] = run(source, home / f"out{workers}", workers=workers)
        found[workers] = 256 / seconds
        looks.append(looked(paths))
    alone, possible = (sum(seen) / len(seen) for seen in zip(*looks, strict=True))
    for workers, bare_rate in ((1, alone), (2, possible)):
        share = found[workers] / bare_rate
        print(f"{workers} workers: {found[workers]:.1f} a second, {share:.2f} of as many bare, {most[workers]:.0f} MB")
    print(f"two workers against one: {found[2] / found[1]:.2f}, of {possible / alone:.2f} possible here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="of which rates are measured; 0 for none")
    parser.add_argument("--many", type=int, default=0, help="tiny ones, and a tenth of them: memory of two workers")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        if asked.images:
            rates(home, asked.images)
        for count in (asked.many // 10, asked.many) if asked.many else ():
            tiny = folder_of(home / f"tiny{count}", count, TINY)
            _, most = run(tiny, home / f"tiny{count}-out", "--weights", "oam-small", workers=2)
            print(f"{count} tiny images, two workers: {most:.0f} MB at most", flush=True)


if __name__ == "__main__":
    main()
