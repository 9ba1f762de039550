"""A standby that gives up, dies, hangs, or is none: pulls go on at the primary, and stay right."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.storage import PostgresPullStore, PullRow, StorageError, Unavailable
from less_sync.storage.postgres.replica_pulls import ReplicatedPullStore
from less_sync.storage.postgres.replicas import Replicas
from tests.cluster.replica.conftest import Streaming
from tests.cluster.replica.rig import WAIT_S, Rig, pulled, rig
from tests.standby import pair, standby_of
from tests.storage.support import as_tuple, patient

EAGER = patient(60.0)
"""Keeps its portal."""
HASTY = patient(0.0)
"""Lets go of its portal after the first batch, and reads on by pages."""


@asynccontextmanager
async def own_standby(streaming: Streaming, name: str) -> AsyncIterator[EmbeddedPostgres]:
    """A second standby, which a test may break."""
    async with standby_of(streaming.primary, streaming.folder / name) as standby:
        yield standby


async def large(r: Rig) -> UUID:
    """A space that does not fit into what a pull reads ahead."""
    space = await r.space(pushes=40, each=100, blob=b"z" * 1500)
    await r.pair.catch_up()
    r.forget()
    return space


async def begin(r: Rig, space: UUID, pulls: ReplicatedPullStore) -> "Begun":
    """Pull the first batch of a space."""
    begun = Begun(r, space, pulls)
    await begun.open()
    return begun


class Begun:
    """A pull of which one batch was read. What is read on later is compared with what is stored."""

    def __init__(self, r: Rig, space: UUID, pulls: ReplicatedPullStore) -> None:
        self._r = r
        self._space = space
        self._context = pulls.pull(space, 0, reader="somebody")
        self.rows: list[PullRow] = []

    async def open(self) -> None:
        pull = await self._context.__aenter__()
        assert pull is not None
        self.cursor = pull.meta.cursor
        self._batches = pull.batches()
        self.rows += [as_tuple(row) for row in await anext(self._batches)]

    async def finish(self) -> None:
        """Read the rest: ascending, nothing twice, and with the next pull everything that is stored."""
        self.rows += [as_tuple(row) async for batch in self._batches for row in batch]
        await self._context.__aexit__(None, None, None)
        places = [(row[1], row[2]) for row in self.rows]
        assert places == sorted(set(places), key=lambda place: (place[0], str(place[1])))
        assert all(cursor <= self.cursor for cursor, _ in places)
        _, later = await pulled(self._r.primary, self._space, self.cursor)
        _, stored = await pulled(self._r.primary, self._space, 0)
        state = {row[2]: (row[1], row[3]) for row in self.rows + later}
        assert {id: at for id, at in state.items() if at[1] is not None} == {
            row[2]: (row[1], row[3]) for row in stored
        }


def reading(r: Rig, patience: object) -> ReplicatedPullStore:
    assert patience is EAGER or patience is HASTY
    return ReplicatedPullStore(PostgresPullStore(r.pool), r.replicas, patience=patience, wait_s=WAIT_S)


@pytest.mark.parametrize("patience", [EAGER, HASTY], ids=["portal", "pages"])
async def test_a_pull_that_recovery_cancels_goes_on_at_the_primary(
    streaming: Streaming, patience: object
) -> None:
    async with own_standby(streaming, f"cancelled-{patience is EAGER}") as standby:
        async with rig(streaming.primary.url, [standby.url]) as r:
            await r.pair.cancel_at_once()
            await r.ready()
            space = await large(r)
            begun = await begin(r, space, reading(r, patience))
            ids = [row[2] for row in (await pulled(r.primary, space))[1][::3]]
            for number, id in enumerate(ids[:300]):
                cursor = (number * 3) // 100 + 1
                await r.push(space, (id or uuid4(), cursor, b"changed" if number % 2 else None))
            await r.pair.primary.execute("VACUUM records")
            await r.pair.catch_up()
            r.forget()
            await begun.finish()
            if patience is EAGER:
                assert "pull_page" in r.at_primary
                assert r.replica.counts.refused["cancelled"] == r.replica.counts.continued == 1


@pytest.mark.parametrize("patience", [EAGER, HASTY], ids=["portal", "pages"])
async def test_a_standby_that_is_killed_in_the_middle_of_a_pull(
    streaming: Streaming, patience: object
) -> None:
    async with own_standby(streaming, f"killed-{patience is EAGER}") as standby:
        async with rig(streaming.primary.url, [standby.url]) as r:
            await r.ready()
            space = await large(r)
            begun = await begin(r, space, reading(r, patience))
            os.kill(standby.pid, signal.SIGQUIT)
            await standby.wait()
            await begun.finish()
            assert r.replica.counts.refused["cancelled"] == r.replica.counts.continued == 1
            for seconds in range(5):
                for _ in range(20):
                    assert (await pulled(r.pulls, space, begun.cursor))[0].cursor == begun.cursor
                assert r.replica.counts.refused["away"] <= seconds
                r.clock.now_s += 1.0
            assert r.replica.counts.refused["away"] >= 1


async def test_a_standby_that_is_down_keeps_nobody_waiting_and_is_used_when_it_comes(
    streaming: Streaming,
) -> None:
    standby = standby_of(streaming.primary, streaming.folder / "late")
    async with standby:
        url = standby.url
    again = EmbeddedPostgres(standby.data_dir, settings={"fsync": "off"})
    async with rig(streaming.primary.url, [streaming.standby.url]) as r:
        replicas = Replicas.at([url], r.pool, max_connections=2)
        pulls, space = ReplicatedPullStore(r.primary, replicas), await r.space()
        try:
            with capture_logs() as logs:
                assert len((await pulled(pulls, space))[1]) == 1
                while replicas.all[0].counts.refused["away"] == 0:  # noqa: ASYNC110 - beside the pulls
                    await asyncio.sleep(0.01)
                assert len((await pulled(pulls, space))[1]) == 1
            assert [log["event"] for log in logs] == ["pulls are not read from the replica"]
            async with again:
                async with asyncio.timeout(30):
                    while not replicas.all[0].counts.served:
                        await pulled(pulls, space)
                        await asyncio.sleep(0.05)
        finally:
            await replicas.aclose(5.0)


@pytest.mark.parametrize("what", ["the primary itself", "another cluster"])
async def test_what_is_no_standby_of_ours_is_not_read_from_and_that_is_logged(
    streaming: Streaming, database_url: str, what: str
) -> None:
    url = streaming.primary.url if what == "the primary itself" else database_url
    async with rig(streaming.primary.url, [streaming.standby.url]) as r:
        space, replicas = await r.space(), Replicas.at([url], r.pool, max_connections=2)
        pulls, replica = ReplicatedPullStore(r.primary, replicas), replicas.all[0]
        try:
            with capture_logs() as logs:
                async with asyncio.timeout(20):
                    while replica.counts.refused["stranger"] == 0:
                        assert len((await pulled(pulls, space))[1]) == 1
                        await asyncio.sleep(0.01)
            assert [log["event"] for log in logs] == ["pulls are not read from the replica"]
            assert not replica.usable
            assert replica.counts.served == 0
        finally:
            await replicas.aclose(5.0)


@pytest.mark.parametrize("patience", [EAGER, HASTY], ids=["portal", "pages"])
async def test_a_standby_that_is_promoted_is_another_truth(streaming: Streaming, patience: object) -> None:
    """It takes writes of its own from then on: a row that somebody changed there is missing in its pages."""
    async with own_standby(streaming, f"promoted-{patience is EAGER}") as standby:
        async with rig(streaming.primary.url, [standby.url]) as r:
            await r.ready()
            space = await large(r)
            begun = await begin(r, space, reading(r, patience))
            assert await r.pair.standby.fetchval("SELECT pg_promote()")
            await r.pair.standby.execute("UPDATE records SET cursor = cursor + 1000")
            await begun.finish()
            assert (r.replica.counts.refused["stranger"] == 1) is (patience is HASTY)
            before = r.replica.counts.served
            r.clock.now_s += 1.0
            assert await pulled(r.pulls, space) == await pulled(r.primary, space)
            assert r.replica.counts.served == before


async def test_a_standby_that_is_promoted_between_the_first_page_and_the_snapshot(
    streaming: Streaming,
) -> None:
    async with own_standby(streaming, "between") as standby, rig(streaming.primary.url, [standby.url]) as r:
        await r.ready()
        space = await large(r)

        async def promote() -> None:
            assert await r.pair.standby.fetchval("SELECT pg_promote()")
            await r.pair.standby.execute("UPDATE records SET cursor = cursor + 1000")

        r.at_standby.before_portal = promote
        assert await pulled(r.pulls, space) == await pulled(r.primary, space)
        assert r.replica.counts.refused["stranger"] == 1


async def test_a_copy_that_is_ahead_of_a_new_primary_is_not_read_from(streaming: Streaming) -> None:
    """After a failover to a standby that lacked the last writes, another one has them: they never were."""
    async with own_standby(streaming, "successor") as successor, own_standby(streaming, "ahead") as ahead:
        admin = await asyncpg.connect(successor.url)
        try:
            await admin.execute("ALTER SYSTEM SET primary_conninfo = ''")
            await admin.execute("SELECT pg_reload_conf()")
            while await admin.fetchval("SELECT count(*) FROM pg_stat_wal_receiver"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            async with rig(streaming.primary.url, [ahead.url]) as old:
                space = await old.space(pushes=3)
                await old.pair.catch_up()
            assert await admin.fetchval("SELECT pg_promote()")
        finally:
            await admin.close()
        async with rig(successor.url, [ahead.url]) as r:
            await r.push(space, (uuid4(), 0, b"the only one"))
            async with asyncio.timeout(20):
                while r.replica.counts.refused["stranger"] == 0:
                    assert [row[3] for row in (await pulled(r.pulls, space))[1]] == [b"the only one"]
                    await asyncio.sleep(0.01)
            assert r.replica.counts.served == 0


async def test_another_standby_at_the_same_address_that_has_less_ends_no_pull_too_early(
    streaming: Streaming,
) -> None:
    """As behind a name that means several, or where one has restarted and still replays."""
    async with own_standby(streaming, "one") as one, own_standby(streaming, "other") as other:
        either = streaming.folder / "either"
        either.symlink_to(_socket_of(one))
        async with (
            pair(streaming.primary.url, other.url) as behind,
            rig(streaming.primary.url, [one.url.replace(_socket_of(one), str(either))]) as r,
        ):
            await r.ready()
            await behind.pause()
            space = await large(r)
            begun = await begin(r, space, reading(r, HASTY))
            while "is_standby" not in r.at_standby:  # noqa: ASYNC110  # then a page waits to be taken
                await asyncio.sleep(0.01)
            either.unlink()
            either.symlink_to(_socket_of(other))
            await _hang_up_when_idle(one)
            await _has_not_heard_of(r, space)
            await begun.finish()
            assert r.replica.counts.refused == {"behind": 1, "away": 0, "cancelled": 0, "stranger": 0}
            await behind.resume()


async def _hang_up_when_idle(postgres: EmbeddedPostgres) -> None:
    """End all connections, none of which is in the middle of anything."""
    others = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    admin = await asyncpg.connect(postgres.url)
    while await admin.fetchval(f"SELECT count(*) {others} AND state <> 'idle'"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await admin.execute(f"SELECT pg_terminate_backend(pid) {others}")
    await admin.close()


async def _has_not_heard_of(r: Rig, space: UUID) -> None:
    """Return once all of the pool's connections lead to a standby that does not have the space."""
    pool = r.replica.pool
    assert pool is not None
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(StorageError):  # of a connection whose end was not noticed yet
                if not any(await asyncio.gather(*[pool.fetch("pull_bound", space) for _ in range(5)])):
                    return


