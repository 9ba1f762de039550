"""`push` of a peer: who may, what it costs, and what the others hear."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

from less_sync.auth import Permission
from less_sync.federation.quotas import Usage
from less_sync.federation.settings import PeerQuotas
from less_sync.sync.access.authority import RootKeys
from less_sync.sync.protocol.frames import Response
from tests.federation.inbound.peer_client import (
    EDGE2,
    Home,
    Shared,
    change,
    entry,
    home_server,
    subscribe,
)
from tests.live import Client, cid_of

REVOKE: Final = "INSERT INTO revocations (space_id, ucan_cid) VALUES ($1, $2)"
OVER: Final = ("rate_limited", "record push quota exceeded")
QUOTAS: Final = PeerQuotas(records_per_hour=3, bytes_per_hour=100, connections=10)


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url, quotas=QUOTAS) as running:
        yield running


async def push(peer: Client, space: str, ucan: str, *changes: dict[str, object]) -> Any:
    return await peer.call("push", {"space": space, "ucan": ucan, "changes": list(changes)})


def spent(home: Home) -> tuple[int, int]:
    usage = home.usage()
    return usage.records_this_hour, usage.bytes_this_hour


async def test_a_push_is_written_and_everybody_else_hears_of_it_once(home: Home) -> None:
    shared = await home.share()
    author, same, other = await home.peer(), await home.peer(), await home.peer(EDGE2)
    for peer in (author, same, other):
        await subscribe(peer, entry(shared.id, ucan=shared.ucan()))
    member = await home.member(shared)
    one = change(b"blob", dek=bytes(44))
    assert await push(author, shared.id, shared.ucan(), one) == {"ok": True, "cursor": 1}
    record = {"id": one["id"], "blob": b"blob", "cursor": 1, "dek": bytes(44)}
    told = {"space": shared.id, "prev": 0, "cursor": 1, "key_generation": 1, "records": [record]}
    for listener in (same, other, member):
        assert [(notice.method, notice.params) for notice in await listener.heard()] == [("sync", told)]
    assert await author.heard() == []
    assert spent(home) == (1, 48)
    assert home.usage(EDGE2) == Usage(connections=1, spaces=1)


async def test_what_is_not_the_peer_s_to_write_costs_nothing(home: Home) -> None:
    shared, other, foreign = [await home.share() for _ in range(3)]
    await home.set_home(foreign.id, "elsewhere.test")
    alice = await home.live.connect()
    await alice.subscribe()
    peer = await home.peer()
    revoked = shared.ucan()
    now = int(home.live.services.now())
    await home.sql(REVOKE, shared.id, cid_of(revoked))
    cases = [
        ("no uuid", shared.ucan(), "bad_request"),
        (shared.id, "", "forbidden"),
        (shared.id, "garbage", "forbidden"),
        (shared.id, shared.ucan(Permission.READ), "forbidden"),
        (shared.id, other.ucan(), "forbidden"),
        (shared.id, shared.ucan(expires_at=now - 10), "forbidden"),
        (shared.id, revoked, "forbidden"),
        (str(uuid4()), shared.ucan(), "not_found"),
        (alice.space, shared.ucan(), "forbidden"),
        (foreign.id, foreign.ucan(), "forbidden"),
    ]
    for _ in range(2):  # the root keys are not known, and then they are
        for space, ucan, error in cases:
            assert await push(peer, space, ucan, change(b"12345")) == {"ok": False, "error": error}
        await push(peer, shared.id, shared.ucan())
    # A space whose root key was learnt may move away.
    await push(peer, other.id, other.ucan())
    await home.set_home(other.id, "elsewhere.test")
    assert await push(peer, other.id, other.ucan(), change()) == {"ok": False, "error": "forbidden"}
    assert spent(home) == (0, 0)


async def test_what_fails_otherwise_is_charged(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    first = change(b"12345")
    assert (await push(peer, shared.id, shared.ucan(), first))["ok"]
    assert await push(peer, shared.id, shared.ucan(), first) == {"ok": False, "error": "conflict"}
    bad = change(b"1") | {"id": "not a record id"}
    assert await push(peer, shared.id, shared.ucan(), bad) == {"ok": False, "error": "bad_request"}
    assert spent(home) == (3, 11)
    assert await push(peer, shared.id, shared.ucan()) == {"ok": True, "cursor": 1}
    assert spent(home) == (3, 11)


async def test_the_quota_is_an_error_of_the_request_and_the_connection_stays(home: Home) -> None:
    shared, peer, other = await home.share(), await home.peer(), await home.peer(EDGE2)
    ucan = shared.ucan()

    async def over(*changes: dict[str, object], ucan: str = ucan) -> tuple[str, str]:
        return await peer.error("push", {"space": shared.id, "ucan": ucan, "changes": list(changes)})

    # Bytes of blobs and of DEKs, exactly as many as there may be; a deletion has none.
    assert await over(change(bytes(57), dek=bytes(44))) == OVER
    assert (await push(peer, shared.id, ucan, change(bytes(56), dek=bytes(44))))["ok"]
    assert await over(change(b"1")) == OVER
    assert await over(*(change(None) for _ in range(3))) == OVER
    assert spent(home) == (1, 100)
    assert (await push(peer, shared.id, ucan, change(None), change(None)))["ok"]
    assert spent(home) == (3, 100)
    assert await over(change(None)) == OVER
    # Whoever may not write hears that, also beyond the quota.
    read_only = shared.ucan(Permission.READ)
    assert await push(peer, shared.id, read_only, change()) == {"ok": False, "error": "forbidden"}
    revoked = shared.ucan()
    await home.sql(REVOKE, shared.id, cid_of(revoked))
    assert await push(peer, shared.id, revoked, change()) == {"ok": False, "error": "forbidden"}
    assert (await push(other, shared.id, ucan, change()))["ok"]
    assert spent(home) == (3, 100)
    assert home.usage().connections == 1


async def test_an_hour_later_the_peer_may_write_again(database_url: str) -> None:
    now_s = [0.0]
    async with home_server(database_url, quotas=QUOTAS, clock=lambda: now_s[0]) as home:
        shared, peer = await home.share(), await home.peer()
        three = [change() for _ in range(3)]
        assert (await push(peer, shared.id, shared.ucan(), *three))["ok"]
        one_more = {"space": shared.id, "ucan": shared.ucan(), "changes": [change()]}
        assert await peer.error("push", one_more) == OVER
        now_s[0] = 3599.9
        assert await peer.error("push", one_more) == OVER
        now_s[0] = 3600.0
        assert (await peer.call("push", one_more))["ok"]


async def test_params_that_are_none_are_an_error_of_the_request(home: Home) -> None:
    peer = await home.peer()
    words = "invalid push params: changes: missing"
    assert await peer.error("push", {"space": "x"}) == ("invalid_params", words)


async def test_a_home_that_names_this_server_is_none(database_url: str) -> None:
    async with home_server(database_url, own_names=["home.test"]) as home:
        shared, peer = await home.share(), await home.peer()
        await home.set_home(shared.id, "home.test")
        for cursor in (1, 2, 3):  # the space is read first, and then its root key is known
            answer = await push(peer, shared.id, shared.ucan(), change(b"12345"))
            assert answer == {"ok": True, "cursor": cursor}
        assert spent(home) == (3, 15)
        await subscribe(peer, entry(shared.id, ucan=shared.ucan()))
        assert len(await peer.pull(space=shared.id, ucan=shared.ucan())) == 5
        await home.set_home(shared.id, "elsewhere.test")
        assert await push(peer, shared.id, shared.ucan(), change()) == {"ok": False, "error": "forbidden"}
        assert spent(home) == (3, 15)


async def test_a_fault_of_the_database_is_no_refusal(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    home.live.services.authority.root_keys = RootKeys()  # not known any more, so the row is read first
    await home.sql("ALTER TABLE spaces RENAME TO away")
    internal = {"ok": False, "error": "internal"}
    assert await push(peer, shared.id, shared.ucan(), change()) == internal
    assert spent(home) == (0, 0)
    await home.sql("ALTER TABLE away RENAME TO spaces")
    assert (await push(peer, shared.id, shared.ucan(), change()))["ok"]
    await home.sql("ALTER TABLE spaces RENAME TO away")
    assert await push(peer, shared.id, shared.ucan(), change()) == internal
    assert spent(home) == (2, 2)


async def locked(database_url: str, space: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection that keeps everybody from writing to a space until it is closed."""
    blocker = await asyncpg.connect(database_url)
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT 1 FROM spaces WHERE id = $1 FOR UPDATE", space)
    return blocker


