"""The receiver of `less-sync fleet webhook listen`: what it believes."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.server import HTTPServer
from typing import Any, Final

import httpx
import pytest
from standardwebhooks import Webhook

from less_sync.bins.commands.fleet_listen import BODY_BYTES_MAX, HOST, IDS_MAX, NotBelieved, Receiver, handler
from tests.sync.raw_http import fetch

SECRET: Final = bytes(range(32))
EVENT: Final = b'{"type":"agent.stale","timestamp":"2026-01-31T12:00:00Z","data":{"name":"sync-1"}}'


@asynccontextmanager
async def listening(told: list[Mapping[str, Any]]) -> AsyncIterator[str]:
    """The receiver of `listen`: its URL."""
    with HTTPServer((HOST, 0), handler(Receiver(SECRET), told.append)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/"
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


def signed(
    at: datetime, body: bytes = EVENT, *, secret: bytes = SECRET, event_id: str = "msg_1"
) -> dict[str, str]:
    """Headers by the reference implementation."""
    signature = Webhook(b64encode(secret).decode()).sign(event_id, at, body.decode())
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def test_only_what_is_signed_with_the_secret_and_for_now_is_believed() -> None:
    now = datetime.now(UTC)
    receiver = Receiver(SECRET, lambda: now.timestamp())
    headers = signed(now)
    assert receiver.received(headers, EVENT)["type"] == "agent.stale"
    two = {**headers, "webhook-signature": f"v1,{'A' * 44} {headers['webhook-signature']}"}
    assert receiver.received(two, EVENT)["again"] is True
    for wrong, body in (
        ({}, EVENT),
        (headers, EVENT + b" "),
        ({**headers, "webhook-id": "msg_2"}, EVENT),
        ({**headers, "webhook-timestamp": str(int(now.timestamp()) + 1)}, EVENT),
        ({**headers, "webhook-timestamp": "\u0661"}, EVENT),
        ({**headers, "webhook-id": "ü"}, EVENT),
        ({**headers, "webhook-signature": ""}, EVENT),
        ({**headers, "webhook-signature": "v1,ü"}, EVENT),
        (signed(now, secret=bytes(32)), EVENT),
        (signed(now - timedelta(seconds=301)), EVENT),
        (signed(now + timedelta(seconds=302)), EVENT),
        (signed(now, b"[]"), b"[]"),
        (signed(now, b"{}"), b"{}"),
        (signed(now, b"["), b"["),
    ):
        with pytest.raises(NotBelieved):
            receiver.received(wrong, body)


def test_events_that_came_long_ago_are_forgotten() -> None:
    now = datetime.now(UTC)
    receiver = Receiver(SECRET, lambda: now.timestamp())
    ids = [f"msg_{number}" for number in range(IDS_MAX + 1)]
    assert not any(receiver.received(signed(now, event_id=one), EVENT)["again"] for one in ids)
    assert receiver.received(signed(now, event_id=ids[-1]), EVENT)["again"] is True
    assert receiver.received(signed(now, event_id=ids[0]), EVENT)["again"] is False


async def test_a_request_that_is_no_webhook_is_refused_and_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[Mapping[str, Any]] = []
    async with listening(told) as url, httpx.AsyncClient() as client:
        port = int(url.rpartition(":")[2].rstrip("/"))
        statuses = [
            (await client.post(url, content=EVENT)).status_code,
            (await fetch(port, "POST", "/", f"Content-Length: {BODY_BYTES_MAX + 1}\r\n")).status,
            (await fetch(port, "POST", "/", "Content-Length: -1\r\n")).status,
            (await fetch(port, "POST", "/")).status,
            (await client.get(url)).status_code,
            (await client.post(url, content=EVENT, headers=signed(datetime.now(UTC)))).status_code,
        ]
    assert statuses == [400, 413, 413, 413, 501, 204]
    assert [event["data"] for event in told] == [json.loads(EVENT)["data"]]
    assert "refused: it is not signed" in capsys.readouterr().err
