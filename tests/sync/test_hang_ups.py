"""Clients that hang up the moment they have asked: what was committed is announced all the same."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from less_sync.auth import Permission
from less_sync.sync.limits import Limits
from tests.live import Client, Live, Person, cid_of, live_server
from tests.sync.session.test_session import change

MANY = Limits(
    connections_per_mailbox=1000,
    membership_appends_per_window=10_000,
    invitations_per_window=10_000,
    invitation_delay_min_s=0.0,
    invitation_delay_max_s=0.01,
)
DELAYS_S = [step * 0.0004 for step in range(18)]
"""How long after asking the connection is dropped: before, within and after the statement."""


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, MANY) as running:
        yield running


async def drop_after(client: Client, delay_s: float) -> None:
    """Drop TCP without a close frame."""
    await asyncio.sleep(delay_s)
    client.socket.abort()


async def written(live: Live) -> None:
    """Return when every request that writes has come to its end, and its session too."""
    async with asyncio.timeout(20):
        while live.services.announce.writes_under_way:  # noqa: ASYNC110  nothing to wait for but the state
            await asyncio.sleep(0.001)


async def rows(database_url: str, query: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        count: int = await connection.fetchval(query)
        return count
    finally:
        await connection.close()


async def test_a_revoked_member_hears_nothing_more_although_the_admin_hung_up(live: Live) -> None:
    alice, bob = Person("alice"), Person("bob")
    owner, member = await live.join(alice), await live.join(bob)
    revoked = 0
    for delay_s in DELAYS_S:
        space = await owner.create_space(alice)
        hers, his = alice.grant(alice, space, Permission.ADMIN), alice.grant(bob, space)
        await member.subscribe(space, ucan=his)
        admin = await live.join(alice)
        admin.send("membership.revoke", {"space": space, "ucan_cid": cid_of(his), "ucan": hers})
        await drop_after(admin, delay_s)
        await written(live)
        pushed = await member.push(change(), space=space, ucan=his)
        await member.heard()
        await owner.push(change(), space=space, ucan=hers)
        heard = await member.methods_heard()
        # Either the request never arrived, and nothing has changed; or it did, and then all of it has.
        assert heard == (["sync"] if pushed["ok"] else [])
        revoked += not pushed["ok"]
    assert revoked > 0


def entry(client: Client, number: int, prev: bytes | None) -> dict[str, Any]:
    payload = b"member %d" % number
    link = {} if prev is None else {"prev_hash": prev}
    hashed = {"entry_hash": sha256(payload).digest(), "payload": payload}
    return {"space": client.space, "expected_version": number, **link, **hashed}


async def test_members_hear_of_every_entry_that_was_written_although_its_author_hung_up(live: Live) -> None:
    listener = await live.connect()
    await listener.subscribe()
    number, prev = 0, None
    for delay_s in DELAYS_S:
        author = await live.connect()
        params = entry(author, number, prev)
        author.send("membership.append", params)
        await drop_after(author, delay_s)
        await written(live)
        log = await listener.call("membership.list", {"space": listener.space})
        heard = await listener.methods_heard()
        is_written = log["metadata_version"] > number
        assert heard == (["membership"] if is_written else [])
        if is_written:
            number, prev = number + 1, params["entry_hash"]
    assert number > 0


async def test_rows_of_invitations_and_of_rate_slots_rise_together(live: Live, database_url: str) -> None:
    for delay_s in DELAYS_S:
        sender = await live.connect()
        sender.send("invitation.create", {"mailbox_id": "ab" * 32, "payload": "hello"})
        await drop_after(sender, delay_s)
    await written(live)
    invitations = await rows(database_url, "SELECT count(*) FROM invitations")
    slots = await rows(database_url, "SELECT count(*) FROM rate_limit_actions")
    assert 0 < invitations == slots


async def test_the_place_of_a_session_stays_taken_while_it_still_writes(database_url: str) -> None:
    async with live_server(database_url, Limits(connections_per_mailbox=1)) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await asyncpg.connect(database_url)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT 1 FROM spaces FOR UPDATE")
        client.send("membership.append", entry(client, 0, None))
        while not live.services.announce.writes_under_way:  # noqa: ASYNC110  nothing to wait for but the state
            await asyncio.sleep(0.001)
        client.socket.abort()
        while len(live.services.sessions):  # noqa: ASYNC110  as above
            await asyncio.sleep(0.001)
        refused = await live.connect()
        assert (await refused.closed()).code == 4003
        await transaction.rollback()
        await blocker.close()
        await written(live)
        again = await live.connect()
        assert (await again.call("membership.list", {"space": again.space}))["metadata_version"] == 1
