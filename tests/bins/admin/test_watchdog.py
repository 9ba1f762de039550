"""The delivery watchdog over a running server: what it proves and survives, and that it leaves nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from less_sync.bins.admin.readiness import Readiness, Status
from less_sync.bins.admin.watchdog import Delivery, DeliveryStatus, Watchdog
from less_sync.sync.canary import canary_space
from less_sync.sync.limits import Limits
from less_sync.sync.protocol import codes
from tests.bins.test_server import until
from tests.live import Live, live_server

SPACE = canary_space(bytes(16))
QUICK = Limits(delivery_probe_interval_s=0.02, delivery_lag_s=10.0)
ROOT_KEY = b"\x02" + bytes(32)


@asynccontextmanager
async def watched(live: Live, *, alone: bool = True) -> AsyncIterator[Watchdog]:
    """A watchdog that runs, and has left nothing behind at the end, as can be told of one that is alone."""
    before = task_names()
    watchdog = Watchdog(live.services, SPACE)
    running = asyncio.create_task(watchdog.run())
    try:
        yield watchdog
    finally:
        assert not running.done(), "it survives everything"
        running.cancel()
        await asyncio.wait({running})
    if alone:
        await until(lambda: task_names() <= before)  # a query that was cut off ends a little later
    assert len(watchdog.sessions) == 0


def task_names() -> set[str]:
    """What runs, but for the pauses of the HTTP server."""
    names = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    return names - {"Event.wait"}


async def proven_again(watchdog: Watchdog) -> None:
    """Return once something new was proven, twice: a probe may have been under way."""
    wanted = watchdog.delivery.proofs + 2
    await until(lambda: watchdog.delivery.proofs >= wanted)


async def asked(database_url: str, statement: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


def socket_sessions(watchdog: Watchdog) -> list[Any]:
    """The server's own ends of its two connections."""
    return list(watchdog.sessions._open)


