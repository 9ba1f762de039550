"""What HTTP tells of other servers, and of our own keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from less_sync.auth import parse_federation_trust
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.routes import PeerRoutes
from less_sync.federation.settings import FederationSettings, PeerQuotas
from tests.federation.signed import Peer
from tests.live import Live, live_server
from tests.sync.http.test_app import bearer, has_common_headers
from tests.sync.jwks_server import Clock
from tests.sync.raw_http import Response, fetch

JWKS: Final = b'{"keys":[{"kid":"https://us/k#1"}]}'
TRUSTED: Final = "/api/v1/federation/trusted"
STATUS: Final = "/api/v1/federation/status/"
PEERS: Final = parse_federation_trust(
    domains="Peer.Example.com, https://b.example:443/x, ported.example:8443, ::1, b.example",
    keys=f"{Peer().key_id}=6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw",
)
ZEROS: Final = (
    '"connections":0,"spaces":0,"records_this_hour":0,"bytes_this_hour":0,"invitations_this_hour":0}'
)


@dataclass(slots=True)
class Keys:
    """Own keys that may change."""

    document: bytes = JWKS

    async def jwks(self) -> bytes:
        return self.document


@dataclass(frozen=True, slots=True)
class Told:
    live: Live
    quotas: QuotaTracker
    clock: Clock
    keys: Keys

    async def get(self, target: str, headers: str | None = None) -> Response:
        response = await fetch(
            self.live.port, "GET", target, bearer(self.live) if headers is None else headers
        )
        assert has_common_headers(response)
        return response

    async def status(self, domain: str) -> tuple[int, str]:
        response = await self.get(STATUS + domain)
        return response.status, response.body.decode()


@asynccontextmanager
async def told(database_url: str, settings: FederationSettings) -> AsyncIterator[Told]:
    clock, keys = Clock(), Keys()
    quotas = QuotaTracker(PeerQuotas(), clock)
    async with live_server(database_url, federation=PeerRoutes(settings, quotas, keys)) as live:
        yield Told(live, quotas, clock, keys)


@pytest.fixture
async def on(database_url: str) -> AsyncIterator[Told]:
    async with told(database_url, FederationSettings(trust=PEERS)) as running:
        yield running


@pytest.fixture
async def off(database_url: str) -> AsyncIterator[Told]:
    trust = parse_federation_trust(domains="peer.example.com", keys=None)
    async with told(database_url, FederationSettings(trust=trust)) as running:
        yield running


def empty_404(response: Response) -> bool:
    nothing = (response.status, response.body, response.header("content-length"))
    return nothing == (404, b"", "0") and response.header("content-type") is None


async def test_own_keys_are_public_and_as_they_are_just_now(on: Told, off: Told) -> None:
    for at in (on, off):
        for document in (JWKS, b'{"keys":[]}'):
            at.keys.document = document
            response = await at.get("/.well-known/jwks.json", "")
            assert (response.status, response.body) == (200, document)
            assert response.header("content-type") == "application/json"
            assert response.header("cache-control") == "public, max-age=3600, stale-while-revalidate=86400"


async def test_trusted_servers_are_listed_to_whoever_has_a_token(on: Told) -> None:
    response = await on.get(TRUSTED)
    assert response.status == 200
    assert response.header("content-type") == "application/json"
    assert response.body == b'{"domains":["[::1]","b.example","peer.example.com","ported.example:8443"]}'


@pytest.mark.parametrize("target", [TRUSTED, STATUS + "peer.example.com"])
async def test_token_is_looked_at_before_anything_else(on: Told, off: Told, target: str) -> None:
    for at in (on, off):
        unauthorised = await at.get(target, "")
        assert (unauthorised.status, unauthorised.body) == (401, b'{"error":"missing authorization"}')
        large = await at.get(target, bearer(at.live) + f"X-UCAN: {'x' * 65_537}\r\n")
        assert (large.status, large.body) == (401, b'{"error":"X-UCAN header too large"}')
        expected = 200 if at is on else 404
        scopeless = f"Authorization: Bearer {at.live.token('alice', scope='')}\r\n"
        assert (await at.get(target, scopeless)).status == expected


async def test_nothing_is_told_of_peers_while_none_is_accepted(off: Told) -> None:
    for target in (TRUSTED, STATUS + "peer.example.com"):
        assert empty_404(await off.get(target))
    health = await off.get("/health", "")
    assert (health.status, health.body) == (200, b'{"status":"healthy"}')


async def test_fetched_keys_are_enough_for_peers_to_be_accepted(database_url: str) -> None:
    trust = parse_federation_trust(domains="peer.example.com", keys=None)
    async with told(database_url, FederationSettings(trust=trust, fetch_keys=True)) as at:
        assert (await at.get(TRUSTED)).status == 200


async def test_status_tells_what_a_peer_uses_by_any_spelling_of_its_name(on: Told) -> None:
    peer = "peer.example.com"
    assert on.quotas.take_connection(peer)
    assert on.quotas.take_spaces(peer, 2)
    assert on.quotas.take_push(peer, records=3, payload_bytes=128)
    assert on.quotas.take_invitation(peer)
    used = '"connections":1,"spaces":2,"records_this_hour":3,"bytes_this_hour":128,"invitations_this_hour":1}'
    expected = (200, '{"domain":"peer.example.com",' + used)
    for spelling in (
        "peer.example.com",
        "Peer.Example.com",
        "https%3A%2F%2Fpeer.example.com.%3A443%2Fx",
        "%70eer.example.com",
    ):
        assert await on.status(spelling) == expected
    on.clock.now += 3600
    rolled = (
        used.replace(":3,", ":0,")
        .replace(":128,", ":0,")
        .replace('invitations_this_hour":1', 'invitations_this_hour":0')
    )
    assert await on.status(peer) == (200, '{"domain":"peer.example.com",' + rolled)


async def test_peer_never_seen_has_zeros_and_its_hour_does_not_begin_by_looking(on: Told) -> None:
    assert await on.status("b.example") == (200, '{"domain":"b.example",' + ZEROS)
    on.clock.now += 3599
    assert on.quotas.take_invitation("b.example")
    on.clock.now += 1
    used = ZEROS.replace('invitations_this_hour":0', 'invitations_this_hour":1')
    assert await on.status("b.example") == (200, '{"domain":"b.example",' + used)


async def test_status_is_of_the_host_and_trust_is_by_host_and_port(on: Told) -> None:
    assert on.quotas.take_connection("ported.example")
    assert on.quotas.take_connection("::1")
    one = ZEROS.replace(":0,", ":1,", 1)
    for domain in ("ported.example", "ported.example:8443"):
        assert await on.status(domain) == (200, f'{{"domain":"{domain}",{one}')
    for domain in ("[::1]", "::1", "0:0::1"):
        assert await on.status(domain) == (200, '{"domain":"[::1]",' + one)
    assert (await on.status("b.example:5379"))[0] == 200


@pytest.mark.parametrize(
    "domain",
    [
        "other.example",
        "ported.example:8444",
        "%FF",
        "a%20b",
        "user@b.example",
        "..",
        "%2F",
    ],
)
async def test_server_that_is_not_trusted_or_no_name_is_not_found(on: Told, domain: str) -> None:
    assert empty_404(await on.get(STATUS + domain))


async def test_path_without_a_domain_or_with_more_is_no_route(on: Told) -> None:
    for target in (STATUS, STATUS.rstrip("/"), STATUS + "b.example/x"):
        assert empty_404(await on.get(target))


async def test_health_counts_the_servers_trusted_and_the_connections_they_opened(on: Told) -> None:
    for peer in ("peer.example.com", "peer.example.com", "b.example"):
        assert on.quotas.take_connection(peer)
    response = await on.get("/health", "")
    assert response.body == (
        b'{"status":"healthy","federation":{"enabled":true,"peer_count":4,"connections":3}}'
    )
    on.live.services.sessions.refuse()
    response = await on.get("/health", "")
    assert (response.status, response.body) == (503, b'{"status":"unhealthy","error":"shutting down"}')


@pytest.mark.parametrize("target", [TRUSTED, STATUS + "b.example", "/.well-known/jwks.json"])
async def test_other_methods_are_405(on: Told, target: str) -> None:
    response = await fetch(on.live.port, "POST", target, bearer(on.live))
    assert (response.status, response.body, response.header("allow")) == (405, b"", "GET,HEAD")
    head = await fetch(on.live.port, "HEAD", target, bearer(on.live))
    assert head.status == 200
    options = await fetch(on.live.port, "OPTIONS", target)
    assert (options.status, options.header("allow")) == (204, "GET,HEAD")
