"""Limits of what is under way: who waits, for how long, and what wakes them."""

import asyncio

from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.request import Request
from tests.volume.http.connections import until


def request() -> Request:
    return Request("PUT", b"/", "/", "")


async def test_the_limit_is_compared_before_a_request_adds_its_own_bytes() -> None:
    found = []
    limit = InFlight(10, 5)
    for count in (10, 1):
        limit.add(count)
        found.append(limit.is_over)
    assert found == [False, True]
    unlimited = InFlight(0, 5)
    unlimited.add(1 << 60)
    assert not unlimited.is_over


async def test_all_who_wait_are_woken_and_those_for_whom_it_is_still_too_much_wait_on() -> None:
    limit = InFlight(10, 30)
    limit.add(11)
    admitted: list[int] = []

    async def upload(number: int) -> None:
        assert await limit.wait(request()) == 0
        limit.add(11)
        admitted.append(number)

    tasks = [asyncio.create_task(upload(number)) for number in range(3)]
    for count in range(1, 4):
        await asyncio.sleep(0)
        limit.subtract(11)
        await until(lambda count=count: len(admitted) == count)  # type: ignore[misc]
        await asyncio.sleep(0.01)
        assert len(admitted) == count
    await asyncio.gather(*tasks)
    assert sorted(admitted) == [0, 1, 2]


async def test_who_waits_too_long_is_told_so_and_a_client_that_leaves_is_noticed() -> None:
    limit = InFlight(1, 0.02)
    limit.add(2)
    assert await limit.wait(request()) == 429
    patient = InFlight(1, 30)
    patient.add(2)
    left = request()
    waiting = asyncio.create_task(patient.wait(left))
    await until(lambda: left.on_gone is not None)
    tell, left.gone = left.on_gone, True
    assert tell is not None
    tell()
    assert await waiting == 499
    assert vars(left)["on_gone"] is None
    gone = request()
    gone.gone = True
    assert await patient.wait(gone) == 499


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    limit = InFlight(1, 30)
    limit.add(2)
    waiting = asyncio.create_task(limit.wait(request()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    limit.subtract(2)
    assert await limit.wait(request()) == 0
