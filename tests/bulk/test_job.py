"""Bulk jobs with real Ray processes on this machine."""

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
from oamface.bulk import job as job_module
from oamface.bulk.job import run_bulk
from oamface.errors import DataError, FileError, LabelError, ModelError, OamfaceError
from oamface.images import read_image
from oamface.labels import TASKS

pytest.importorskip("ray", reason="bulk analysis needs oamface[bulk]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in Linux's /proc"),
]

IMAGES, SHARD_SIZE = 90, 6
ALL_TASKS = tuple(TASKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    person = Image.fromarray(read_image(PERSON)[50:470, 150:480]).resize((80, 100))
    for number in range(IMAGES - 2):
        person.save(folder / f"{number:03d}.jpg")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "black.png")
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


def check_output(output, folder) -> None:
    """Every image has its row once, and nothing else is left."""
    rows = [row for path in sorted(output.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = sorted(Path(row["source"]).name for row in rows)
    assert names == sorted(path.name for path in folder.iterdir())
    by_name = {Path(row["source"]).name: row for row in rows}
    assert by_name["bad.jpg"]["error"]
    assert by_name["black.png"]["faces"] == 0
    assert len({(row["age"], row["gender"]) for row in rows if row["face"] == 0}) == 1  # all show the same person
    assert not list(output.glob(".*"))


def worker_pids() -> list[int]:
    """Of Ray's processes that have an analyzer."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            if b"MapWorker(MapBatches(Worker))" in (process / "cmdline").read_bytes():
                pids.append(int(process.name))
    return pids


def ray_pids(folder) -> set[int]:
    """Of Ray's processes that were started in a folder; other tests may run Ray at the same time."""
    pids = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            line = (process / "cmdline").read_bytes()
            is_ray = b"ray" in line and (b"raylet" in line or b"gcs_server" in line or line.startswith(b"ray::"))
            if is_ray and (process / "cwd").resolve() == folder.resolve():
                pids.add(int(process.name))
    return pids


class RestartedJob:
    """One job, started again and again."""

    def __init__(self, folder, output) -> None:
        self.output = output
        program = Path(sys.executable).with_name("oamface")
        self.command = [program, "bulk", folder, "--output", output, "--shard-size", str(SHARD_SIZE), "--workers", "2"]
        self.driver: subprocess.Popen[str] | None = None

    def start(self) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.driver = subprocess.Popen(self.command, cwd=self.output.parent, text=True, **pipes)

    def done(self) -> int:
        return len(list(self.output.glob("part-*.parquet")))

    def wait(self, condition, seconds=240) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.driver.poll() is None, self.driver.communicate()
            assert time.monotonic() < deadline, self.done()
            time.sleep(0.02)

    def interrupt(self) -> None:
        os.kill(self.driver.pid, signal.SIGTERM)
        output, errors = self.driver.communicate(timeout=60)
        assert (self.driver.returncode, output) == (130, ""), errors
        assert "Traceback" not in errors

    def check_nothing_left(self) -> None:
        """No process, and of the output whole files alone."""
        end = time.monotonic() + 30  # a process that was killed may take its time on a busy machine
        while ray_pids(self.output.parent):
            assert time.monotonic() < end
            time.sleep(0.1)
        for path in self.output.iterdir():
            pq.read_table(path)

    def finish(self) -> str:
        output, errors = self.driver.communicate(timeout=400)
        assert self.driver.returncode == 1, errors  # one image is unreadable
        return output


@pytest.fixture
def job(folder, tmp_path):
    return RestartedJob(folder, tmp_path / "output")


def test_job_is_interrupted_loses_a_worker_and_ends_with_every_image_once(folder, job) -> None:
    job.start()
    job.wait(job.done)
    assert ray_pids(job.output.parent)
    job.interrupt()
    job.check_nothing_left()
    before = job.done()
    assert 1 <= before < IMAGES // SHARD_SIZE
    (job.output / ".oamface-1.draft").write_bytes(b"PAR1")  # as of a driver that was killed
    job.start()
    job.wait(lambda: job.done() > before and worker_pids())
    os.kill(worker_pids()[0], signal.SIGKILL)
    assert f"{IMAGES} images, {IMAGES - 2} faces, 1 unreadable, 0 files skipped" in job.finish()
    check_output(job.output, folder)
    stamps = {path: path.stat().st_mtime_ns for path in job.output.iterdir()}
    summary = run_bulk(str(folder), str(job.output), tasks=ALL_TASKS, shard_size=SHARD_SIZE)  # nothing is left to do
    assert (summary.counts.images, summary.written) == (IMAGES, 0)
    assert stamps == {path: path.stat().st_mtime_ns for path in job.output.iterdir()}
    with pytest.raises(DataError, match="other settings"):
        run_bulk(str(folder), str(job.output), tasks=("age",), shard_size=SHARD_SIZE)


def test_relative_source_is_that_of_the_working_directory(folder, tmp_path, monkeypatch) -> None:
    """Without a Ray cluster: the manifest is written, and no shard."""

    def run(source) -> None:
        run_bulk(source, str(tmp_path / "output"), tasks=("age",), address="nowhere")

    monkeypatch.chdir(folder.parent)
    for source in (folder.name, f"./{folder.name}/", str(folder)):  # accepted: Ray is what fails
        with pytest.raises(OamfaceError, match="Ray did not start"):
            run(source)
    (tmp_path / folder.name).mkdir()
    (tmp_path / folder.name / "other.jpg").write_bytes(b"bad")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="other settings"):
        run(folder.name)


@pytest.mark.parametrize(("address", "kept"), [(None, []), ("auto", [".oamface-1.draft"])])
def test_drafts_that_others_may_be_writing_are_kept(folder, tmp_path, monkeypatch, address, kept) -> None:
    monkeypatch.setattr(job_module, "_process", lambda *_: iter(()))
    (tmp_path / ".oamface-1.draft").write_bytes(b"PAR1")
    with pytest.raises(FileError, match="shards are missing"):
        run_bulk(str(folder), str(tmp_path), tasks=("age",), address=address)
    assert [path.name for path in tmp_path.glob(".*")] == kept


def test_run_bulk_rejects_invalid_arguments_before_it_writes(folder, tmp_path) -> None:
    output = str(tmp_path / "output")
    with pytest.raises(DataError, match="no such file"):
        run_bulk(str(folder / "missing"), output, tasks=ALL_TASKS)
    with pytest.raises(LabelError):
        run_bulk(str(folder), output, tasks=("height",))
    with pytest.raises(ModelError):
        run_bulk(str(folder), output, tasks=ALL_TASKS, weights=str(folder / "missing.onnx"))
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileError):
        run_bulk(str(folder), str(tmp_path / "file"), tasks=ALL_TASKS)
    assert not (tmp_path / "output").exists()