async def test_pushes_that_hang_up_are_counted_as_they_end(home: Home, database_url: str) -> None:
    shared = await home.share()
    first = await home.peer()
    await push(first, shared.id, shared.ucan())
    revoked = shared.ucan()
    blocker = await locked(database_url, shared.id)
    for ucan in (shared.ucan(), revoked):
        peer = await home.peer()
        peer.send("push", {"space": shared.id, "ucan": ucan, "changes": [change(b"12345")]})
        async with asyncio.timeout(20):
            while spent(home)[0] < 1 + (ucan is revoked):  # noqa: ASYNC110  nothing to wait for but the state
                await asyncio.sleep(0.001)
        peer.socket.abort()
    await blocker.execute(REVOKE, shared.id, cid_of(revoked))
    await blocker.execute("COMMIT")
    await blocker.close()
    async with asyncio.timeout(20):
        while spent(home) != (1, 5) or home.usage().connections > 1:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.001)
    assert (await push(first, shared.id, shared.ucan())) == {"ok": True, "cursor": 1}


async def test_a_thousand_pushes_at_once_are_answered_in_order_and_counted_exactly(database_url: str) -> None:
    quotas = PeerQuotas(records_per_hour=500, connections=10)
    async with home_server(database_url, quotas=quotas) as home:
        spaces: list[Shared] = [await home.share() for _ in range(3)]
        peer = await home.peer()
        ids = []
        for number in range(1000):
            shared = spaces[number % 3]
            ucan = shared.ucan() if number % 2 else "garbage"
            ids.append(peer.send("push", {"space": shared.id, "ucan": ucan, "changes": [change()]}))
        answers = [await peer.next() for _ in ids]
        assert [answer.id for answer in answers if isinstance(answer, Response)] == ids
        written = [a for a in answers if isinstance(a, Response) and a.error is None]
        assert sum(dict(a.result)["ok"] for a in written) == 500  # type: ignore[call-overload]  # decoded CBOR
        assert spent(home) == (500, 500)
        assert (
            await peer.error("push", {"space": spaces[0].id, "ucan": spaces[0].ucan(), "changes": [change()]})
            == OVER
        )
