"""What is read where: rows come from a standby only if its snapshot has all that the primary has."""

import asyncio
from hashlib import sha256
from uuid import uuid4

import pytest

from less_sync.storage import AppendStatus, DekKind, PostgresRevocationStore, RewrapStatus, purge_space
from tests.cluster.replica.conftest import Streaming
from tests.cluster.replica.rig import Rig, pulled, rig
from tests.storage.support import make_push, write


async def test_a_page_comes_from_the_standby_and_the_primary_is_asked_what_the_space_has(r: Rig) -> None:
    space = await r.space(pushes=3)
    await r.pair.catch_up()
    r.forget()
    meta, rows = await pulled(r.pulls, space)
    assert r.at_primary == ["pull_bound"]
    assert r.at_standby == ["pull_first_of_replica"]
    assert r.replica.counts.served > 0
    assert (meta, rows) == await pulled(r.primary, space)


async def test_a_long_pull_is_read_from_the_standby_alone(r: Rig) -> None:
    space = await r.space(pushes=4, each=700, blob=b"y" * 600)
    await r.pair.catch_up()
    r.forget()
    answer = await pulled(r.pulls, space)
    assert r.at_primary == ["pull_bound"]
    assert r.at_standby.rows == ["pull_first_of_replica", "pull_all"]
    assert answer == await pulled(r.primary, space)


async def test_what_was_just_written_is_read_though_the_standby_does_not_have_it(r: Rig) -> None:
    space, record = uuid4(), uuid4()
    await r.push(space, (record, 0, b"one"))
    await r.pair.catch_up()
    await r.pair.pause()
    for cursor, blob in ((1, b"two"), (2, None), (3, b"three")):
        assert await r.push(space, (record, cursor, blob)) == cursor + 1
        assert await pulled(r.pulls, space, cursor) == await pulled(r.primary, space, cursor)
        r.clock.now_s += 1.0
    assert r.replica.counts.refused == {"behind": 3, "away": 0, "cancelled": 0, "stranger": 0}


async def test_a_standby_that_lags_costs_one_try_a_second(r: Rig) -> None:
    space = await r.space()
    await r.pair.catch_up()
    await r.pair.pause()
    await r.push(space, (uuid4(), 0, b"new"))
    for _ in range(5):
        r.forget()
        for _ in range(20):
            assert (await pulled(r.pulls, space))[0].cursor == 2
        assert r.at_standby.rows == ["pull_first_of_replica"]
        r.clock.now_s += 1.0
    r.forget()
    assert {
        meta.cursor for meta, _ in await asyncio.gather(*(pulled(r.pulls, space) for _ in range(20)))
    } == {2}
    assert r.at_standby.rows == ["pull_first_of_replica"], "one at a time"
    r.clock.now_s += 1.0
    await r.pair.resume()
    r.forget()
    for _ in range(20):
        await pulled(r.pulls, space)
    assert len(r.at_standby.rows) == 20
    assert r.at_primary.rows == []


async def test_a_space_that_the_standby_has_not_heard_of_is_read_from_the_primary(r: Rig) -> None:
    await r.pair.pause()
    space = await r.space()
    assert len((await pulled(r.pulls, space))[1]) == 1
    assert r.replica.counts.refused["behind"] == 1


async def test_a_space_that_is_nowhere_is_missing(r: Rig) -> None:
    async with r.pulls.pull(uuid4(), 0) as pull:
        assert pull is None
    assert r.at_primary == ["pull_bound"]


async def test_the_membership_log_is_never_older_than_the_primary_s(r: Rig) -> None:
    space = await r.space()
    await r.pair.catch_up()
    await r.pair.pause()
    outcome = await r.members.append(
        space, expected_version=0, prev_hash=None, entry_hash=sha256(b"p").digest(), payload=b"p"
    )
    assert outcome.status is AppendStatus.APPENDED
    assert [row[0] for row in (await pulled(r.pulls, space))[1]] == [1, 2]


async def test_while_a_rewrap_is_pending_the_primary_is_read(r: Rig) -> None:
    space, record = uuid4(), uuid4()
    await r.push(space, (record, 0, b"one"))
    await r.epochs.advance(space, 2, set_min=False)
    await r.pair.catch_up()
    r.forget()
    for fill in range(3):
        dek = (2).to_bytes(4, "big") + bytes([fill]) * 40
        assert await r.deks.rewrap(DekKind.RECORDS, space, [record], [dek]) is RewrapStatus.REWRAPPED
        [row] = (await pulled(r.pulls, space))[1]
        assert row[4] == dek
    assert len(r.at_primary.rows) == 3
    assert sum(r.replica.counts.refused.values()) == 0, "the replica is not to blame"
    await r.epochs.complete(space, 2)
    await r.pair.catch_up()
    r.forget()
    assert (await pulled(r.pulls, space))[1][0][4] == dek
    assert r.at_primary.rows == []


