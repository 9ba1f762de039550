"""The one table of checks of an upgrade, and that its answer waits for its turn."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from less_sync.sync.http.upgrade import CHECKS, UpgradeRequest, refusal
from tests.live import Live, live_server
from tests.sync.http.test_socket import masked, read_close
from tests.sync.raw_http import Connection, Response, connected

GOOD: Final = {
    "Host": "h",
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "less-rpc-v1",
}
BOTH_ROUTES: Final = ("/api/v1/ws", "/api/v1/federation/ws")
Changes = dict[str, str | None]
FAULTS: Final[list[tuple[str, Changes, int, bytes]]] = [
    ("OPTIONS", {}, 204, b""),
    ("HEAD", {}, 405, b""),
    ("DELETE", {}, 405, b""),
    ("GET", {"Connection": "close"}, 400, b"Connection header did not include 'upgrade'"),
    ("GET", {"Upgrade": "h2c"}, 400, b"`Upgrade` header did not include 'websocket'"),
    ("GET", {"Sec-WebSocket-Key": None}, 400, b"`Sec-WebSocket-Key` header missing"),
    ("GET", {"Sec-WebSocket-Version": "8"}, 400, b"`Sec-WebSocket-Version` header did not include '13'"),
    ("GET 1.0", {}, 426, b"the connection cannot be upgraded"),
    ("GET", {"Sec-WebSocket-Protocol": "Less-rpc-v1"}, 400, b""),
]
"""Method, what is wrong with the headers, and the answer: in the order in which the checks are made."""


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


def head(method: str, target: str, changes: Changes) -> bytes:
    name, _, version = method.partition(" ")
    fields = {**GOOD, **changes}
    lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value is not None)
    return f"{name} {target} HTTP/{version or '1.1'}\r\n{lines}\r\n".encode()


async def answer(connection: Connection, method: str, target: str, changes: Changes) -> Response:
    connection.send(head(method, target, changes))
    return await connection.receive(body=method != "HEAD")


@pytest.mark.parametrize("target", BOTH_ROUTES)
async def test_of_several_faults_the_first_is_told(live: Live, target: str) -> None:
    for first, (method, _, status, body) in enumerate(FAULTS):
        wrong = {name: value for _, faults, _, _ in FAULTS[first:] for name, value in faults.items()}
        # What comes after the method's own row is wrong too, a version that cannot upgrade included.
        version = " 1.0" if first < 7 and method == "GET" else ""
        async with connected(live.port) as connection:
            response = await answer(connection, method + version, target, wrong)
        assert (response.status, response.body) == (status, body)
        assert response.header("x-protocol-version") == "1"
        assert response.header("allow") == ("GET,HEAD" if method in {"DELETE", "OPTIONS"} else None)
        kind = "text/plain; charset=utf-8" if body or method == "HEAD" else None
        assert response.header("content-type") == kind


def test_every_check_has_its_case_here() -> None:
    assert [check.otherwise.status for check in CHECKS] == [status for _, _, status, _ in FAULTS]


def test_a_request_without_fault_passes_and_takes_the_subprotocol_the_server_prefers() -> None:
    lines = [(name.lower().encode(), value.encode()) for name, value in GOOD.items()]
    request = UpgradeRequest(
        "GET",
        "1.1",
        [*lines, (b"sec-websocket-protocol", b"x, betterbase-rpc-v1")],
        ("betterbase-rpc-v1", "less-rpc-v1"),
    )
    assert refusal(request) is None
    assert request.subprotocol == "betterbase-rpc-v1"
    assert request.key == "AAAAAAAAAAAAAAAAAAAAAA=="


async def test_an_upgrade_waits_for_the_answers_of_requests_before_it(live: Live) -> None:
    before = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
    async with connected(live.port) as connection:
        connection.send(before * 2 + head("GET", "/api/v1/ws", {}))
        statuses = [(await connection.receive()).status for _ in range(3)]
        assert statuses == [200, 200, 101]
        connection.send(masked(2, b""))
        assert await read_close(connection.reader) == (4000, "empty auth frame")


async def test_an_upgrade_behind_a_request_that_closes_the_connection_is_not_answered(live: Live) -> None:
    before = b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    async with connected(live.port) as connection:
        connection.send(before + head("GET", "/api/v1/ws", {}))
        assert (await connection.receive()).status == 200
        assert await connection.ended() == b""


@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"], ids=["first", "second"])
async def test_a_message_that_did_not_wait_for_the_101_is_read_behind_it(live: Live, before: bytes) -> None:
    async with connected(live.port) as connection:
        connection.send(before + head("GET", "/api/v1/ws", {}) + masked(2, b""))
        if before:
            assert (await connection.receive()).status == 200
        assert (await connection.receive()).status == 101
        assert await read_close(connection.reader) == (4000, "empty auth frame")
