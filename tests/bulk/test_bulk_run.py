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

from oamface.bench import PERSON
from oamface.bulk.plan import place
from oamface.bulk.run import bulk, write
from oamface.errors import DataError, FileError, LabelError, ModelError
from oamface.imaging import read_image
from oamface.labels import TASKS

pytest.importorskip("ray", reason="bulk analysis needs oamface[bulk]")
pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in Linux's /proc")

PICTURES, PART = 120, 6
ALL = tuple(TASKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    person = Image.fromarray(read_image(PERSON)[50:470, 150:480]).resize((80, 100))
    for number in range(PICTURES - 2):
        person.save(folder / f"{number:03d}.jpg")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "black.png")
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


def once_each(out, folder) -> None:
    rows = [row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    names = sorted(Path(row["source"]).name for row in rows)
    assert names == sorted(path.name for path in folder.iterdir())
    told = {Path(row["source"]).name: row for row in rows}
    assert "not a picture" in told["bad.jpg"]["error"]
    assert told["black.png"]["faces"] == 0
    assert len({(row["age"], row["gender"]) for row in rows if row["face"] == 0}) == 1  # all show the same person
    assert not list(out.glob("*.draft"))


def workers():
    """The processes of Ray's that hold an analyzer, by number."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end in this moment
            if b"MapWorker(MapBatches(Worker))" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_workers_and_the_driver_are_killed_and_every_picture_is_there_once(folder, tmp_path) -> None:
    out = tmp_path / "answers"
    program = Path(sys.executable).with_name("oamface")
    call = [program, "bulk", folder, "--out", out, "--part", str(PART), "--workers", "2"]

    def start():
        return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def done() -> int:
        return len(list(out.glob("part-*.parquet")))

    def wait(until, seconds=240) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, (done(), driver.poll())
            time.sleep(0.02)

    driver = start()
    wait(lambda: done() >= 1)
    for _ in range(2):
        before = done()
        wait(workers)
        os.kill(workers()[0], signal.SIGKILL)
        wait(lambda before=before: done() > before)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    kept = done()
    assert 3 <= kept < PICTURES // PART  # it was in the middle of it
    driver = start()
    told, wrong = driver.communicate(timeout=400)
    assert driver.returncode == 0, wrong
    assert f"{PICTURES} pictures, {PICTURES - 2} faces, 1 unreadable" in told
    once_each(out, folder)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    summary = bulk(str(folder), str(out), tasks=ALL, size=PART)  # all is there: Ray is not even started
    assert (summary.pictures, summary.done) == (PICTURES, 0)
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(DataError, match="another question"):
        bulk(str(folder), str(out), tasks=("age",), size=PART)


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
    assert not list(tmp_path.glob("answers/part-*"))


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write(place(str(tmp_path / "missing" / "part.parquet")), b"data")
    write(place(str(tmp_path / "part.parquet")), b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]
    assert (tmp_path / "part.parquet").read_bytes() == b"data"
