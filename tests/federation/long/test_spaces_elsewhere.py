"""What a client of an edge may do in a space of another server, and what it is told about the rest."""

import hashlib

import pytest

from less_sync.auth import Permission
from tests.federation.proxy import Way
from tests.federation.rig import change, rig, subscribed
from tests.live import Person

ELSEWHERE = "space is hosted on another server"


def hash_of(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


async def test_what_is_not_carried_to_a_home_is_refused_and_leaves_no_trace(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared, one = await r.share(r.home, r.edge1), Person("one")
        c1, admin = await subscribed(r.edge1, one, shared), shared.grant(one, Permission.ADMIN)
        base = {"space": shared.id, "ucan": admin}
        writes: dict[str, dict[str, object]] = {
            "membership.append": {"expected_version": 0, "entry_hash": hash_of(b"p"), "payload": b"p"},
            "membership.revoke": {"ucan_cid": "ab" * 32},
            "epoch.begin": {"epoch": 2},
            "epoch.complete": {"epoch": 2},
            "deks.rewrap": {"deks": []},
            "file.deks.rewrap": {"deks": []},
        }
        before = len(r.wire(r.edge1, r.home).frames(Way.UP))
        told = {method: await c1.error(method, base | more) for method, more in writes.items()}
        assert told == dict.fromkeys(writes, ("bad_request", ELSEWHERE))
        assert r.wire(r.edge1, r.home).kinds(Way.UP)[before:] == []
        (row,) = await r.edge1.sql("SELECT cursor, key_generation, metadata_version FROM spaces")
        assert tuple(row) == (0, 1, 0)


async def test_the_list_of_members_is_the_homes(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared, one = await r.share(r.home, r.edge1), Person("one")
        owner = await r.home.join(shared.owner)
        own = shared.owner.grant(shared.owner, shared.id, Permission.ADMIN)
        append = {
            "space": shared.id,
            "ucan": own,
            "expected_version": 0,
            "entry_hash": hash_of(b"member"),
            "payload": b"member",
        }
        await owner.call("membership.append", append)
        c1, ucan = await r.edge1.join(one), shared.grant(one)
        asked = {"space": shared.id, "ucan": ucan}
        at_home = await (await r.home.join(one)).call("membership.list", asked)
        assert [entry["payload"] for entry in at_home["entries"]] == [b"member"]
        at_edge = await c1.call("membership.list", asked)
        assert at_edge["metadata_version"] == at_home["metadata_version"]
        assert [entry["entry_hash"] for entry in at_edge["entries"]] == [hash_of(b"member")]
        assert (await c1.call("membership.list", {**asked, "since_seq": 1}))["entries"] == []


async def test_an_edge_that_lost_its_key_says_internal_and_never_serves_the_shadow(
    databases: list[str],
) -> None:
    async with rig(databases, started=("home",)) as r:
        await r.edge1.sql("DELETE FROM federation_signing_keys")
        await r.start(r.edge1)
        shared, one = await r.share(r.home, r.edge1), Person("one")
        c1, ucan = await r.edge1.join(one), shared.grant(one)
        refused = {"spaces": [], "errors": [{"space": shared.id, "error": "internal"}]}
        assert await c1.subscribe(shared.id, ucan=ucan) == refused
        assert await c1.push(change(), space=shared.id, ucan=ucan) == {"ok": False, "error": "internal"}
        assert await c1.pull(space=shared.id, ucan=ucan) == []
        assert r.wire(r.edge1, r.home).upgrades == []
        assert await r.edge1.sql("SELECT FROM records") == []


async def test_a_home_that_is_not_trusted_is_not_dialled(databases: list[str]) -> None:
    async with rig(databases) as r:
        shared, one = await r.share(r.home), Person("one")
        stranger = r.wire(r.home, r.edge1)  # any address at which somebody would answer
        await r.edge1.cast_shadow(shared.id, shared.owner, f"http://{stranger.host}:{stranger.port}")
        c1, ucan = await r.edge1.join(one), shared.grant(one)
        refused = {"spaces": [], "errors": [{"space": shared.id, "error": "internal"}]}
        assert await c1.subscribe(shared.id, ucan=ucan) == refused
        assert await c1.push(change(), space=shared.id, ucan=ucan) == {"ok": False, "error": "internal"}
        assert stranger.upgrades == []


@pytest.mark.parametrize("kind", ["domain", "url"])
async def test_a_home_is_noted_by_its_name_or_by_an_address_that_an_operator_wrote(
    databases: list[str], kind: str
) -> None:
    async with rig(databases, started=("home",)) as r:
        shared, one = await r.share(r.home), Person("one")
        wire = r.wire(r.edge1, r.home)
        if kind == "url":
            address = f"http://{wire.host}:{wire.port}"
            await r.start(
                r.edge1,
                FEDERATION_PEER_URLS="",
                FEDERATION_TRUSTED_DOMAINS=f"home.test,{wire.host}:{wire.port}",
            )
        else:
            address = r.home.domain
            await r.start(r.edge1)
        await r.edge1.cast_shadow(shared.id, shared.owner, address)
        c1 = await subscribed(r.edge1, one, shared)
        assert await c1.push(change(), space=shared.id, ucan=shared.grant(one)) == {"ok": True, "cursor": 1}
        assert wire.upgrades[0].header("host") == f"{wire.host}:{wire.port}"
