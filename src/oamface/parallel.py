"""Does work in threads, some items ahead of the caller."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
