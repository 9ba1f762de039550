"""Three servers: who hears what, and that nothing goes round in circles."""

from less_sync.sync.protocol.frames import encode_notification
from tests.federation.proxy import Way
from tests.federation.rig import Rig, change, dial, notice, rig, subscribed
from tests.live import Person

ALTERNATING = 100
ONE_AN_HOUR = {"home": {"FEDERATION_MAX_RECORDS_PER_HOUR": "1"}}


async def test_a_write_reaches_every_subscriber_of_three_servers_exactly_once(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1", "edge2") as r:
        shared = await r.share(r.home, r.edge1, r.edge2)
        people = {name: Person(name) for name in ("zero", "one", "one b", "two")}
        nodes = {"zero": r.home, "one": r.edge1, "one b": r.edge1, "two": r.edge2}
        clients = {name: await subscribed(nodes[name], people[name], shared) for name in people}
        assert await r.home.counts(r.edge1) == await r.home.counts(r.edge2) == (1, 1)
        for cursor, name in enumerate(("one", "two", "zero"), 1):
            ucan = shared.grant(people[name])
            assert (await clients[name].push(change(), space=shared.id, ucan=ucan))["cursor"] == cursor
            for other in clients.keys() - {name}:
                told = await notice(clients[other])
                assert (told["prev"], told["cursor"]) == (cursor - 1, cursor)
        # Each link has said what its edge's clients did not write, and nothing else is on its way.
        for name, client in clients.items():
            stale = change(expected_cursor=9)
            answer = await client.push(stale, space=shared.id, ucan=shared.grant(people[name]))
            assert answer == {"ok": False, "error": "conflict"}
            assert await client.heard() == []
        assert wire_syncs(r, "edge1") == [2, 3]
        assert wire_syncs(r, "edge2") == [1, 3]


def wire_syncs(r: Rig, edge: str) -> list[int]:
    """The cursors that the home has announced to an edge, in order."""
    frames = r.wires[edge, "home"].frames(Way.DOWN, "sync")
    return [frame.value["params"]["cursor"] for frame in frames]


async def test_an_edge_is_nobodys_home(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1", "edge2") as r:
        shared = await r.share(r.home, r.edge1)
        one, two = Person("one"), Person("two")
        await subscribed(r.edge1, one, shared)
        await r.edge2.cast_shadow(shared.id, shared.owner, r.edge1.domain)
        before = len(r.wire(r.edge1, r.home).frames(Way.UP))
        c2, ucan = await r.edge2.join(two), shared.grant(two)
        entry = {"id": shared.id, "since": 0, "ucan": ucan}
        refused = {"spaces": [], "errors": [{"space": shared.id, "error": "forbidden"}]}
        assert await c2.call("subscribe", {"spaces": [entry]}) == refused
        assert await c2.push(change(), space=shared.id, ucan=ucan) == {"ok": False, "error": "forbidden"}
        assert await c2.pull(space=shared.id, ucan=ucan) == []
        between = r.wire(r.edge2, r.edge1)
        assert sorted(between.kinds(Way.UP)) == ["pull", "push", "subscribe"]
        assert between.frames(Way.DOWN)[0].value["result"] == refused
        assert len(r.wire(r.edge1, r.home).frames(Way.UP)) == before


async def test_two_homes_of_each_other_do_not_echo(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1") as r:
        one, two = Person("one"), Person("two")
        owner = Person("owner")
        there, here = await r.share(r.home, r.edge1), await r.share(r.edge1, r.home, owner=owner)
        at_home, at_edge = await subscribed(r.home, one, there), await subscribed(r.edge1, two, there)
        entry = [{"id": here.id, "since": 0, "ucan": here.grant(person)} for person in (one, two)]
        for client, mine in zip((at_home, at_edge), entry, strict=True):
            assert (await client.call("subscribe", {"spaces": [mine]}))["spaces"]
        for number in range(ALTERNATING):
            space = (there, here)[number % 2]
            writer, hearer = (at_home, at_edge) if number % 4 < 2 else (at_edge, at_home)
            ucan = space.grant(one if writer is at_home else two)
            assert (await writer.push(change(), space=space.id, ucan=ucan))["ok"] is True
            told = await notice(hearer)
            assert (told["space"], told["cursor"]) == (space.id, number // 2 + 1)
        assert await at_home.heard() == await at_edge.heard() == []
        relayed = [
            len(r.wire(*ends).frames(way, "sync"))
            for ends in ((r.edge1, r.home), (r.home, r.edge1))
            for way in (Way.DOWN, Way.UP)
        ]
        # A push through an edge is announced there by the edge itself: half of all cross a wire as news.
        assert relayed == [ALTERNATING // 4, 0, ALTERNATING // 4, 0]


async def test_a_peer_cannot_put_words_into_a_homes_mouth(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1", "edge2", started=("home", "edge1")) as r:
        shared, zero, one = await r.share(r.home, r.edge1), Person("zero"), Person("one")
        at_home, at_edge = await subscribed(r.home, zero, shared), await subscribed(r.edge1, one, shared)
        record = {"id": change()["id"], "blob": b"forged", "cursor": 10}
        forged: dict[str, dict[str, object]] = {
            "sync": {"space": shared.id, "prev": 9, "cursor": 10, "key_generation": 0, "records": [record]},
            "membership": {"space": shared.id, "cursor": 10, "entries": []},
            "file": {"space": shared.id, "cursor": 10, "files": []},
            "revoked": {"space": shared.id, "reason": "ucan_revoked"},
        }
        liar = await dial(r.edge2, r.home)
        assert (await liar.subscribe(shared.id, ucan=shared.grant(one)))["spaces"]
        for method, params in forged.items():
            liar.notify(method, params)
        # They came before a request on the same connection that has been answered.
        assert await liar.heard() == []
        assert await at_home.heard() == []

        # A home speaks only of what was asked of it.
        other = await r.share(r.home)
        await r.edge1.cast_shadow(other.id, other.owner, r.home.domain)
        for method, params in forged.items():
            r.wire(r.edge1, r.home).inject(
                Way.DOWN, encode_notification(method, params | {"space": other.id})
            )
        push = await at_edge.push(change(), space=shared.id, ucan=shared.grant(one))
        assert push == {"ok": True, "cursor": 1}
        assert await at_edge.heard() == []
        assert (await notice(at_home))["cursor"] == 1


async def test_a_token_is_good_for_the_peer_that_got_it_and_quotas_are_each_peers_own(
    databases: list[str],
) -> None:
    async with rig(databases, "home", "edge1", "edge2", started=("home",), settings=ONE_AN_HOUR) as r:
        shared, one = await r.share(r.home), Person("one")
        peers = [await dial(edge, r.home) for edge in (r.edge1, r.edge2)]
        entry = {"id": shared.id, "since": 0}
        ucan = shared.grant(one)
        granted = await peers[0].call("subscribe", {"spaces": [entry | {"ucan": ucan}]})
        token = granted["spaces"][0]["token"]
        stolen = await peers[1].call("subscribe", {"spaces": [entry | {"token": token}]})
        assert stolen == {"spaces": [], "errors": [{"space": shared.id, "error": "forbidden"}]}
        assert (await peers[0].call("subscribe", {"spaces": [entry | {"token": token}]}))["spaces"]
        for cursor, peer in enumerate(peers, 1):
            assert await peer.push(change(), space=shared.id, ucan=ucan) == {"ok": True, "cursor": cursor}
            again = {"space": shared.id, "ucan": ucan, "changes": [change()]}
            assert await peer.error("push", again) == ("rate_limited", "record push quota exceeded")
        assert [(await r.home.status(edge))["records_this_hour"] for edge in (r.edge1, r.edge2)] == [1, 1]
