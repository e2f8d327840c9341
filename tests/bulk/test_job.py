"""With real Ray processes on this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from oamface.benchmark import PERSON
from oamface.bulk.job import bulk
from oamface.errors import DataError, FileError, LabelError, ModelError
from oamface.images import read_image
from oamface.labels import TASKS

pytest.importorskip("ray", reason="bulk analysis needs oamface[bulk]")
pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in Linux's /proc")

IMAGES, PART = 120, 6
ALL = tuple(TASKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    person = Image.fromarray(read_image(PERSON)[50:470, 150:480]).resize((80, 100))
    for number in range(IMAGES - 2):
        person.save(folder / f"{number:03d}.jpg")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "black.png")
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


def once_each(out, folder) -> None:
    rows = [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = sorted(Path(row["source"]).name for row in rows)
    assert names == sorted(path.name for path in folder.iterdir())
    told = {Path(row["source"]).name: row for row in rows}
    assert told["bad.jpg"]["error"]
    assert told["black.png"]["faces"] == 0
    assert len({(row["age"], row["gender"]) for row in rows if row["face"] == 0}) == 1  # all show the same person
    assert not list(out.glob(".*"))


def workers():
    """The processes of Ray's that hold an analyzer, by number."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end in this moment
            if b"MapWorker(MapBatches(Worker))" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def processes(folder):
    """Ray's processes that were started in a folder, by number; other tests may run Ray at the same time."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end in this moment
            line = (process / "cmdline").read_bytes()
            of_ray = b"ray" in line and (b"raylet" in line or b"gcs_server" in line or line.startswith(b"ray::"))
            if of_ray and (process / "cwd").resolve() == folder.resolve():
                found.add(int(process.name))
    return found


@pytest.fixture
def job(folder, tmp_path):
    return Starts(folder, tmp_path / "answers")


class Starts:
    """The same job, started again and again."""

    def __init__(self, folder, out) -> None:
        self.out = out
        program = Path(sys.executable).with_name("oamface")
        self.call = [program, "bulk", folder, "--out", out, "--part", str(PART), "--workers", "2"]
        self.driver: subprocess.Popen[str] | None = None

    def start(self) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.driver = subprocess.Popen(self.call, cwd=self.out.parent, text=True, **pipes)

    def done(self) -> int:
        return len(list(self.out.glob("part-*.parquet")))

    def wait(self, until, seconds=240) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, (self.done(), self.driver.poll())
            time.sleep(0.02)

    def finish(self) -> str:
        told, wrong = self.driver.communicate(timeout=400)
        assert self.driver.returncode == 0, wrong
        return told

    def whole(self) -> None:
        """What lies there can be read."""
        for path in self.out.glob("*.parquet"):
            pq.read_table(path)


def test_workers_and_the_driver_are_killed_and_every_picture_is_there_once(folder, job) -> None:
    job.start()
    job.wait(lambda: job.done() >= 1)
    for _ in range(2):
        before = job.done()
        job.wait(workers)
        os.kill(workers()[0], signal.SIGKILL)
        job.wait(lambda before=before: job.done() > before)
    os.kill(job.driver.pid, signal.SIGKILL)
    job.driver.wait()
    kept = job.done()
    assert 3 <= kept < IMAGES // PART  # it was in the middle of it
    job.start()
    assert f"{IMAGES} images, {IMAGES - 2} faces, 1 unreadable, 0 files skipped" in job.finish()
    once_each(job.out, folder)
    stamps = {path: path.stat().st_mtime_ns for path in job.out.iterdir()}
    summary = bulk(str(folder), str(job.out), tasks=ALL, size=PART)  # all is there: Ray is not even started
    assert (summary.counted.images, summary.done) == (IMAGES, 0)
    assert stamps == {path: path.stat().st_mtime_ns for path in job.out.iterdir()}
    with pytest.raises(DataError, match="another question"):
        bulk(str(folder), str(job.out), tasks=("age",), size=PART)


def test_an_interrupted_job_keeps_its_parts_and_leaves_no_process(folder, job) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        before = job.done()
        job.start()
        job.wait(lambda before=before: job.done() > before)
        assert processes(job.out.parent)
        os.kill(job.driver.pid, number)
        told, wrong = job.driver.communicate(timeout=60)
        assert (job.driver.returncode, told) == (130, ""), wrong
        assert "Traceback" not in wrong
        assert not processes(job.out.parent)
        assert job.done() > before
        assert not list(job.out.glob(".*"))
        job.whole()


def test_kills_at_random_moments(folder, job) -> None:
    rng = np.random.default_rng()
    for _ in range(2):
        job.start()
        time.sleep(rng.uniform(0.5, 15))
        job.driver.kill()
        job.driver.communicate()
        job.wait(lambda: not processes(job.out.parent), seconds=150)  # a worker that just starts seeks its head for 60
        job.whole()
    job.start()
    job.finish()
    once_each(job.out, folder)


def test_mistakes_are_told_before_anything_starts(folder, tmp_path) -> None:
    out = str(tmp_path / "answers")
    with pytest.raises(DataError, match="no such file"):
        bulk(str(folder / "missing"), out, tasks=ALL)
    with pytest.raises(LabelError):
        bulk(str(folder), out, tasks=("height",))
    with pytest.raises(ModelError):
        bulk(str(folder), out, tasks=ALL, weights=str(folder / "missing.onnx"))
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileError):
        bulk(str(folder), str(tmp_path / "file"), tasks=ALL)
    assert not (tmp_path / "answers").exists()
