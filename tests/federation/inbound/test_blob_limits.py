"""The limit of a record's blob and that of a message, for clients and for other servers alike."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import encode_request
from tests.federation.inbound.peer_client import Home, Shared, home_server
from tests.live import Client
from tests.wire.client import Closed

BLOB_BYTES: Final = 3000
FRAME_BYTES: Final = 8000


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    limits = Limits(record_blob_bytes=BLOB_BYTES, frame_bytes=FRAME_BYTES)
    async with home_server(database_url, limits=limits) as running:
        yield running


def params(shared: Shared, ucan: str, blob_bytes: int) -> dict[str, object]:
    change = {"id": str(uuid4()), "blob": bytes(blob_bytes), "expected_cursor": 0}
    return {"space": shared.id, "ucan": ucan, "changes": [change]}


@pytest.mark.parametrize("who", ["client", "peer"])
async def test_a_blob_over_its_limit_is_payload_too_large_as_long_as_its_message_fits(
    home: Home, who: str
) -> None:
    shared = await home.share()
    pusher: Client
    if who == "client":
        pusher, ucan = await home.member(shared), shared.owner.grant(shared.owner, shared.id)
    else:
        pusher, ucan = await home.peer(), shared.ucan()
    assert (await pusher.call("push", params(shared, ucan, BLOB_BYTES)))["ok"]
    refused = {"ok": False, "error": "payload_too_large"}
    assert await pusher.call("push", params(shared, ucan, BLOB_BYTES + 1)) == refused
    overhead = (
        len(encode_request(f"r{pusher.requests + 1}", "push", params(shared, ucan, BLOB_BYTES))) - BLOB_BYTES
    )
    assert await pusher.call("push", params(shared, ucan, FRAME_BYTES - overhead)) == refused
    pusher.send("push", params(shared, ucan, FRAME_BYTES - overhead + 1))
    assert await pusher.closed() == Closed(1009, "message too big")
    (row,) = await home.sql("SELECT count(*) AS kept FROM records")
    assert row["kept"] == 1
