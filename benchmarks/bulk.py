"""What docs/bulk.md says of speed and memory: python benchmarks/bulk.py [--pictures 2000] [--many 0]

Bulk analysis with one worker and with two, against the bare analyzer on one thread, all in one run; memory by count.
"""

import argparse
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from PIL import Image

from oamface.analyzer import Analyzer
from oamface.bench import PERSON
from oamface.imaging import read_image
from oamface.labels import TASKS


def folder_of(out: Path, count: int, size: tuple[int, int]) -> Path:
    """So many pictures of one synthetic person, a thousand a folder."""
    picture = Image.fromarray(read_image(PERSON)).resize(size)
    first = out / "first.jpg"
    out.mkdir(parents=True)
    picture.save(first)
    for number in range(count):
        part = out / f"{number // 1000:04d}"
        part.mkdir(exist_ok=True)
        shutil.copy(first, part / f"{number:07d}.jpg")
    first.unlink()
    return out


def run(source: Path, out: Path, *, workers: int) -> tuple[float, float]:
    """Seconds for a part once all workers run, and megabytes at most of all processes."""
    program = Path(sys.executable).with_name("oamface")
    call = [program, "bulk", source, "--out", out, "--workers", str(workers)]
    process = subprocess.Popen(list(map(str, call)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.5):
            most = max(most, resident())

    watching = threading.Thread(target=watch)
    watching.start()
    told, _ = process.communicate()
    over.set()
    watching.join()
    print(" ", told.strip())
    times = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    # The first file of every worker came after its start, which is not what a long run is made of.
    return (times[-1] - times[workers - 1]) / max(1, len(times) - workers), most


def resident() -> float:
    """Megabytes of all of Ray's and our processes, shared pages counted once for each."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if b"ray" in command or b"oamface" in command:
                total += int((entry / "statm").read_text().split()[1]) * 4096
        except OSError:
            continue
    return total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument(
        "--many", type=int, default=0, help="also measure memory at a tenth of so many tiny pictures, and at all"
    )
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        source = folder_of(home / "source", asked.pictures, (320, 240))
        cv2.setNumThreads(1)
        analyzer, paths = Analyzer(threads=1, tasks=tuple(TASKS)), sorted(map(str, source.rglob("*.jpg")))[:300]
        list(analyzer.analyze_all(paths[:32]))
        began = time.monotonic()
        list(analyzer.analyze_all(paths))
        bare = len(paths) / (time.monotonic() - began)
        print(f"the bare analyzer, one thread: {bare:.1f} pictures a second")
        rates = {}
        for workers in (1, 2):
            seconds, most = run(source, home / f"out{workers}", workers=workers)
            rates[workers] = 256 / seconds
            share = rates[workers] / workers / bare
            print(f"{workers} workers: {rates[workers]:.1f} a second, {share:.2f} of bare a core, {most:.0f} MB")
        print(f"two workers against one: {rates[2] / rates[1]:.2f}")
        for count in (asked.many // 10, asked.many) if asked.many else ():
            tiny = folder_of(home / f"tiny{count}", count, (64, 48))
            _, most = run(tiny, home / f"tiny{count}-out", workers=2)
            print(f"{count} tiny pictures: {most:.0f} MB at most")


if __name__ == "__main__":
    main()