async def test_a_record_comes_back_and_there_is_one_row_however_often(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live:
        async with watched(live) as watchdog:
            assert (watchdog.delivery.status, watchdog.delivery.lag_s) == (DeliveryStatus.UNKNOWN, None)
            await until(lambda: watchdog.delivery.proofs >= 5)
            assert watchdog.delivery.status is DeliveryStatus.OK
            assert watchdog.delivery.failures == 0
        rows = await asked(database_url, "SELECT id, space_id, cursor FROM records")
        assert [(row["id"], row["space_id"]) for row in rows] == [(SPACE, SPACE)]
        assert rows[0]["cursor"] >= 5
        (space,) = await asked(database_url, "SELECT id, root_public_key FROM spaces")
        assert (space["id"], space["root_public_key"]) == (SPACE, None)


async def test_the_next_life_goes_on_with_the_same_record(database_url: str) -> None:
    for _ in range(2):
        async with live_server(database_url, QUICK) as live, watched(live) as watchdog:
            await until(lambda: watchdog.delivery.proofs >= 2)  # awaited here
            assert watchdog.delivery.failures == 0
    assert len(await asked(database_url, "SELECT id FROM records")) == 1


@pytest.mark.parametrize("close", [codes.SLOW_CONSUMER, codes.LIFETIME_REACHED], ids=["4006", "1001"])
async def test_sessions_that_are_closed_are_replaced(database_url: str, close: codes.Close) -> None:
    async with live_server(database_url, QUICK) as live, watched(live) as watchdog:
        await until(lambda: watchdog.delivery.proofs >= 1)
        for which in (0, 1):
            socket_sessions(watchdog)[which].close(close)
            await proven_again(watchdog)
            assert len(socket_sessions(watchdog)) == 2


async def test_an_older_database_is_no_lasting_failure(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live, watched(live) as watchdog:
        await until(lambda: watchdog.delivery.proofs >= 3)
        await asked(database_url, "UPDATE records SET cursor = cursor - 1")
        await proven_again(watchdog)
        await asked(database_url, "DELETE FROM records")
        await proven_again(watchdog)


async def test_two_processes_with_one_id_do_not_starve_each_other(database_url: str) -> None:
    async with (
        live_server(database_url, QUICK) as one,
        live_server(database_url, QUICK) as two,
        watched(one, alone=False) as first,
        watched(two, alone=False) as second,
    ):
        await until(lambda: min(first.delivery.proofs, second.delivery.proofs) >= 5)


async def test_a_lock_that_is_held_too_long_is_a_failure_and_delivery_is_late_until_it_is_free(
    database_url: str,
) -> None:
    limits = Limits(delivery_probe_interval_s=0.1, delivery_lag_s=0.1)
    async with live_server(database_url, limits) as live, watched(live) as watchdog:
        readiness = Readiness(live.services, watchdog.delivery)
        readiness.listening = True
        await until(lambda: watchdog.delivery.proofs >= 1)
        holder = await asyncpg.connect(database_url)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT 1 FROM spaces FOR UPDATE")
        await until(lambda: watchdog.delivery.failures >= 2)
        await until(lambda: watchdog.delivery.status is DeliveryStatus.LATE)
        report = await readiness.report()
        assert report.status is Status.DEGRADED
        assert report.reason.startswith("no record has come back for ")
        await transaction.rollback()
        await holder.close()
        await until(lambda: watchdog.delivery.status is DeliveryStatus.OK)
        assert (await readiness.report()).status is Status.READY


async def test_a_space_whose_home_is_elsewhere_is_not_written(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live, watched(live) as watchdog:
        await until(lambda: watchdog.delivery.proofs >= 1)
        await asked(database_url, "UPDATE spaces SET home_server = 'other.example'")
        before = watchdog.delivery.failures
        await until(lambda: watchdog.delivery.failures > before)
        (row,) = await asked(database_url, "SELECT cursor FROM spaces")
        await until(lambda: watchdog.delivery.failures > before + 1)
        assert (await asked(database_url, "SELECT cursor FROM spaces"))[0] == row
        await asked(database_url, "UPDATE spaces SET home_server = NULL")
        await proven_again(watchdog)


async def test_a_drain_of_the_clients_does_not_end_it(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live, watched(live) as watchdog:
        await until(lambda: watchdog.delivery.proofs >= 1)
        live.services.sessions.drain(spread_s=0, within_s=1)
        await proven_again(watchdog)
        assert watchdog.delivery.failures == 0


async def test_no_client_gets_at_the_space_of_a_watchdog(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live:
        async with watched(live) as watchdog:
            await until(lambda: watchdog.delivery.proofs >= 1)
        claiming = await live.connect("mallory", personal_space_id=str(SPACE))
        change = {"id": str(uuid4()), "blob": b"x", "expected_cursor": 0}
        assert (await claiming.push(change, space=str(SPACE)))["error"] == "forbidden"
        assert await claiming.pull(space=str(SPACE)) == []
        result = await claiming.subscribe(str(SPACE))
        assert [one["error"] for one in result["errors"]] == ["forbidden"]
        free = str(canary_space(b"another node id."))
        create = {"id": free, "root_public_key": ROOT_KEY}
        assert (await claiming.error("space.create", create))[0] == "conflict"


def test_what_is_known_ages() -> None:
    times_s = [0.0]
    delivery = Delivery(Limits(delivery_probe_interval_s=10.0, delivery_lag_s=2.0), lambda: times_s[-1])
    delivery.failed()
    assert (delivery.status, delivery.age_s) == (DeliveryStatus.UNKNOWN, None)
    for now_s, trouble in ((30.0, ""), (30.1, "no record has come back since the start")):
        times_s.append(now_s)
        assert (delivery.status, delivery.trouble) == (DeliveryStatus.UNKNOWN, trouble)
    delivery.proved(2.0)
    for now_s, status in ((30.1, "ok"), (60.1, "ok"), (60.2, "late")):
        times_s.append(now_s)
        assert delivery.status.value == status
    assert delivery.trouble == "no record has come back for 30 s"
    delivery.proved(2.1)
    assert (delivery.status, delivery.trouble) == (
        DeliveryStatus.LATE,
        "the last record took 2.1 s, more than 2 s",
    )
    delivery.proved(0.1)
    assert (delivery.status, delivery.trouble) == (DeliveryStatus.OK, "")
    assert (delivery.proofs, delivery.failures) == (3, 1)


def test_a_lag_that_is_permitted_makes_no_proof_overdue() -> None:
    times_s = [0.0]
    delivery = Delivery(Limits(delivery_probe_interval_s=10.0, delivery_lag_s=40.0), lambda: times_s[-1])
    delivery.proved(40.0)
    for now_s, status in ((41.0, "ok"), (120.0, "ok"), (120.1, "late")):
        times_s.append(now_s)
        assert delivery.status.value == status


async def test_a_server_that_has_never_delivered_is_degraded_before_long(database_url: str) -> None:
    limits = Limits(delivery_probe_interval_s=0.05, delivery_lag_s=0.05)
    async with live_server(database_url, limits) as live:
        await asked(database_url, "ALTER TABLE records ADD CONSTRAINT full_disk CHECK (false)")
        async with watched(live) as watchdog:
            readiness = Readiness(live.services, watchdog.delivery)
            readiness.listening = True
            assert (await readiness.report()).status is Status.READY
            await until(lambda: watchdog.delivery.trouble != "")
            report = await readiness.report()
            assert (report.status, report.reason) == (
                Status.DEGRADED,
                "no record has come back since the start",
            )
            assert report.body["delivery"] == {"status": "unknown", "lag_s": None, "age_s": None}
            assert watchdog.delivery.failures > 0
