"""What the server does unasked: presence is swept, what has expired is purged, and faults are survived."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import asyncpg
import pytest

from less_sync.storage import InvitationStore, PostgresInvitationStore, Unavailable
from less_sync.sync.background import maintain, run_background, sweep
from less_sync.sync.limits import Limits
from less_sync.sync.live.presence import SWEEP_MAX, Departure, Presence
from less_sync.sync.protocol.frames import Notification
from tests.integration.waiting import until
from tests.live import Live, live_server

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

QUICK = Limits(presence_sweep_s=0.02, presence_stale_s=0.1)
INTERVAL_S = 0.05


@pytest.fixture
async def con(database_url: str) -> "AsyncIterator[Connection]":
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def background(live: Live) -> AsyncIterator["asyncio.Task[None]"]:
    """The periodic tasks, until the block ends."""
    task = asyncio.create_task(run_background(live.services, maintenance_interval_s=INTERVAL_S))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def leave_rows(con: "Connection", *, expired: int, fresh: int) -> None:
    """Invitations and slots of the hourly limits, some of them past their time."""
    for count, age in ((expired, "3601 seconds"), (fresh, "10 seconds")):
        await con.execute(
            f"""INSERT INTO invitations (mailbox_id, payload, created_at, expires_at)
                SELECT repeat('a', 64), 'p', now(), now() + interval '3600 seconds' - interval '{age}'
                FROM generate_series(1, $1::int)""",
            count,
        )
        await con.execute(
            f"""INSERT INTO rate_limit_actions (action, actor_hash, created_at)
                SELECT 'invitation', repeat('b', 64), now() - interval '{age}'
                FROM generate_series(1, $1::int)""",
            count,
        )


async def rows_left(con: "Connection") -> tuple[int, int]:
    row = await con.fetchrow(
        "SELECT (SELECT count(*) FROM invitations), "
        "(SELECT count(*) FROM rate_limit_actions WHERE action <> 'less-sync:turn')"
    )
    assert row is not None
    return row[0], row[1]


async def test_maintenance_purges_what_is_over_and_nothing_else(database_url: str, con: "Connection") -> None:
    async with live_server(database_url) as live:
        await leave_rows(con, expired=3, fresh=2)
        await maintain(live.services)
        assert await rows_left(con) == (2, 2)
        await maintain(live.services)
        assert await rows_left(con) == (2, 2)


class FaultyInvitations(PostgresInvitationStore):
    """Fails at its first purge."""

    def __init__(self, inner: InvitationStore) -> None:
        self._inner = inner
        self.purges = 0

    async def purge(self) -> int:
        self.purges += 1
        if self.purges == 1:
            raise Unavailable
        return await self._inner.purge()


async def test_purging_goes_on_by_itself_and_after_a_fault(database_url: str, con: "Connection") -> None:
    async with live_server(database_url) as live:
        live.services.invitations = invitations = FaultyInvitations(live.services.invitations)
        async with background(live) as task:
            for _ in range(2):
                await leave_rows(con, expired=2, fresh=0)

                async def purged() -> bool:
                    return await rows_left(con) == (0, 0)

                await until(purged)
            assert not task.done()
        assert task.cancelled()
        assert invitations.purges > 2
        chore = live.services.metrics.chores["maintenance"]
        assert chore.failures == 1
        assert chore.runs in (invitations.purges, invitations.purges - 1)  # the last may have been cut off


async def test_silent_members_leave_by_themselves_and_may_come_back(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live:
        silent, listener = await live.connect(), await live.connect()
        for client in (silent, listener):
            await client.subscribe()
        async with background(live):
            for _ in range(2):
                silent.notify("presence.set", {"space": silent.space, "data": b"here"})
                for client, methods in (
                    (listener, ["presence", "presence.leave"]),
                    (silent, ["presence.leave"]),
                ):
                    for method in methods:
                        notice = await client.next()
                        assert isinstance(notice, Notification)
                        assert notice.method == method
            assert len(live.services.presence) == 0


class FaultyPresence(Presence):
    """Fails at its first sweep."""

    swept = 0

    def sweep(self, *, removed_max: int = SWEEP_MAX) -> list[Departure]:
        self.swept += 1
        if self.swept == 1:
            raise RuntimeError("a fault of ours")
        return super().sweep(removed_max=removed_max)


async def test_a_sweep_that_fails_is_not_the_last(database_url: str) -> None:
    async with live_server(database_url, QUICK) as live:
        live.services.presence = presence = FaultyPresence(QUICK)
        client = await live.connect()
        await client.subscribe()
        client.notify("presence.set", {"space": client.space, "data": b"here"})
        async with background(live) as task:
            notice = await client.next()
            assert isinstance(notice, Notification)
            assert notice.method == "presence.leave"
            assert not task.done()
        assert presence.swept > 1


async def test_one_sweep_takes_everybody_however_many(database_url: str) -> None:
    clock = [0.0]
    async with live_server(database_url) as live:
        live.services.presence = presence = Presence(live.services.limits, clock=lambda: clock[0])
        count = 2 * SWEEP_MAX + 1
        for number in range(count):
            assert presence.set(uuid4(), f"connection {number}", b"") is not None
        clock[0] = 46.0
        assert sweep(live.services) == count
        assert len(presence) == 0
