import os
import subprocess
import sys
import threading
import time

import pytest

from oamface import parallel
from oamface.parallel import cores, map_ahead

LIMITS = {
    "version 2": ({"cpu.max": "100000 100000\n"}, 1),
    "version 2, half a core": ({"cpu.max": "50000 100000\n"}, 1),
    "version 2, no limit": ({"cpu.max": "max 100000\n"}, None),
    "version 2, more than there is": ({"cpu.max": "99900000 100000\n"}, None),
    "version 1": ({"cpu/cpu.cfs_quota_us": "90000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    "unreadable": ({"cpu.max": "many\n"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("files", "limit"), LIMITS.values(), ids=LIMITS)
def test_cores_are_at_most_what_a_container_may_use(tmp_path, monkeypatch, files, limit) -> None:
    monkeypatch.setattr(parallel, "CONTROL_GROUP", tmp_path / "none")
    machine = cores()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(parallel, "CONTROL_GROUP", tmp_path)
    assert cores() == (limit or machine)


@pytest.mark.parametrize("workers", [1, 3])
def test_map_ahead_keeps_the_order(workers) -> None:
    def double(number: int) -> int:
        time.sleep(0.02 if number % 2 else 0)
        return 2 * number

    assert list(map_ahead(double, range(20), workers, ahead=4)) == [2 * number for number in range(20)]


def test_map_ahead_takes_only_so_many_items_in_advance() -> None:
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(lambda number: number, items(), 2, ahead=5)
    assert next(results) == 0
    assert len(taken) == 6


def test_map_ahead_works_in_several_threads() -> None:
    barrier = threading.Barrier(2)  # broken unless two wait at once
    assert list(map_ahead(lambda _: barrier.wait(20) >= 0, range(4), 2, ahead=4)) == [True] * 4


def test_map_ahead_raises_in_order_and_stops() -> None:
    done = []

    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        done.append(number)
        return number

    results = map_ahead(fail_at_three, range(1000), 2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert max(done) < 20


def test_closing_map_ahead_cancels_what_has_not_begun() -> None:
    started = []

    def slow(number: int) -> int:
        started.append(number)
        time.sleep(0.05)
        return number

    results = map_ahead(slow, range(100), 2, ahead=50)
    next(results)
    results.close()
    assert len(started) < 20


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no affinity")
def test_cores_are_those_that_the_process_may_use() -> None:
    code = """
import os
from oamface.parallel import cores
print(cores() == len(os.sched_getaffinity(0)))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(cores())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]
