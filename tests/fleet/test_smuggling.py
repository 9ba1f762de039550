"""No bytes of one request become another: at the program's own HTTP, which is not that of the other tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.fleet.databases import execute, value
from tests.fleet.process import KEY, serving
from tests.fleet.raw import Heard, Wire, ask

pytestmark = pytest.mark.anyio
AUTHORIZED = f"Authorization: Bearer {KEY}"
ADA = "6d9c2f1e-3b1c-4f0e-9a51-2f6f7b0c9d10"
SMUGGLED = f"DELETE /platform/v1/users/{ADA} HTTP/1.1\r\nHost: fleet\r\n{AUTHORIZED}\r\n\r\n".encode()
POST = "POST /platform/v1/users"
JSON = "Content-Type: application/json"


@pytest.fixture
async def url(fleet_database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Of a plane with one operator, a viewer whom one request would remove."""
    await execute(
        fleet_database_url,
        "INSERT INTO operators (id, username, password_hash, role)"
        " VALUES ($1::text::uuid, 'ada', '', 'viewer')",
        ADA,
    )
    async with serving(fleet_database_url, tmp_path) as served:
        yield f"http://127.0.0.1:{served.port}"
        left = await value(fleet_database_url, "SELECT count(*) FROM operators")
        assert left == 1


async def everything(wire: Wire) -> list[Heard]:
    """All answers until the connection ends, which is then closed on this side too."""
    answers = []
    try:
        while True:
            answers.append(await wire.heard())
    except (asyncio.IncompleteReadError, ConnectionError):
        return answers
    finally:
        wire.close()


TWO_WAYS: Final = (
    ("Content-Length: 2", f"Content-Length: {2 + len(SMUGGLED)}"),
    (f"Content-Length: {2 + len(SMUGGLED)}", "Content-Length: 2"),
    ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding : chunked",),
    ("Content-Length: +2",),
    ("Content-Length: 0x2",),
    ("Content-Length: -1",),
    ("X: y\nContent-Length: 2",),
    (" Content-Length: 2",),
)
"""Headers about the length of a body that two readers could read in two ways."""


async def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(url: str) -> None:
    for headers in TWO_WAYS:
        wire = await Wire.open(url)
        body = b"0\r\n\r\n" if "chunked" in str(headers) else b"{}"
        wire.ask(POST, AUTHORIZED, JSON, *headers, body=body + SMUGGLED)
        answers = await everything(wire)
        assert [answer.status for answer in answers] in ([], [400]), headers


async def test_a_body_that_nobody_read_is_no_request(url: str) -> None:
    """The answer comes before the body, and the connection may go on or end."""
    wire = await Wire.open(url)
    wire.ask(POST, JSON, f"Content-Length: {len(SMUGGLED)}")
    assert (await wire.heard()).status == 401
    wire.send(SMUGGLED)
    wire.ask("GET /management/v1/health", "Connection: close")
    answers = await everything(wire)
    assert [answer.status for answer in answers] in ([], [200])
    assert "user" not in str(answers)


async def test_heads_without_an_end_and_bodies_that_do_not_come_keep_nobody_out(url: str) -> None:
    wires = [await Wire.open(url) for _ in range(60)]
    for number, wire in enumerate(wires):
        if number % 2:
            wire.send(b"GET /management/v1/health HTTP/1.1\r\nX: ")
        else:
            wire.ask(POST, AUTHORIZED, JSON, "Content-Length: 9", body=b"{")
    heard = await ask(url, "GET /platform/v1/users", AUTHORIZED)
    assert (heard.status, len(json.loads(heard.body)["users"])) == (200, 1)
    for wire in wires:
        wire.close()
