"""How much is held and worked on at once, and how much may wait for it; the rest is refused at once."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from oamface.errors import OamfaceError
from oamface.images import MAX_BYTES, MAX_PIXELS

Result = TypeVar("Result")


class BusyError(OamfaceError):
    """As much is held or waits as may; the same request can be answered in a moment."""


class SlowError(OamfaceError):
    """A request was not answered in the time that it may take."""


@dataclass(frozen=True)
class Limits:
    """bytes: of one image. pixels: of it. faces: answered for in it. images: images of one batch.

    body: bytes of a whole form or JSON document. memory: bytes of all bodies that are held at once.
    working: requests that are computed at once; waiting: others in line. seconds: for a body to arrive, and again for
    the answer.
    """

    bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    faces: int = 100
    images: int = 32
    body: int = 128 * 2**20
    memory: int = 512 * 2**20
    working: int = field(default_factory=lambda: os.cpu_count() or 1)
    waiting: int = 32
    seconds: float = 30.0


class Gate:
    """Runs work in threads: `working` pieces at once, `waiting` more in line, none beyond that.

    seconds: after which a caller is told that it took too long; its thread still counts until it is done.
    """

    def __init__(self, working: int, waiting: int, seconds: float) -> None:
        self.working, self.waiting, self.seconds = working, waiting, seconds
        self.busy = 0  # pieces that run or wait
        self._pool = ThreadPoolExecutor(working, thread_name_prefix="oamface")

    async def run(
        self, work: Callable[..., Result], *arguments: Any, after: Callable[[], object] = lambda: None
    ) -> Result:
        """after: called once when the work is done or refused, which may be later than the caller stops waiting.

        Raises BusyError at once, SlowError later, and whatever the work raises.
        """
        if self.busy >= self.working + self.waiting:
            after()
            raise BusyError("busy: too many requests are waiting; try again in a moment")
        self.busy += 1

        def done(task: "asyncio.Future[Result]") -> None:
            self.busy -= 1
            after()
            if not task.cancelled():
                task.exception()  # seen, even where nobody waits for it any more

        task = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        task.add_done_callback(done)
        try:
            # The thread cannot be stopped, so that it is shielded: only the caller stops waiting.
            return await asyncio.wait_for(asyncio.shield(task), self.seconds)
        except TimeoutError:
            raise SlowError(f"not answered within {self.seconds:g} seconds; send less, or a smaller image") from None

    def close(self) -> None:
        """Let what was accepted finish."""
        self._pool.shutdown(wait=True)


class Room:
    """The memory that all bodies share. Used from the event loop alone.

    size: bytes that may be held at once; held: bytes that are.
    """

    def __init__(self, size: int) -> None:
        self.size, self.held = size, 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request holds; given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """What one request holds of the room, in bytes."""

    def __init__(self, room: Room) -> None:
        self._room, self.held = room, 0

    def check(self, size: int) -> None:
        """Raises BusyError: so many bytes more do not fit in now."""
        if self._room.held + size > self._room.size:
            raise BusyError("busy: too many large bodies are held; try again in a moment")

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises BusyError."""
        self.check(size)
        self._room.held += size
        self.held += size
