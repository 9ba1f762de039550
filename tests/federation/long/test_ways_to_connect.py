"""The same space over TLS, and with either name of the protocol at either server."""

import pytest

from tests.federation.proxy import Way
from tests.federation.rig import Rig, change, notice, rig, subscribed
from tests.federation.witnesses import Writer, written_once
from tests.live import Person

OLD, NEW = "betterbase-rpc-v1", "less-rpc-v1"
PAIRS = [(OLD, OLD), (NEW, NEW), (OLD, NEW), (NEW, OLD), (f"{NEW},{OLD}", OLD)]


async def use_and_restore(r: Rig) -> None:
    """Write at both ends, pull, lose the link, write again: everything is heard of once and found."""
    wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
    zero, one = Person("zero"), Person("one")
    at_home, hearer = await subscribed(r.home, zero, shared), await subscribed(r.edge1, one, shared)
    foreign, writer = await Writer.at(r.home, zero, shared, 1), await Writer.at(r.edge1, one, shared, 2)
    for cursor, each in enumerate((foreign, writer, foreign, writer), 1):
        await each.push()
        assert (await notice(at_home))["cursor"] == (await notice(hearer))["cursor"] == cursor
    assert len(await hearer.pull(space=shared.id, ucan=shared.grant(one))) == 6
    wire.target = None
    wire.cut()
    await r.home.until_counts(r.edge1, 0, 0)
    await foreign.push()
    r.lead_to(r.home)
    assert (await notice(hearer))["prev"] == -1
    await writer.push()
    assert (await notice(hearer))["cursor"] == 6
    await written_once(r.home, shared, [foreign, writer])


async def test_everything_goes_over_tls_with_a_private_authority(databases: list[str]) -> None:
    async with rig(databases, tls=True) as r:
        await use_and_restore(r)
        wire = r.wire(r.edge1, r.home)
        assert r.edge1.settings["FEDERATION_PEER_URLS"] == f"home.test={wire.url}"
        assert wire.url.startswith("wss://")
        # The first scheme that is tried is one that every home verifies.
        assert {upgrade.status for upgrade in wire.upgrades} <= {0, 101}


async def test_an_authority_that_is_not_trusted_is_refused(databases: list[str]) -> None:
    async with rig(databases, tls=True, started=("home",)) as r:
        shared, one = await r.share(r.home, r.edge1), Person("one")
        del r.edge1.settings["SSL_CERT_FILE"]
        await r.start(r.edge1)
        c1 = await r.edge1.join(one)
        answer = await c1.push(change(), space=shared.id, ucan=shared.grant(one))
        assert answer == {"ok": False, "error": "internal"}
        assert r.wire(r.edge1, r.home).frames(Way.UP) == []


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
async def test_servers_with_different_names_for_the_protocol(
    databases: list[str], ours: str, theirs: str
) -> None:
    settings = {"home": {"SUBPROTOCOLS": theirs}, "edge1": {"SUBPROTOCOLS": ours}}
    async with rig(databases, settings=settings) as r:
        shared, one = await r.share(r.home, r.edge1), Person("one")
        c1 = await subscribed(r.edge1, one, shared)
        assert (await c1.push(change(), space=shared.id, ucan=shared.grant(one)))["ok"] is True
        upgrade = r.wire(r.edge1, r.home).upgrades[0]
        assert upgrade.header("sec-websocket-protocol", of_answer=True) in theirs
