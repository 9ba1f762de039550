"""The probe behind `/health`, with pings that answer when the test says so."""

import asyncio

from less_sync.storage import Unavailable
from less_sync.sync.http.health import HealthProbe


class Database:
    """Answers when `up` is set; counts how often it was asked and cancelled."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.pings = 0
        self.cancelled = 0

    async def ping(self) -> None:
        self.pings += 1
        try:
            await self.up.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_all_who_ask_at_once_share_one_ping() -> None:
    database = Database()
    probe = HealthProbe(database.ping)
    asking = [asyncio.create_task(probe.healthy()) for _ in range(10)]
    await asyncio.sleep(0)
    database.up.set()
    assert await asyncio.gather(*asking) == [True] * 10
    assert database.pings == 1


async def test_a_result_is_good_for_a_while_and_then_asked_again() -> None:
    database = Database()
    database.up.set()
    patient = HealthProbe(database.ping, reuse_s=3600)
    assert [await patient.healthy() for _ in range(3)] == [True] * 3
    assert database.pings == 1
    hasty = HealthProbe(database.ping, reuse_s=0)
    assert [await hasty.healthy() for _ in range(3)] == [True] * 3
    assert database.pings == 4


async def test_a_ping_that_hangs_is_a_failure_that_is_told_at_once_while_it_lasts() -> None:
    database = Database()
    probe = HealthProbe(database.ping, deadline_s=0.01, reuse_s=0, give_up_s=3600)
    assert [await probe.healthy() for _ in range(3)] == [False] * 3
    assert (database.pings, database.cancelled) == (1, 0)
    database.up.set()
    async with asyncio.timeout(20):
        while not await probe.healthy():  # noqa: ASYNC110  # the probe is what is tested
            await asyncio.sleep(0)


async def test_a_ping_that_hangs_too_long_is_given_up_for_a_new_one() -> None:
    database = Database()
    probe = HealthProbe(database.ping, deadline_s=0.01, reuse_s=0, give_up_s=0)
    assert [await probe.healthy() for _ in range(3)] == [False] * 3
    assert (database.pings, database.cancelled) == (3, 2)


async def test_one_who_stops_asking_does_not_take_the_ping_from_the_others() -> None:
    database = Database()
    probe = HealthProbe(database.ping)
    first, second = asyncio.create_task(probe.healthy()), asyncio.create_task(probe.healthy())
    await asyncio.sleep(0)
    first.cancel()
    database.up.set()
    assert await second


async def test_a_database_that_refuses_is_a_failure() -> None:
    async def refused() -> None:
        raise Unavailable

    assert not await HealthProbe(refused).healthy()
