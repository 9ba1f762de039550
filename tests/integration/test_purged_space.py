"""What clients of a running server see of a space that an operator deletes (docs/operations.md 15.3)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from less_sync.storage import PostgresPool, purge_space
from tests.live import Client, Person, live_server
from tests.storage.rows import DEK


def change(blob: bytes, expected: int = 0) -> dict[str, object]:
    return {"id": str(uuid4()), "expected_cursor": expected, "blob": blob, "dek": DEK}


async def purged(url: str, space: str) -> None:
    pool = await PostgresPool.open(url)
    try:
        assert await purge_space(pool, UUID(space)) is not None
    finally:
        await pool.aclose(5)


async def result(client: Client, method: str, params: Mapping[str, object]) -> object:
    response, _ = await client.response(client.send(method, params))
    assert response.error is None
    return response.result


async def test_a_shared_space_is_gone_for_its_members(database_url: str) -> None:
    async with live_server(database_url) as live:
        owner = Person("alice")
        client = await live.join(owner)
        space = await client.create_space(owner)
        ucan = owner.grant(owner, space)
        named = {"id": space, "since": 0, "ucan": ucan}
        await client.push(change(b"x"), space=space, ucan=ucan)
        await purged(database_url, space)
        push = {"space": space, "ucan": ucan, "changes": [change(b"y")]}
        assert await result(client, "push", push) == {"ok": False, "error": "not_found"}
        assert await client.pull(space=space, ucan=ucan) == []
        refused = {"spaces": [], "errors": [{"space": space, "error": "forbidden"}]}
        assert await result(client, "subscribe", {"spaces": [named]}) == refused


async def test_whoever_creates_a_deleted_space_anew_has_it_for_himself(database_url: str) -> None:
    async with live_server(database_url) as live:
        alice, bob = Person("alice"), Person("bob")
        member, owner = await live.join(alice), await live.join(bob)
        space = await member.create_space(alice)
        ucan = alice.grant(alice, space)
        await member.call("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        await member.push(change(b"x"), space=space, ucan=ucan)
        await purged(database_url, space)
        await owner.call("space.create", {"id": space, "root_public_key": bob.root_key})
        await owner.push(change(b"y"), space=space, ucan=bob.grant(bob, space))
        assert await member.heard() == []
        push = {"space": space, "ucan": ucan, "changes": [change(b"z")]}
        assert await result(member, "push", push) == {"ok": False, "error": "forbidden"}
        assert len(await owner.pull(space=space, ucan=bob.grant(bob, space))) == 3


async def test_a_personal_space_begins_anew_and_is_served_whole(database_url: str) -> None:
    async with live_server(database_url) as live:
        alice, phone = await live.connect(), await live.connect()
        await phone.subscribe()
        for _ in range(3):
            await alice.push(change(b"x"))
        await purged(database_url, alice.space)
        assert await alice.push(change(b"y")) == {"ok": True, "cursor": 1}
        told: list[Any] = [await phone.next() for _ in range(4)]
        first = [(one.params["prev"], one.params["cursor"]) for one in told[:3]]
        assert first == [(0, 1), (1, 2), (2, 3)]
        # Another node looks at the database within seconds, and has its clients subscribe anew.
        assert told[3].method == "resubscribe" or (told[3].params["prev"], told[3].params["cursor"]) == (0, 1)
        begin, record, _ = await phone.pull(since=3)
        assert (begin[1]["cursor"], record[1]["blob"]) == (1, b"y")
