"""Speed and memory in docs/bulk.md: python benchmarks/throughput.py [--images 2000] [--many 0]

Bulk analysis with one worker and with two, compared in the same run with one analyzer on one thread and with two side
by side, which share nothing but the machine; and memory by the number of images.
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
from oamface.bulk.manifest import SHARD_SIZE
from oamface.images import read_image

TINY = (32, 24)  # pixels


def analyzer_rate(paths: list[str]) -> float:
    """Images per second of an analyzer alone, on one thread."""
    cv2.setNumThreads(1)
    analyzer = Analyzer(device="cpu", threads=1)
    list(analyzer.analyze_batch(paths[:32]))
    started = time.monotonic()
    list(analyzer.analyze_batch(paths))
    return len(paths) / (time.monotonic() - started)


def analyzer_rates(paths: list[str]) -> tuple[float, float]:
    """Images per second of one analyzer, and of two side by side together."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        one = pool.submit(analyzer_rate, paths).result()
        two = sum(pool.map(analyzer_rate, [paths] * 2))
    print(f"one analyzer, one thread: {one:.1f} images per second; two side by side: {two:.1f}", flush=True)
    return one, two


def write_images(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """As many copies of an image of one synthetic person, a thousand per subfolder."""
    first = folder / "first.jpg"
    folder.mkdir(parents=True)
    Image.fromarray(read_image(PERSON)).resize(size).save(first)
    for number in range(count):
        subfolder = folder / f"{number // 1000:04d}"
        subfolder.mkdir(exist_ok=True)
        shutil.copy(first, subfolder / f"{number:07d}.jpg")
    first.unlink()
    return folder


def run_bulk(source: Path, output: Path, *options: str, workers: int) -> tuple[float, float]:
    """Seconds per shard once all workers run, and the most megabytes of all processes together."""
    program = Path(sys.executable).with_name("oamface")
    command = [program, "bulk", source, "--output", output, "--workers", str(workers), *options]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(10):  # measuring takes time itself
            peak = max(peak, memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    ended.set()
    watcher.join()
    print(" ", printed.strip())
    times = sorted(path.stat().st_mtime for path in output.glob("part-*.parquet"))
    # Each worker's first file comes after its start, which does not count in a long run.
    return (times[-1] - times[workers - 1]) / max(1, len(times) - workers), peak


def memory(root: int) -> float:
    """Megabytes of a process and all its descendants, Ray's included; shared pages are counted once."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])

    def is_descendant(pid: int) -> bool:
        while pid not in (0, root):
            pid = parents.get(pid, 0)
        return pid == root

    total = 0
    for pid in filter(is_descendant, parents):
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e3


def measure_rates(folder: Path, images: int) -> None:
    source = write_images(folder / "source", images, (320, 240))
    paths = sorted(map(str, source.rglob("*.jpg")))[:1000]
    alone = [analyzer_rates(paths)]  # before, between and after: the machine's speed drifts
    rates, peaks = {}, {}
    for workers in (1, 2):
        seconds, peaks[workers] = run_bulk(source, folder / f"output{workers}", workers=workers)
        rates[workers] = SHARD_SIZE / seconds
        alone.append(analyzer_rates(paths))
    one, two = (sum(values) / len(values) for values in zip(*alone, strict=True))
    for workers, rate in ((1, one), (2, two)):
        share = rates[workers] / rate
        print(f"{workers} workers: {rates[workers]:.1f} per second, {share:.2f} of analyzers, {peaks[workers]:.0f} MB")
    print(f"two workers against one: {rates[2] / rates[1]:.2f}, of {two / one:.2f} possible here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="to measure rates with; 0 for none")
    parser.add_argument("--many", type=int, default=0, help="tiny ones, and a tenth of them: memory of two workers")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.images:
            measure_rates(folder, arguments.images)
        for count in (arguments.many // 10, arguments.many) if arguments.many else ():
            source = write_images(folder / f"tiny{count}", count, TINY)
            _, peak = run_bulk(source, folder / f"tiny{count}-output", "--weights", "oam-small", workers=2)
            print(f"{count} tiny images, two workers: {peak:.0f} MB at most", flush=True)


if __name__ == "__main__":
    main()