def _socket_of(postgres: EmbeddedPostgres) -> str:
    [folder] = parse_qs(urlsplit(postgres.url).query)["host"]
    return folder


async def test_a_standby_that_hangs_costs_one_wait(streaming: Streaming) -> None:
    async with own_standby(streaming, "hanging") as standby:
        async with rig(streaming.primary.url, [standby.url], wait_s=1.0) as r:
            await r.ready()
            space = await r.space()
            await r.pair.catch_up()
            children = [int(pid) for pid in _children(standby.pid)]
            try:
                _tell(children, signal.SIGSTOP)
                for _ in range(10):
                    assert len((await pulled(r.pulls, space))[1]) == 1
                assert r.replica.counts.refused["away"] == 1
            finally:
                _tell(children, signal.SIGCONT)


def _tell(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # of a connection that was just closed
            os.kill(pid, what)


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


async def test_a_client_that_leaves_frees_the_standby_s_connection(r: Rig) -> None:
    space = await large(r)
    for leave_at in range(8):
        task = asyncio.ensure_future(pulled(reading(r, EAGER), space))
        for _ in range(leave_at * 30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    async with asyncio.timeout(20):
        while r.replica.pool is None or r.replica.pool.in_use or r.replica.places.turns.full:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        while await r.pair.standby.fetchval(open_ones):  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.01)
    r.clock.now_s += 1.0
    assert await pulled(r.pulls, space) == await pulled(r.primary, space)


async def test_an_unanswering_primary_is_told_whatever_the_standby_has(r: Rig) -> None:
    space = await r.space()
    await r.pair.catch_up()
    await r.pool.aclose(1.0)
    with pytest.raises(Unavailable):
        await pulled(r.pulls, space)
