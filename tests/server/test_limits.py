import asyncio
import threading

import pytest

from oamface.server.limits import BusyError, Gate, Room, SlowError


def test_what_is_beyond_the_line_is_refused_at_once() -> None:
    async def scene() -> None:
        gate, go = Gate(working=2, waiting=1, seconds=10), threading.Event()
        tasks = [asyncio.create_task(gate.run(go.wait)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert gate.busy == 3
        with pytest.raises(BusyError, match="try again"):
            await gate.run(print)
        go.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert gate.busy == 0
        assert await gate.run(int, "7") == 7
        gate.close()

    asyncio.run(scene())


def test_a_slow_piece_counts_until_it_is_done() -> None:
    async def scene() -> None:
        gate, go = Gate(working=1, waiting=0, seconds=0.05), threading.Event()
        with pytest.raises(SlowError, match="within"):
            await gate.run(go.wait)
        with pytest.raises(BusyError):  # its thread still works
            await gate.run(print)
        go.set()
        for _ in range(100):
            if not gate.busy:
                break
            await asyncio.sleep(0.01)
        assert await gate.run(int, "7") == 7
        gate.close()

    asyncio.run(scene())


def test_errors_of_the_work_reach_the_caller() -> None:
    async def scene() -> None:
        gate = Gate(working=1, waiting=0, seconds=5)
        with pytest.raises(ValueError, match="invalid literal"):
            await gate.run(int, "x")
        assert gate.busy == 0
        gate.close()

    asyncio.run(scene())


def test_what_follows_the_work_comes_once_and_not_before_it_is_done() -> None:
    async def scene() -> None:
        gate, go, seen = Gate(working=1, waiting=0, seconds=0.05), threading.Event(), []
        with pytest.raises(SlowError):
            await gate.run(go.wait, after=lambda: seen.append("slow"))
        assert seen == []  # the caller is gone, the work is not
        with pytest.raises(BusyError):
            await gate.run(print, after=lambda: seen.append("refused"))
        assert seen == ["refused"]
        go.set()
        while gate.busy:
            await asyncio.sleep(0.01)
        assert seen == ["refused", "slow"]
        gate.close()

    asyncio.run(scene())


def test_room_is_shared_and_given_back() -> None:
    room = Room(100)
    with room.share() as one:
        one.take(60)
        with room.share() as other:
            other.check(40)
            with pytest.raises(BusyError):
                other.take(41)
            other.take(40)
        assert room.held == 60
    assert room.held == 0
