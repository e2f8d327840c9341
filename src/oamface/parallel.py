"""How many cores there are, and work in threads, some items ahead of the caller."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


CONTROL_GROUP = Path("/sys/fs/cgroup")  # a container's own, as Linux mounts it


def cores() -> int:
    """Of the CPU that this process may use, in a container at most what its limit of CPU time amounts to.

    From Python 3.13 on PYTHON_CPU_COUNT may say a smaller number.
    """
    if hasattr(os, "process_cpu_count"):
        found = os.process_cpu_count() or 1
    else:
        found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, _cpu_limit() or found)


def _cpu_limit() -> int | None:
    """The limit of CPU time of this container (`docker run --cpus`) in cores, rounded up; None without one."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = (int(word) for name in names for word in (CONTROL_GROUP / name).read_text().split())
        except (OSError, ValueError):  # no such version; "max": no limit
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return None


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ahead: int
) -> Iterator[Result]:
    """function(item) of every item, in order, computed by so many threads for up to `ahead` items in advance.

    items: iterated over in the caller's thread. With one worker nothing is computed in advance.
    """
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="oamface") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where the caller stops early
            for future in waiting:
                future.cancel()