@pytest.mark.parametrize("seen", ["nothing", "advanced", "rewrapped"])
async def test_a_rotation_that_the_standby_saw_in_part_is_read_from_the_primary(r: Rig, seen: str) -> None:
    """The DEKs of its snapshot are partly of the old epoch, and the pull says that all is done."""
    space, records = uuid4(), [uuid4(), uuid4()]
    await r.push(space, *((record, 0, b"one") for record in records))
    deks = [(2).to_bytes(4, "big") + bytes([fill]) * 40 for fill in range(2)]
    await r.pair.catch_up()
    if seen == "nothing":
        await r.pair.pause()
    await r.epochs.advance(space, 2, set_min=False)
    if seen == "rewrapped":
        await r.deks.rewrap(DekKind.RECORDS, space, records[:1], deks[:1])
    if seen != "nothing":
        await r.pair.catch_up()
        await r.pair.pause()
    await r.deks.rewrap(DekKind.RECORDS, space, records, deks)
    await r.epochs.complete(space, 2)
    assert sorted(row[4] or b"" for row in (await pulled(r.pulls, space))[1]) == deks
    assert r.replica.counts.refused["behind"] == 1


async def test_a_rewrap_after_the_rotation_is_read_at_once_though_nothing_tells_of_it(r: Rig) -> None:
    """A straggler: neither the cursor moves nor is a re-wrap pending; the row of the space was locked."""
    space, record = uuid4(), uuid4()
    await r.push(space, (record, 0, b"one"))
    await r.epochs.advance(space, 2, set_min=False)
    await r.epochs.complete(space, 2)
    await r.pair.catch_up()
    await r.pair.pause()
    dek = (2).to_bytes(4, "big") + bytes([7]) * 40
    assert await r.deks.rewrap(DekKind.RECORDS, space, [record], [dek]) is RewrapStatus.REWRAPPED
    [row] = (await pulled(r.pulls, space))[1]
    assert row[4] == dek
    assert sum(r.replica.counts.refused.values()) == 0, "the replica is not to blame"


async def test_a_space_that_was_deleted_and_made_anew_shows_nothing_of_the_former(r: Rig) -> None:
    space = await r.space(pushes=5)
    await r.pair.catch_up()
    await r.pair.pause()
    assert await purge_space(r.pool, space) is not None
    async with r.pulls.pull(space, 0) as pull:
        assert pull is None
    record = uuid4()
    await r.push(space, (record, 0, b"anew"))
    assert [row[2] for row in (await pulled(r.pulls, space))[1]] == [record]
    assert (await pulled(r.pulls, space, 5))[0].restarted


async def test_who_is_ahead_of_the_space_begins_again_at_the_primary(r: Rig) -> None:
    space = await r.space(pushes=2)
    await r.pair.catch_up()
    meta, rows = await pulled(r.pulls, space, 3)
    assert (meta.restarted, meta.cursor, len(rows)) == (True, 2, 2)
    assert sum(r.replica.counts.refused.values()) == 0


async def test_a_lock_of_a_writer_sends_to_the_primary_until_the_next_change_alone(r: Rig) -> None:
    space, record = uuid4(), uuid4()
    await r.push(space, (record, 0, b"one"))
    await write(r.lanes, make_push(space, (record, 0, b"conflict"), client="client"))
    await PostgresRevocationStore(r.pool).revoke(space, "cid")
    await r.pair.catch_up()
    r.forget()
    await pulled(r.pulls, space)
    assert r.at_primary.rows == ["pull_first"]
    await r.push(space, (record, 1, b"two"))
    await r.pair.catch_up()
    r.forget()
    await pulled(r.pulls, space)
    assert r.at_primary.rows == []


async def test_several_are_asked_in_turn(streaming: Streaming) -> None:
    async with rig(streaming.primary.url, [streaming.standby.url] * 3) as r:
        await r.pair.resume()
        await r.ready()
        space = await r.space()
        await r.pair.catch_up()
        before = [replica.counts.served for replica in r.replicas.all]
        for _ in range(12):
            await pulled(r.pulls, space)
        assert [replica.counts.served for replica in r.replicas.all] == [count + 4 for count in before]
        await r.pair.pause()
        await r.push(space, (uuid4(), 0, b"new"))
        r.forget()
        for _ in range(12):
            await pulled(r.pulls, space)
        assert len(r.at_standby.rows) == 3, "each is tried once"
        await r.pair.resume()
