"""What a subscription over a link outlives, and what ends it."""

import pytest

from less_sync.auth import Permission
from tests.federation.proxy import CLOSE, Way
from tests.federation.rig import END_S, SECRET, Rig, Shared, change, dial, notice, rig, subscribed
from tests.integration.waiting import until
from tests.live import Client, Person, cid_of
from tests.wire.client import Closed

QUICK_INVITATIONS = {"LIMIT_INVITATION_DELAY_MIN_S": "0.01", "LIMIT_INVITATION_DELAY_MAX_S": "0.02"}


async def hears_the_home_again(r: Rig, client: Client, shared: Shared) -> None:
    """Check that a write at home reaches a client of the edge, once."""
    zero = Person("zero")
    at_home, ucan = await r.home.join(zero), shared.grant(zero)
    answer = await at_home.push(change(), space=shared.id, ucan=ucan)
    assert answer["ok"] is True
    assert (await notice(client))["cursor"] == answer["cursor"]
    await at_home.socket.hangup(END_S)


@pytest.mark.parametrize("remembered", [False, True])
async def test_a_new_secret_refuses_the_token_and_the_previous_one_saves_it(
    databases: list[str], remembered: bool
) -> None:
    async with rig(databases) as r:
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        c1 = await r.edge1.join(one)
        entry = {"id": shared.id, "since": 0, "ucan": shared.grant(one)}
        assert (await c1.call("subscribe", {"spaces": [entry]}))["spaces"]
        first = wire.frames(Way.DOWN, "result")[0].value["result"]["spaces"][0]["token"]
        await r.home.stop()
        previous = {"FEDERATION_FST_PREVIOUS_SECRET": f"{SECRET} of home"} if remembered else {}
        await r.start(r.home, FEDERATION_FST_SECRET=f"another {SECRET}", **previous)
        await r.home.until_counts(r.edge1, 1, 1)

        async def shown_again() -> bool:
            return len(wire.frames(Way.UP, "subscribe")) == 3

        await until(shown_again)
        asked = [frame.value["params"]["spaces"] for frame in wire.frames(Way.UP, "subscribe")[1:]]
        shown = [{"token": first}, {"ucan": entry["ucan"]}]
        assert asked == [[{"id": shared.id, "since": 0, **one}] for one in shown]
        refused = {"spaces": [], "errors": [{"space": shared.id, "error": "forbidden"}]}
        results = [frame.value.get("result") for frame in wire.frames(Way.DOWN)]
        assert (refused in results) is not remembered
        await hears_the_home_again(r, c1, shared)
        assert await c1.heard() == []


async def test_a_quota_that_is_used_up_refuses_a_push_and_nothing_else(databases: list[str]) -> None:
    scarce = {"home": {"FEDERATION_MAX_RECORDS_PER_HOUR": "1"}}
    async with rig(databases, settings=scarce) as r:
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        c1, ucan = await subscribed(r.edge1, one, shared), shared.grant(one)
        assert await c1.push(change(), space=shared.id, ucan=ucan) == {"ok": True, "cursor": 1}
        refused = await c1.push(change(), space=shared.id, ucan=ucan)
        assert refused == {"ok": False, "error": "rate_limited"}
        error = wire.frames(Way.DOWN, "error")[-1].value["error"]
        assert error == {"code": "rate_limited", "message": "record push quota exceeded"}
        assert len(wire.frames(Way.UP, "push")) == 2
        assert await r.home.counts(r.edge1) == (1, 1)
        await hears_the_home_again(r, c1, shared)
        assert len(wire.upgrades) == 1


