"""Limits of the service: on each request, on requests at once, and on the memory that their bodies take."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from oamface.errors import OamfaceError
from oamface.images import MAX_BYTES, MAX_PIXELS
from oamface.parallel import cores

Result = TypeVar("Result")


class BusyError(OamfaceError):
    """Too many requests are queued, or their bodies take too much memory; the same request can succeed in a moment."""


class DeadlineError(OamfaceError):
    """A request took longer than it may."""


@dataclass(frozen=True)
class Limits:
    """image_bytes, pixels, faces: of one image. images: of one batch. body_bytes: of a whole form or JSON document.

    memory: bytes of all bodies at once. workers: requests computed at once. queued: requests that may wait for a
    worker. timeout: seconds for a body to arrive, and again for its response.
    """

    image_bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    faces: int = 100
    images: int = 32
    body_bytes: int = 128 * 2**20
    memory: int = 512 * 2**20
    workers: int = field(default_factory=cores)
    queued: int = 32
    timeout: float = 30.0


class RequestLimiter:
    """Runs functions in `workers` threads; `queued` more calls may wait, and further ones are rejected.

    timeout: seconds after which a caller gets DeadlineError; a call that runs by then still counts as active until
    it is done.
    active: calls that run or wait.
    """

    def __init__(self, workers: int, queued: int, timeout: float) -> None:
        self.workers, self.queued, self.timeout = workers, queued, timeout
        self.active = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="oamface")

    async def run(
        self, function: Callable[..., Result], *arguments: Any, on_done: Callable[[], object] = lambda: None
    ) -> Result:
        """The function's result. on_done: called once it has finished or was rejected, perhaps after the timeout.

        Raises BusyError at once, DeadlineError after the timeout, and whatever the function raises.
        """
        if self.active >= self.workers + self.queued:
            on_done()
            raise BusyError("busy: too many requests are queued; try again in a moment")
        self.active += 1

        def finish(future: "asyncio.Future[Result]") -> None:
            self.active -= 1
            on_done()
            if not future.cancelled():
                future.exception()  # retrieved, even where no caller waits any more

        job = self._pool.submit(function, *arguments)
        future = asyncio.wrap_future(job)
        future.add_done_callback(finish)
        try:
            # Shielded, since a thread that runs cannot be cancelled: only the caller stops waiting.
            return await asyncio.wait_for(asyncio.shield(future), self.timeout)
        except TimeoutError:
            job.cancel()  # unless it runs
            raise DeadlineError(f"no result within {self.timeout:g} seconds; send less, or a smaller image") from None

    def close(self) -> None:
        """Wait for all accepted calls."""
        self._pool.shutdown(wait=True)


class MemoryBudget:
    """The memory that all bodies share. For the event loop only.

    size: bytes that may be reserved at once. reserved: bytes that are.
    """

    def __init__(self, size: int) -> None:
        self.size, self.reserved = size, 0

    @contextmanager
    def reserve(self) -> Iterator["Reservation"]:
        """A reservation for one request, freed at the end."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.reserved -= reservation.size


class Reservation:
    """The part of a MemoryBudget that one request has taken. size: bytes."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self.size = budget, 0

    def check(self, size: int) -> None:
        """Raises BusyError: as many more bytes are not free."""
        if self._budget.reserved + size > self._budget.size:
            raise BusyError("busy: too many large bodies are in memory; try again in a moment")

    def add(self, size: int) -> None:
        """Reserve more bytes. Raises BusyError."""
        self.check(size)
        self._budget.reserved += size
        self.size += size
