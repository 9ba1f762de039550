"""`fed.invitation`: what is refused, what it costs, and who hears of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import cbor2
import pytest

from less_sync.auth import peer_identity
from less_sync.federation.inbound.invitations import FedInvitationParams, FedInvitationResult
from less_sync.federation.settings import PeerQuotas
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import encode_value
from less_sync.sync.protocol.messages import decode_params
from tests.federation.inbound.peer_client import EDGE1, EDGE2, Home, home_server
from tests.integration.waiting import until

MAILBOX: Final = "ab" * 32
QUOTAS: Final = PeerQuotas(invitations_per_hour=2)
SOON: Final = Limits(invitation_delay_min_s=0.01, invitation_delay_max_s=0.02)


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url, quotas=QUOTAS, limits=SOON) as running:
        yield running


async def test_an_invitation_is_stored_and_its_mailbox_told(home: Home) -> None:
    reader = await home.live.connect(mailbox_id=MAILBOX)
    peer = await home.peer()
    await home.live.settled(reader)
    params = {"mailbox_id": MAILBOX, "payload": "x", "server": "ignored.test"}
    assert await peer.call("fed.invitation", params) == {"ok": True}
    notice = await reader.next()
    assert cbor2.dumps({"type": 2, "method": "invitation", "params": {}}) == bytes.fromhex(
        "a3647479706502666d6574686f646a696e7669746174696f6e66706172616d73a0"
    )
    assert (notice.method, notice.params) == ("invitation", {})  # type: ignore[union-attr]  # else it fails
    [stored] = (await reader.call("invitation.list", {}))["invitations"]
    assert stored["payload"] == "x"
    assert home.usage().invitations_this_hour == 1
    # Peers read no mailbox, not even one that is named like them.
    home.live.services.mailboxes.announce(peer_identity(EDGE1).mailbox)
    await asyncio.sleep(2 * SOON.invitation_delay_max_s)
    assert await peer.heard() == []


async def test_every_check_in_its_order_and_none_costs_anything(home: Home) -> None:
    peer = await home.peer()
    long, payload = "é" * 65_537, "p"
    cases: list[tuple[dict[str, object], str, str]] = [
        ({}, "invalid_params", "invalid params"),
        ({"mailbox_id": MAILBOX}, "invalid_params", "invalid params"),
        ({"mailbox_id": b"x", "payload": payload}, "invalid_params", "invalid params"),
        ({"mailbox_id": "", "payload": ""}, "bad_request", "missing mailbox_id"),
        ({"mailbox_id": "AB" * 32, "payload": ""}, "bad_request", "mailbox_id must be 64-char hex string"),
        ({"mailbox_id": "a", "payload": payload}, "bad_request", "mailbox_id must be 64-char hex string"),
        ({"mailbox_id": MAILBOX, "payload": ""}, "bad_request", "missing payload"),
        ({"mailbox_id": MAILBOX, "payload": long}, "payload_too_large", "payload too large"),
        ({"mailbox_id": MAILBOX, "payload": "p" * 131_073}, "payload_too_large", "payload too large"),
    ]
    for params, code, message in cases:
        assert await peer.error("fed.invitation", params) == (code, message)
    peer.socket.send(cbor2.dumps({"type": 0, "id": "m", "method": "fed.invitation"}))
    response, _ = await peer.response("m")
    assert response.error is not None
    assert response.error.message == "invalid params"
    assert home.usage().invitations_this_hour == 0
    longest: dict[str, object] = {"mailbox_id": MAILBOX, "payload": "p" * 131_072}
    assert await peer.call("fed.invitation", longest) == {"ok": True}


async def test_one_more_than_the_quota_is_refused_and_other_peers_are_not(home: Home) -> None:
    peer, other = await home.peer(), await home.peer(EDGE2)
    params = {"mailbox_id": MAILBOX, "payload": "x"}
    for _ in range(2):
        assert await peer.call("fed.invitation", params) == {"ok": True}
    assert await peer.error("fed.invitation", params) == ("rate_limited", "invitation quota exceeded")
    assert await peer.error("fed.invitation", {"mailbox_id": "", "payload": ""}) == (
        "bad_request",
        "missing mailbox_id",
    )
    assert await other.call("fed.invitation", params) == {"ok": True}
    assert len(await home.sql("SELECT 1 FROM invitations")) == 3


async def test_one_that_cannot_be_stored_stays_counted(home: Home) -> None:
    peer = await home.peer()
    await home.sql("ALTER TABLE invitations RENAME TO away")
    params = {"mailbox_id": MAILBOX, "payload": "x"}
    assert await peer.error("fed.invitation", params) == ("internal", "internal error")
    await home.sql("ALTER TABLE away RENAME TO invitations")
    assert home.usage().invitations_this_hour == 1


async def test_one_whose_peer_hangs_up_is_stored_and_keeps_its_place_until_then(
    home: Home, database_url: str
) -> None:
    peer = await home.peer()
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE invitations")
        peer.send("fed.invitation", {"mailbox_id": MAILBOX, "payload": "x"})
        async with asyncio.timeout(20):
            while not home.usage().invitations_this_hour:  # noqa: ASYNC110  nothing to wait for but the state
                await asyncio.sleep(0.001)
        peer.socket.abort()
        async with asyncio.timeout(20):
            while len(home.live.services.sessions):  # noqa: ASYNC110  as above
                await asyncio.sleep(0.001)
        assert home.usage().connections == 1
    await blocker.close()

    async def stored() -> bool:
        return len(await home.sql("SELECT 1 FROM invitations")) == 1 and home.usage().connections == 0

    await until(stored)


def test_params_and_result_survive_a_round_trip() -> None:
    params = FedInvitationParams(MAILBOX, "payload")
    assert decode_params(FedInvitationParams, cbor2.loads(encode_value(params))) == params
    result = FedInvitationResult(ok=True)
    assert encode_value(result) == b"\xa1bok\xf5"
    assert decode_params(FedInvitationResult, cbor2.loads(encode_value(result))) == result
