"""Who may change the files of a volume, and in which order."""

import asyncio
from pathlib import Path

import pytest

from less_sync.volume.engine.data_file import DataFile, FileSlice
from less_sync.volume.engine.errors import VolumeBusy
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.turn import Turn


async def test_the_turn_goes_round_in_order_and_is_never_free_while_somebody_waits() -> None:
    turn = Turn()
    order: list[int] = []

    async def take(number: int) -> None:
        async with turn:
            order.append(number)
            await asyncio.sleep(0)

    async with turn:
        takers = [asyncio.create_task(take(number)) for number in range(5)]
        await asyncio.sleep(0)
        takers[2].cancel()
    held = turn.held
    await asyncio.wait(takers)
    assert (order, held, turn.held) == ([0, 1, 3, 4], True, False)


async def test_whoever_is_cancelled_with_the_turn_in_hand_passes_it_on() -> None:
    turn = Turn()
    taken: list[str] = []

    async def take(name: str) -> None:
        async with turn:
            taken.append(name)

    async with turn:
        first, second = asyncio.create_task(take("first")), asyncio.create_task(take("second"))
        await asyncio.sleep(0)
    first.cancel()  # The turn was given to it, and it has not run since.
    await asyncio.wait((first, second))
    assert (taken, turn.held) == (["second"], False)


async def test_only_so_many_may_wait() -> None:
    turn = Turn(waiters_max=3)

    async def take() -> None:
        async with turn:
            pass

    async with turn:
        takers = [asyncio.create_task(take()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(VolumeBusy):
            await take()
    await asyncio.wait(takers)
    assert not turn.held


async def test_work_in_a_thread_is_waited_for_though_its_waiter_is_cancelled() -> None:
    gate = asyncio.Event()
    done: list[bool] = []

    async def work() -> None:
        await gate.wait()
        done.append(True)

    waiter = asyncio.create_task(to_the_end(work()))
    for _ in range(2):
        await asyncio.sleep(0)
        waiter.cancel()
    await asyncio.sleep(0)
    was_done = waiter.done()
    gate.set()
    await asyncio.wait({waiter})
    assert (was_done, done, waiter.cancelled()) == (False, [True], True)


async def test_a_file_stays_open_for_whoever_still_reads_from_it(tmp_path: Path) -> None:
    path = tmp_path / "1.dat"
    path.write_bytes(b"0123456789")
    data = DataFile.open(Files(), path, alignment=8)
    piece = FileSlice(data, 2, 5)
    data.close()
    data.close()
    path.unlink()
    assert (data.end, piece.read(0, 100), piece.read(4, 3), piece.read(9, 1)) == (16, b"23456", b"6", b"")
    piece.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        data.read(0, 1)