async def test_an_invitation_crosses_to_the_server_of_whom_it_is_for(databases: list[str]) -> None:
    async with rig(databases, settings={"home": QUICK_INVITATIONS}) as r:
        mailbox = "ab" * 32
        c0, c1 = await r.home.connect("zero", mailbox_id=mailbox), await r.edge1.connect("one")
        await c0.subscribe()
        invitation = {"mailbox_id": mailbox, "payload": "come", "server": r.home.domain}
        sent = await c1.call("invitation.create", invitation)
        assert sent == {"id": "forwarded", "payload": "come", "created_at": "", "expires_at": ""}
        (asked,) = r.wire(r.edge1, r.home).frames(Way.UP)
        assert (asked.method, asked.value["params"]) == (
            "fed.invitation",
            {"mailbox_id": mailbox, "payload": "come"},
        )
        assert r.wire(r.edge1, r.home).frames(Way.DOWN)[-1].value["result"] == {"ok": True}
        assert await notice(c0, "invitation") == {}
        (kept,) = (await c0.call("invitation.list", {}))["invitations"]
        assert kept["payload"] == "come"
        assert (await r.home.status(r.edge1))["invitations_this_hour"] == 1
        stranger = await c1.error("invitation.create", {**invitation, "server": "stranger.test"})
        assert stranger == ("bad_request", "target server is not a trusted federation peer")


async def test_a_revocation_at_home_ends_one_users_subscription_at_the_edge(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        one, two = Person("one"), Person("two")
        owner = await r.home.join(shared.owner)
        own = shared.owner.grant(shared.owner, shared.id, Permission.ADMIN)
        bad = shared.grant(one)
        c1, c1b = await r.edge1.join(one), await subscribed(r.edge1, two, shared)
        await c1.subscribe(shared.id, ucan=bad)
        assert await r.home.counts(r.edge1) == (1, 1)
        revoke = {"space": shared.id, "ucan": own, "ucan_cid": cid_of(bad)}
        await owner.call("membership.revoke", revoke)
        for client in (c1, c1b):
            assert await notice(client, "revoked") == {"space": shared.id, "reason": "ucan_revoked"}
        # Each of the edge's users is presented to the home again; only the other one is let in.
        forbidden = {"space": shared.id, "error": "forbidden"}

        def judged() -> bool:
            results = [frame.value.get("result") or {} for frame in wire.frames(Way.DOWN, "result")]
            return forbidden in [error for result in results for error in result.get("errors", [])]

        await wire.until(judged)
        await r.home.until_counts(r.edge1, 1, 1)
        assert (await owner.push(change(), space=shared.id, ucan=own))["cursor"] == 1
        assert (await notice(c1b))["cursor"] == 1
        assert await c1.heard() == []
        assert await c1.pull(space=shared.id, ucan=bad) == []
        chained = one.grant(two, shared.id, proof=bad)
        for ucan, client in ((bad, c1), (chained, c1b)):
            answer = await client.push(change(), space=shared.id, ucan=ucan)
            assert answer == {"ok": False, "error": "forbidden"}
        assert (await c1b.push(change(), space=shared.id, ucan=shared.grant(two)))["cursor"] == 2


async def test_a_home_that_recycles_its_connections_is_not_noticed(databases: list[str]) -> None:
    async with rig(databases) as r:
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        c1 = await subscribed(r.edge1, one, shared)
        wire.inject(Way.DOWN, (4001).to_bytes(2, "big") + b"connection timeout", opcode=CLOSE)
        await wire.until(lambda: len(wire.frames(Way.UP, "subscribe")) > 1)
        await r.home.until_counts(r.edge1, 1, 1)
        assert len(wire.upgrades) == 2
        await hears_the_home_again(r, c1, shared)
        assert await c1.heard() == []


async def test_a_home_closes_an_old_connection_of_a_peer_with_4001(databases: list[str]) -> None:
    short = {"home": {"LIMIT_LIFETIME_S": "0.5"}}
    async with rig(databases, started=("home",), settings=short) as r:
        peer = await dial(r.edge1, r.home)
        assert await peer.closed() == Closed(4001, "connection timeout")
        await r.home.until_counts(r.edge1, 0, 0)
