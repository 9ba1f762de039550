"""Routes, common headers, authentication and error bodies, over real sockets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from less_sync.auth import KeysUnavailable
from less_sync.storage import PostgresSpaceStore, Unavailable
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.http.app import create_app
from less_sync.sync.http.headers import COMMON_HEADERS, common_headers
from less_sync.sync.http.health import REUSE_S
from less_sync.sync.http.middleware import CommonHeaders
from tests.live import Live, live_server
from tests.sync.raw_http import Response, connected, fetch, served

EXPECTED_HEADERS = {
    "x-protocol-version": "1",
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, PUT, HEAD, POST, OPTIONS",
    "access-control-allow-headers": (
        "Content-Type, Content-Length, Authorization, X-UCAN, X-Wrapped-DEK, X-Record-ID, X-DID-Proof"
    ),
    "access-control-expose-headers": "X-Wrapped-DEK",
    "access-control-max-age": "86400",
}
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)
RPC = "Sec-WebSocket-Protocol: less-rpc-v1\r\n"


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


def bearer(live: Live) -> str:
    return f"Authorization: Bearer {live.token('alice')}\r\n"


def has_common_headers(response: Response) -> bool:
    return {name: response.header(name) for name in EXPECTED_HEADERS} == EXPECTED_HEADERS


def error(response: Response) -> tuple[int, str]:
    assert response.header("content-type") == "application/json"
    document = json.loads(response.body)
    assert response.body == json.dumps(document, separators=(",", ":")).encode()
    assert list(document) == ["error"]
    return response.status, document["error"]


def test_the_common_headers_are_exactly_these() -> None:
    assert {name.lower(): value for name, value in COMMON_HEADERS} == EXPECTED_HEADERS
    exposed = dict(common_headers(expose_etag=True))[b"access-control-expose-headers"]
    assert exposed == b"X-Wrapped-DEK, ETag"


async def test_health_with_a_live_database_is_200(live: Live) -> None:
    response = await fetch(live.port, "GET", "/health?x=1")
    assert (response.status, response.body) == (200, b'{"status":"healthy"}')
    assert response.header("content-type") == "application/json"
    assert response.header("cache-control") is None
    assert has_common_headers(response)


class AwaySpaces(PostgresSpaceStore):
    """A database that fails and counts how often it is asked."""

    def __init__(self) -> None:
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        raise Unavailable


async def test_health_with_a_failing_database_is_503_and_recovers(live: Live) -> None:
    working, live.services.spaces = live.services.spaces, AwaySpaces()
    response = await fetch(live.port, "GET", "/health")
    assert response.status == 503
    assert response.body == b'{"status":"unhealthy","error":"database unavailable"}'
    assert has_common_headers(response)
    live.services.spaces = working
    async with asyncio.timeout(20), connected(live.port) as connection:
        # The failure is remembered for a second.
        while (await connection.request("GET", "/health")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_flood_of_health_requests_asks_the_database_once(live: Live) -> None:
    live.services.spaces = spaces = AwaySpaces()
    began_s = time.monotonic()
    responses = await asyncio.gather(*(fetch(live.port, "GET", "/health") for _ in range(50)))
    assert {response.status for response in responses} == {503}
    assert spaces.pings <= 1 + (time.monotonic() - began_s) // REUSE_S


async def test_health_while_draining_is_503(live: Live) -> None:
    async with connected(live.port) as connection:
        assert (await connection.request("GET", "/health")).status == 200
        live.services.sessions.refuse()
        response = await connection.request("GET", "/health")
    assert response.status == 503
    assert response.body == b'{"status":"unhealthy","error":"shutting down"}'


async def test_the_key_set_is_public_and_empty(live: Live) -> None:
    response = await fetch(live.port, "GET", "/.well-known/jwks.json")
    assert (response.status, response.body) == (200, b'{"keys":[]}')
    assert response.header("cache-control") == "public, max-age=3600, stale-while-revalidate=86400"
    assert has_common_headers(response)


@pytest.mark.parametrize("target", ["/health", "/.well-known/jwks.json"])
async def test_head_gives_the_headers_of_get_without_a_body(live: Live, target: str) -> None:
    got, head = await fetch(live.port, "GET", target), await fetch(live.port, "HEAD", target)
    assert head.status == 200
    assert dict(head.headers) | {"date": ""} == dict(got.headers) | {"date": ""}


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        ("/health", "GET,HEAD"),
        ("/health?x", "GET,HEAD"),
        ("/.well-known/jwks.json", "GET,HEAD"),
        ("/api/v1/ws", "GET,HEAD"),
        ("/api/v1/federation/ws", "GET,HEAD"),
        ("/nowhere", None),
        ("/health/", None),
        ("/%68ealth", None),
        ("/api/v1/federation/trusted", None),
        ("*", None),
        ("http://elsewhere", None),
        ("http://elsewhere/health", "GET,HEAD"),
    ],
)
async def test_preflight_of_any_path_is_204_before_authentication_and_says_what_a_route_allows(
    live: Live, target: str, allow: str | None
) -> None:
    async with served(create_app(live.services)) as port:
        response = await fetch(port, "OPTIONS", target, "Origin: https://app.example\r\n")
    assert (response.status, response.body) == (204, b"")
    assert has_common_headers(response)
    assert response.header("allow") == allow
    assert {name for name, _ in response.headers} - {"allow"} == {*EXPECTED_HEADERS, "date"}


@pytest.mark.parametrize(
    "target", ["/", "/nowhere", "/health/", "/Health", "/%68ealth", "//health", "/api/v1/ws/", "/a%2Fb"]
)
async def test_an_unknown_path_is_401_without_credentials_and_404_with(live: Live, target: str) -> None:
    refused = await fetch(live.port, "GET", target)
    assert error(refused) == (401, "missing authorization")
    assert refused.header("www-authenticate") is None
    assert has_common_headers(refused)
    missing = await fetch(live.port, "GET", target, bearer(live))
    assert (missing.status, missing.body) == (404, b"")
    assert (missing.header("content-length"), missing.header("content-type")) == ("0", None)
    assert has_common_headers(missing)


async def test_an_absolute_target_counts_by_its_path(live: Live) -> None:
    assert (await fetch(live.port, "GET", "http://elsewhere/health?x")).status == 200


@pytest.mark.parametrize(
    "target", ["/health", "/.well-known/jwks.json", "/api/v1/ws", "/api/v1/federation/ws"]
)
async def test_a_wrong_method_on_a_public_path_is_405(live: Live, target: str) -> None:
    response = await fetch(live.port, "DELETE", target)
    assert (response.status, response.body) == (405, b"")
    assert response.header("allow") == "GET,HEAD"
    assert has_common_headers(response)


async def test_a_wrong_method_elsewhere_is_401_without_credentials(live: Live) -> None:
    assert error(await fetch(live.port, "DELETE", "/nowhere")) == (401, "missing authorization")


@pytest.mark.parametrize("target", ["/api/v1/ws", "/api/v1/federation/ws"])
async def test_head_of_a_websocket_route_is_405_as_text(live: Live, target: str) -> None:
    response = await fetch(live.port, "HEAD", target)
    assert response.status == 405
    assert response.header("content-type") == "text/plain; charset=utf-8"
    assert response.header("allow") is None


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ("", "Connection header did not include 'upgrade'"),
        ("Upgrade: websocket\r\n", "Connection header did not include 'upgrade'"),
        ("Connection: upgrade\r\n", "`Upgrade` header did not include 'websocket'"),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", "`Upgrade` header did not include 'websocket'"),
    ],
)
@pytest.mark.parametrize("target", ["/api/v1/ws", "/api/v1/federation/ws"])
async def test_a_get_of_a_websocket_route_that_is_no_upgrade_is_400(
    live: Live, target: str, headers: str, text: str
) -> None:
    response = await fetch(live.port, "GET", target, headers)
    assert (response.status, response.body.decode()) == (400, text)
    assert response.header("content-type") == "text/plain; charset=utf-8"
    assert has_common_headers(response)


async def test_the_route_of_peers_is_404_while_federation_is_off(live: Live) -> None:
    response = await fetch(live.port, "GET", "/api/v1/federation/ws", UPGRADE + RPC)
    assert (response.status, response.body) == (404, b"")
    assert (await fetch(live.port, "GET", "/api/v1/federation/ws", UPGRADE)).status == 400


@pytest.mark.parametrize("target", ["/health", "/.well-known/jwks.json"])
async def test_an_upgrade_elsewhere_is_an_ordinary_request(live: Live, target: str) -> None:
    async with connected(live.port) as connection:
        assert (await connection.request("GET", target, UPGRADE + RPC)).status == 200
        assert (await connection.request("GET", target)).status == 200
    assert (await fetch(live.port, "GET", "/nowhere", UPGRADE + RPC)).status == 401


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "invalid authorization header format"),
        ("Bearer", "invalid authorization header format"),
        ("Bearer  ", "invalid authorization header format"),
        ("Basic YTpi", "invalid authorization header format"),
        ("Bearerx", "invalid authorization header format"),
        ("Bearer t\xe9", "invalid authorization header format"),
        ("Bearer\tx", "invalid authorization header format"),
        ("Bearer x", "invalid token"),
        ("bearer x", "invalid token"),
    ],
)
async def test_each_malformed_authorization_has_its_message(live: Live, value: str, text: str) -> None:
    response = await fetch(live.port, "GET", "/nowhere", f"Authorization: {value}\r\n")
    assert error(response) == (401, text)


async def test_each_refused_token_has_its_message(live: Live) -> None:
    async def answer(token: str, more: str = "") -> tuple[int, str]:
        return error(await fetch(live.port, "GET", "/nowhere", f"Authorization: Bearer {token}\r\n{more}"))

    assert await answer(live.token("alice", exp=1)) == (401, "token has expired")
    assert await answer(live.token("alice", iss="https://other.example")) == (401, "untrusted token issuer")
    assert await answer(live.token("alice", sub=None)) == (401, "invalid token")
    # A second space stays in the token.
    assert await answer(f" {live.token('alice')}") == (401, "invalid token")


async def test_of_several_authorization_headers_the_first_counts(live: Live) -> None:
    good, bad = bearer(live), "Authorization: Basic x\r\n"
    assert (await fetch(live.port, "GET", "/nowhere", good + bad)).status == 404
    assert (await fetch(live.port, "GET", "/nowhere", bad + good)).status == 401


async def test_the_scheme_is_known_in_any_letter_case(live: Live) -> None:
    headers = f"Authorization: bEARER {live.token('alice')}\r\n"
    assert (await fetch(live.port, "GET", "/nowhere", headers)).status == 404


async def test_a_ucan_header_has_a_limit_that_is_checked_after_the_token(live: Live) -> None:
    largest = f"X-UCAN: {'u' * 65_536}\r\n"
    larger = f"X-UCAN: {'u' * 65_537}\r\n"
    assert (await fetch(live.port, "GET", "/nowhere", bearer(live) + largest)).status == 404
    refused = await fetch(live.port, "GET", "/nowhere", bearer(live) + larger)
    assert error(refused) == (401, "X-UCAN header too large")
    forged = await fetch(live.port, "GET", "/nowhere", "Authorization: Bearer x\r\n" + larger)
    assert error(forged) == (401, "invalid token")
    # Only the first of several counts, and a public route does not look.
    assert (await fetch(live.port, "GET", "/nowhere", bearer(live) + "X-UCAN: u\r\n" + larger)).status == 404
    assert (await fetch(live.port, "GET", "/health", larger)).status == 200


class NoKeys(Authenticator):
    """An authenticator whose issuers cannot be reached."""

    async def identify(self, token: str, did_proof: str = "") -> None:  # type: ignore[override]  # never returns
        raise KeysUnavailable


async def test_keys_that_cannot_be_fetched_are_503_with_retry_after(live: Live) -> None:
    live.services.authenticator = NoKeys(KeyFetcher({}))
    async with served(create_app(live.services)) as port:
        response = await fetch(port, "GET", "/nowhere", "Authorization: Bearer x\r\n")
    assert error(response) == (503, "auth temporarily unavailable")
    assert response.header("retry-after") == "5"
    assert has_common_headers(response)


async def _faulty(scope: Scope, _receive: Receive, send: Send) -> None:
    if scope["path"] == "/half":
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("private")


async def test_an_unexpected_exception_is_500_with_the_common_headers() -> None:
    async with served(CommonHeaders(_faulty, headers=common_headers(), allowed=lambda _path: None)) as port:
        response = await fetch(port, "GET", "/whole")
    assert error(response) == (500, "internal error")
    assert has_common_headers(response)


async def test_a_fault_in_mid_response_ends_the_connection() -> None:
    async with (
        served(CommonHeaders(_faulty, headers=common_headers(), allowed=lambda _path: None)) as port,
        connected(port) as connection,
    ):
        connection.send(b"GET /half HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await connection.ended()).endswith(b"\r\n\r\nhalf")
