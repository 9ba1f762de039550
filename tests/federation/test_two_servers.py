"""Two servers, one of them the home of a space that clients of both use: every frame between them."""

from less_sync.auth import Permission
from tests.federation.proxy import Way
from tests.federation.rig import BOTH_NAMES, PEER_PATH, change, notice, rig, subscribed
from tests.live import Person


async def test_an_edge_signs_its_upgrade_and_offers_both_names(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        assert await r.home.counts(r.edge1) == (0, 0)
        await subscribed(r.edge1, Person("one"), shared)
        (upgrade,) = wire.upgrades
        assert upgrade.request.startswith(f"GET {PEER_PATH} HTTP/1.1\r\n")
        assert upgrade.status == 101
        assert upgrade.header("host") == f"127.0.0.1:{wire.port}"
        assert upgrade.header("sec-websocket-protocol") == BOTH_NAMES
        assert upgrade.header("sec-websocket-protocol", of_answer=True) == "betterbase-rpc-v1"
        assert f'keyid="{r.edge1.kid}"' in upgrade.header("signature-input")
        assert await r.home.counts(r.edge1) == (1, 1)
        health = (await r.home.get("/health")).json()
        assert health["federation"] == {"enabled": True, "peer_count": 1, "connections": 1}


async def test_a_write_at_an_edge_goes_home_and_everybody_hears_of_it_once(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        one, two = Person("one"), Person("two")
        at_home = await subscribed(r.home, Person("zero"), shared)

        # Subscribing: the home decides, and its token stays between the servers.
        c1 = await r.edge1.join(one)
        reader = shared.grant(one, Permission.READ)
        entry = {"id": shared.id, "since": 0, "ucan": reader}
        answer = await c1.call("subscribe", {"spaces": [entry]})
        assert answer == {"spaces": [{"id": shared.id, "cursor": 0, "key_generation": 1}]}
        (asked,) = wire.frames(Way.UP)
        assert asked.value == {"type": 0, "id": "fed-1", "method": "subscribe", "params": {"spaces": [entry]}}
        (told,) = wire.frames(Way.DOWN)
        (space,) = told.value["result"]["spaces"]
        assert told.id == "fed-1"
        assert space.pop("token")
        assert space == {"id": shared.id, "cursor": 0, "key_generation": 1}
        assert await r.home.counts(r.edge1) == (1, 1)
        c1b = await subscribed(r.edge1, two, shared)
        assert await r.home.counts(r.edge1) == (1, 1)

        # Writing: the home stores and tells its own; the edge tells its own.
        written = change(b"blob", dek=b"wrapped")
        push = {"space": shared.id, "ucan": shared.grant(one), "changes": [written]}
        before = len(wire.frames(Way.DOWN))
        assert await c1.call("push", push) == {"ok": True, "cursor": 1}
        assert wire.frames(Way.UP)[-1].value["params"] == push
        expected = {
            "space": shared.id,
            "prev": 0,
            "cursor": 1,
            "key_generation": 0,
            "records": [{"id": written["id"], "blob": b"blob", "cursor": 1, "dek": b"wrapped"}],
        }
        # An edge is not told of which generation a write is.
        assert await notice(at_home) == {**expected, "key_generation": 1}
        assert await notice(c1b) == expected
        assert await c1.heard() == []
        # The home answered and said nothing else to the edge.
        assert wire.kinds(Way.DOWN)[before:] == ["result"]
        (row,) = await r.edge1.sql("SELECT cursor FROM spaces WHERE id = $1", shared.id)
        assert row["cursor"] == 0
        assert await r.edge1.sql("SELECT FROM records") == []
        status = await r.home.status(r.edge1)
        assert (status["records_this_hour"], status["bytes_this_hour"]) == (1, len(b"blob" + b"wrapped"))


async def test_a_write_at_home_reaches_all_clients_of_an_edge_over_one_frame(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        zero = Person("zero")
        at_home = await subscribed(r.home, zero, shared)
        clients = [await subscribed(r.edge1, Person(f"one{n}"), shared) for n in range(2)]
        assert (await at_home.push(change(), space=shared.id, ucan=shared.grant(zero)))["cursor"] == 1
        heard = [await notice(client) for client in clients]
        assert heard[0] == heard[1] == wire.frames(Way.DOWN, "sync")[0].value["params"]
        assert (heard[0]["prev"], heard[0]["cursor"]) == (0, 1)
        assert wire.kinds(Way.DOWN).count("sync") == 1
        assert await at_home.heard() == []


async def test_a_pull_is_answered_by_the_home_and_a_conflict_is_its_word(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        one = Person("one")
        c1, ucan = await subscribed(r.edge1, one, shared), shared.grant(one)
        first, second = change(b"1"), change(b"2")
        for written in (first, second):
            assert (await c1.push(written, space=shared.id, ucan=ucan))["ok"] is True
        begin, *records, commit = await c1.pull(space=shared.id, ucan=ucan)
        assert begin == (
            "pull.begin",
            {"space": shared.id, "prev": 0, "cursor": 2, "key_generation": 1},
        )
        assert [(name, data["id"], data["blob"]) for name, data in records] == [
            ("pull.record", first["id"], b"1"),
            ("pull.record", second["id"], b"2"),
        ]
        assert commit == ("pull.commit", {"space": shared.id, "prev": 0, "cursor": 2, "count": 2})
        asked = wire.frames(Way.UP, "pull")[0]
        assert asked.value["params"] == {"spaces": [{"id": shared.id, "since": 0, "ucan": ucan}]}
        told = [one for one in wire.frames(Way.DOWN) if one.id == asked.id]
        assert [(one.kind, one.value.get("data")) for one in told[:-1]] == [begin, *records, commit]
        assert told[-1].value["result"] == {"_chunks": 4}
        assert await c1.push(change(b"3", id=first["id"]), space=shared.id, ucan=ucan) == {
            "ok": False,
            "error": "conflict",
        }
        assert wire.frames(Way.DOWN)[-1].value["result"] == {"ok": False, "error": "conflict"}


async def test_a_link_that_was_cut_restores_itself_and_says_that_something_was_missed(
    databases: list[str],
) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        zero, one = Person("zero"), Person("one")
        at_home, c1 = await subscribed(r.home, zero, shared), await subscribed(r.edge1, one, shared)
        own, reader = shared.grant(zero), shared.grant(one)
        assert (await at_home.push(change(), space=shared.id, ucan=own))["cursor"] == 1
        assert (await notice(c1))["cursor"] == 1
        token = wire.frames(Way.DOWN, "result")[0].value["result"]["spaces"][0]["token"]

        wire.target = None
        wire.cut()
        await r.home.until_counts(r.edge1, 0, 0)
        assert (await at_home.push(change(), space=shared.id, ucan=own))["cursor"] == 2
        r.lead_to(r.home)
        catch_up = await notice(c1)
        assert catch_up == {
            "space": shared.id,
            "prev": -1,
            "cursor": 2,
            "key_generation": 1,
            "records": [],
        }
        restored = wire.frames(Way.UP, "subscribe")[1]
        assert restored.value["params"] == {"spaces": [{"id": shared.id, "since": 0, "token": token}]}
        heads = [upgrade for upgrade in wire.upgrades if upgrade.status == 101]
        assert len(heads) == 2
        assert await r.home.counts(r.edge1) == (1, 1)

        assert len(await c1.pull(1, space=shared.id, ucan=reader)) == 3
        assert (await at_home.push(change(), space=shared.id, ucan=own))["cursor"] == 3
        assert (await notice(c1))["prev"] == 2
