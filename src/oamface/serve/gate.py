"""How much is worked on at once, and how much may wait for it; the rest is refused at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from oamface.errors import OamfaceError

Result = TypeVar("Result")


class BusyError(OamfaceError):
    """As much is waiting as may wait."""


class SlowError(OamfaceError):
    """A request was not answered in the time that it may take."""


class Gate:
    """Runs work in threads: `working` pieces at once, `waiting` more in line, none beyond that.

    seconds: after which a caller is told that it took too long; its thread still counts until it is done.
    """

    def __init__(self, working: int, waiting: int, seconds: float) -> None:
        self.working, self.waiting, self.seconds = working, waiting, seconds
        self.busy = 0  # pieces that run or wait
        self._pool = ThreadPoolExecutor(working, thread_name_prefix="oamface")

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Raises BusyError at once, SlowError later, and whatever the work raises."""
        if self.busy >= self.working + self.waiting:
            raise BusyError("busy: too many requests are waiting; try again in a moment")
        self.busy += 1
        task = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        task.add_done_callback(self._done)
        try:
            # The thread cannot be stopped, so that it is shielded: only the caller stops waiting.
            return await asyncio.wait_for(asyncio.shield(task), self.seconds)
        except TimeoutError:
            raise SlowError(f"not answered within {self.seconds:g} seconds; send a smaller picture") from None

    def close(self) -> None:
        """Let what was accepted finish."""
        self._pool.shutdown(wait=True)

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self.busy -= 1
        if not task.cancelled():
            task.exception()  # seen, even where nobody waits for it any more
