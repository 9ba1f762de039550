"""Edges of a real home: what clients see when the wire between the servers is slow, cut, or full."""

import asyncio

from less_sync.auth import Permission
from tests.federation.proxy import Way
from tests.federation.rig import Node, Shared, change, notice, rig, subscribed
from tests.integration.waiting import until
from tests.live import Client, Person, cid_of

BLOB = bytes(64 * 1024)


async def stored(home: Node, shared: Shared) -> tuple[int, set[str]]:
    """The cursor of a space at its home, and the ids of its records."""
    [space] = await home.sql("SELECT cursor FROM spaces WHERE id = $1", shared.id)
    rows = await home.sql("SELECT id::text FROM records WHERE space_id = $1", shared.id)
    return space["cursor"], {row["id"] for row in rows}


async def pushed(client: Client, shared: Shared, ucan: str, count: int) -> dict[str, int]:
    """Push new records one by one, each until it is written; the cursors of those that were told one."""
    cursors = {}
    for _ in range(count):
        one = change()
        while True:
            answer = await client.push(one, space=shared.id, ucan=ucan)
            if answer["ok"]:
                cursors[one["id"]] = answer["cursor"]
            if (
                answer["ok"] or answer["error"] == "conflict"
            ):  # an earlier one, whose answer was lost, was written
                break
            assert answer["error"] == "internal"
            await asyncio.sleep(0.02)
    return cursors


async def test_an_edit_at_either_end_reaches_the_clients_at_the_other(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared = await r.share(r.home, r.edge1)
        at_home = await subscribed(r.home, Person("zero"), shared)
        bob = Person("bob")
        at_edge = await subscribed(r.edge1, bob, shared)
        beside = await subscribed(r.edge1, Person("carol"), shared)
        assert (await at_edge.push(change(), space=shared.id, ucan=shared.grant(bob)))["cursor"] == 1
        heard = [await notice(one) for one in (at_home, beside)]
        assert [(one["prev"], one["cursor"], len(one["records"])) for one in heard] == [(0, 1, 1)] * 2
        owner = await r.home.join(shared.owner)
        assert (await owner.push(change(), space=shared.id, ucan=shared.grant(shared.owner)))["cursor"] == 2
        heard = [await notice(one) for one in (at_home, beside, at_edge)]
        assert [(one["prev"], one["cursor"]) for one in heard] == [(1, 2)] * 3
        assert len(await at_edge.pull(0, shared.id, shared.grant(bob))) == 4


async def test_no_acknowledged_push_is_lost_while_the_wire_is_cut_again_and_again(
    databases: list[str],
) -> None:
    async with rig(databases) as r:
        shared = await r.share(r.home, r.edge1)
        listener = await subscribed(r.edge1, Person("carol"), shared)
        people = [Person("bob"), Person("dan")]
        clients = [await r.edge1.join(person) for person in people]
        wire = r.wire(r.edge1, r.home)

        async def cut() -> None:
            for _ in range(4):
                await asyncio.sleep(0.2)
                wire.cut()

        cutting = asyncio.create_task(cut())
        answers = await asyncio.gather(
            *(
                pushed(client, shared, shared.grant(person), 100)
                for client, person in zip(clients, people, strict=True)
            )
        )
        await cutting
        told = {id: cursor for one in answers for id, cursor in one.items()}
        cursor, ids = await stored(r.home, shared)
        assert told.keys() <= ids
        assert len(ids) == 200
        assert cursor == 200  # nothing was applied twice
        assert len(set(told.values())) == len(told)
        owner = await r.home.join(shared.owner)
        await owner.push(change(), space=shared.id, ucan=shared.grant(shared.owner))
        while (await notice(listener))["cursor"] < cursor + 1:
            pass


async def test_a_slow_home_does_not_hold_up_spaces_of_this_server(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared = await r.share(r.home, r.edge1)
        bob = Person("bob")
        client = await subscribed(r.edge1, bob, shared)
        wire = r.wire(r.edge1, r.home)
        wire.stop_reading(Way.UP)
        for _ in range(100):
            client.send("push", {"space": shared.id, "ucan": shared.grant(bob), "changes": [change()]})
        other = await r.edge1.join(Person("carol"))
        await other.subscribe()
        for number in range(50):
            assert (await other.push(change()))["cursor"] == number + 1
        wire.mend()
        for number in range(2, 102):
            response, _ = await client.response(f"r{number}")
            assert isinstance(response.result, dict)
            assert response.result["ok"]


async def test_a_pull_holds_the_home_back_while_its_client_does_not_read(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared = await r.share(r.home, r.edge1)
        owner = await r.home.join(shared.owner)
        for _ in range(10):
            changes = [change(BLOB) for _ in range(40)]
            await owner.push(*changes, space=shared.id, ucan=shared.grant(shared.owner))
        bob = Person("bob")
        client = await r.edge1.join(bob)
        client.socket.stop_reading()
        entry = {"id": shared.id, "since": 0, "ucan": shared.grant(bob)}
        id = client.send("pull", {"spaces": [entry]})
        other = await r.edge1.join(Person("carol"))
        assert (await other.push(change()))["ok"]
        await asyncio.sleep(1)
        client.socket.resume_reading()
        response, chunks = await client.response(id)
        assert response.result == {"_chunks": 402}
        assert len(chunks) == 402


async def test_a_revocation_at_home_ends_what_one_user_hears_and_not_the_other(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared = await r.share(r.home, r.edge1)
        bob, carol = Person("bob"), Person("carol")
        grants = [shared.grant(bob), shared.grant(carol)]
        clients = [await r.edge1.join(person) for person in (bob, carol)]
        for client, ucan in zip(clients, grants, strict=True):
            await client.subscribe(shared.id, ucan=ucan)
        owner = await r.home.join(shared.owner)
        admin = shared.owner.grant(shared.owner, shared.id, Permission.ADMIN)
        params = {"space": shared.id, "ucan": admin, "ucan_cid": cid_of(grants[0])}
        await owner.call("membership.revoke", params)
        for client in clients:
            assert (await notice(client, "revoked"))["reason"] == "ucan_revoked"

        async def ended() -> bool:
            answer = await clients[0].subscribe(shared.id, ucan=grants[0])
            return bool(answer.get("errors"))

        await until(ended)
        await owner.push(change(), space=shared.id, ucan=shared.grant(shared.owner))
        assert (await notice(clients[1]))["cursor"] >= 1
        assert await clients[0].heard() == []
        assert await clients[0].pull(0, shared.id, grants[0]) == []
        refused = await clients[0].push(change(), space=shared.id, ucan=grants[0])
        assert refused == {"ok": False, "error": "forbidden"}
