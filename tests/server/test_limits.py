import asyncio
import threading

import pytest

from oamface.server.limits import BusyError, DeadlineError, MemoryBudget, RequestLimiter


def test_limiter_rejects_calls_beyond_the_queue() -> None:
    async def scenario() -> None:
        limiter, go = RequestLimiter(workers=2, queued=1, timeout=10), threading.Event()
        tasks = [asyncio.create_task(limiter.run(go.wait)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert limiter.active == 3
        with pytest.raises(BusyError):
            await limiter.run(print)
        go.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert limiter.active == 0
        assert await limiter.run(int, "7") == 7
        limiter.close()

    asyncio.run(scenario())


def test_limiter_counts_slow_call_until_it_is_done() -> None:
    async def scenario() -> None:
        limiter, go = RequestLimiter(workers=1, queued=0, timeout=0.05), threading.Event()
        with pytest.raises(DeadlineError):
            await limiter.run(go.wait)
        with pytest.raises(BusyError):  # its thread still runs
            await limiter.run(print)
        go.set()
        for _ in range(100):
            if not limiter.active:
                break
            await asyncio.sleep(0.01)
        assert await limiter.run(int, "7") == 7
        limiter.close()

    asyncio.run(scenario())


def test_limiter_does_not_compute_what_no_caller_waits_for() -> None:
    async def scenario() -> None:
        limiter, go, computed = RequestLimiter(workers=1, queued=1, timeout=0.05), threading.Event(), []
        calls = [limiter.run(go.wait), limiter.run(computed.append, 1)]
        assert all(isinstance(one, DeadlineError) for one in await asyncio.gather(*calls, return_exceptions=True))
        assert limiter.active == 1
        go.set()
        limiter.close()
        assert computed == []

    asyncio.run(scenario())


def test_limiter_passes_errors_on() -> None:
    async def scenario() -> None:
        limiter = RequestLimiter(workers=1, queued=0, timeout=5)
        with pytest.raises(ValueError, match="invalid literal"):
            await limiter.run(int, "x")
        assert limiter.active == 0
        limiter.close()

    asyncio.run(scenario())


def test_limiter_calls_on_done_once_when_the_call_has_finished() -> None:
    async def scenario() -> None:
        limiter, go, done = RequestLimiter(workers=1, queued=0, timeout=0.05), threading.Event(), []
        with pytest.raises(DeadlineError):
            await limiter.run(go.wait, on_done=lambda: done.append("slow"))
        assert done == []  # the caller has stopped waiting, but the thread still runs
        with pytest.raises(BusyError):
            await limiter.run(print, on_done=lambda: done.append("rejected"))
        assert done == ["rejected"]
        go.set()
        while limiter.active:
            await asyncio.sleep(0.01)
        assert done == ["rejected", "slow"]
        limiter.close()

    asyncio.run(scenario())


def test_memory_budget_is_shared_and_freed() -> None:
    budget = MemoryBudget(100)
    with budget.reserve() as first:
        first.add(60)
        with budget.reserve() as second:
            second.check(40)
            with pytest.raises(BusyError):
                second.add(41)
            second.add(40)
        assert budget.reserved == 60
    assert budget.reserved == 0
