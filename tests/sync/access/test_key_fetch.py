"""The key fetching shell, against real servers on loopback (docs/tokens.md 4.2 and 4.3)."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from less_sync.auth import JWKS_BYTES_MAX, InvalidToken, JwksPolicy, KeysUnavailable, UntrustedIssuer
from less_sync.sync.access.key_fetch import REDIRECTS_MAX, WAITING_MAX, KeyFetcher
from tests.auth.minting import Issuer
from tests.sync.jwks_server import (
    Answer,
    Clock,
    Gate,
    JwksServer,
    http_client,
    redirecting,
    response,
    serving,
)
from tests.sync.tls import self_signed

POLICY = JwksPolicy(ttl_s=100, stale_max_s=1000)
ISSUER = Issuer()
FAILING = serving(b"", status="500 Internal Server Error")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    async with JwksServer(serving(ISSUER.jwks())) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def fetcher(server: JwksServer, client: httpx.AsyncClient, clock: Clock) -> AsyncIterator[KeyFetcher]:
    fetcher = KeyFetcher({ISSUER.url: server.url}, policy=POLICY, client=client, clock=clock)
    yield fetcher
    await fetcher.aclose()


def publishes(issuer: Issuer, kid: str) -> Answer:
    return serving(json.dumps({"keys": [issuer.jwk(kid=kid)]}).encode())


async def test_keys_are_fetched_on_demand_and_once(server: JwksServer, fetcher: KeyFetcher) -> None:
    assert server.hits == []
    assert fetcher.cached_key(ISSUER.url, "1") is None
    assert server.hits == []
    key = await fetcher.key(ISSUER.url, "1")
    assert key == ISSUER.key.public_key()
    assert await fetcher.key(ISSUER.url, "1") is fetcher.cached_key(ISSUER.url, "1") is key
    assert len(server.hits) == 1


async def test_request_asks_for_anything_uncompressed(server: JwksServer, fetcher: KeyFetcher) -> None:
    await fetcher.key(ISSUER.url, "1")
    request = server.hits[0].lower()
    assert request.startswith("get /keys http/1.1\r\n")
    assert "\r\naccept: */*\r\n" in request
    assert "\r\naccept-encoding: identity\r\n" in request


async def test_issuer_that_is_not_configured_is_untrusted(fetcher: KeyFetcher) -> None:
    assert fetcher.issuers.plain == {ISSUER.url}
    assert fetcher.cached_key("https://other.example.com", "1") is None
    with pytest.raises(UntrustedIssuer):
        await fetcher.key("https://other.example.com", "1")


async def test_hundred_first_logins_at_once_cause_one_fetch(server: JwksServer, fetcher: KeyFetcher) -> None:
    keys = await asyncio.gather(*(fetcher.key(ISSUER.url, "1") for _ in range(100)))
    assert keys == [ISSUER.key.public_key()] * 100
    assert len(server.hits) == 1


@asynccontextmanager
async def fetching(
    server: JwksServer, client: httpx.AsyncClient, *, wait_s: float = 30, fetches: int = 5
) -> AsyncIterator[KeyFetcher]:
    """A fetcher whose clock stands still: no further fetch is ever allowed to unknown keys."""
    policy = JwksPolicy(forced_fetches=fetches)
    fetcher = KeyFetcher({ISSUER.url: server.url}, policy=policy, client=client, clock=Clock(), wait_s=wait_s)
    yield fetcher
    await fetcher.aclose()


async def verdict(fetcher: KeyFetcher, kid: str) -> type[BaseException] | None:
    """The error a key id meets with, or None."""
    try:
        await fetcher.key(ISSUER.url, kid)
    except InvalidToken as error:
        return type(error)
    return None


async def test_hundred_unknown_keys_at_once_cause_two_fetches_and_places_are_few(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    async with fetching(server, client) as fetcher:
        verdicts = await asyncio.gather(*(verdict(fetcher, f"x{number}") for number in range(100)))
    # The one that began the first fetch, and those that found a place for the second.
    assert Counter(verdicts) == {InvalidToken: 1 + WAITING_MAX, KeysUnavailable: 99 - WAITING_MAX}
    assert len(server.hits) == 2


async def test_unknown_keys_cause_five_fetches_and_the_next_token_waits_in_vain(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    async with fetching(server, client, wait_s=2) as fetcher:
        verdicts = [await verdict(fetcher, f"y{number}") for number in range(6)]
    assert verdicts == [InvalidToken] * 5 + [KeysUnavailable]
    assert len(server.hits) == 5


async def test_bucket_refills_every_ten_seconds(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    for _ in range(5):
        assert await verdict(fetcher, "same") is InvalidToken
    clock.now += 10
    assert await verdict(fetcher, "same") is InvalidToken
    assert len(server.hits) == 6


async def test_a_token_that_waits_for_the_next_fetch_causes_it_as_soon_as_that_is_allowed(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    policy = JwksPolicy(forced_fetches=1, forced_refill_s=0.2)
    fetcher = KeyFetcher({ISSUER.url: server.url}, policy=policy, client=client)
    assert await verdict(fetcher, "2") is InvalidToken
    server.answer = publishes(ISSUER, "2")
    assert await verdict(fetcher, "2") is None
    assert len(server.hits) == 2
    await fetcher.aclose()


async def test_a_fetch_that_began_before_a_token_came_does_not_call_its_key_unknown(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    clock.now += 101
    gate = Gate(serving(ISSUER.jwks()))
    server.answer = gate
    assert await fetcher.key(ISSUER.url, "1"), "and the set is fetched behind"
    await gate.reached.wait()
    waiting = asyncio.create_task(verdict(fetcher, "2"))
    await asyncio.sleep(0)
    server.answer = publishes(ISSUER, "2")
    gate.opened.set()
    assert await waiting is None
    assert len(server.hits) == 3


async def test_a_later_fetch_that_fails_says_not_now(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    clock.now += 101
    gate = Gate(serving(ISSUER.jwks()))
    server.answer = gate
    await fetcher.key(ISSUER.url, "1")
    await gate.reached.wait()
    waiting = asyncio.create_task(verdict(fetcher, "2"))
    await asyncio.sleep(0)
    server.answer = FAILING
    gate.opened.set()
    assert await waiting is KeysUnavailable


async def test_places_are_given_back_by_who_waited_in_vain_and_who_gave_up(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    async with fetching(server, client, fetches=2) as fetcher:
        assert await verdict(fetcher, "x") is InvalidToken
        gate = Gate(serving(ISSUER.jwks()))
        server.answer = gate
        waiting = [asyncio.create_task(verdict(fetcher, "x")) for _ in range(WAITING_MAX)]
        await gate.reached.wait()
        assert await verdict(fetcher, "x") is KeysUnavailable
        waiting[-1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[-1]
        last = asyncio.create_task(verdict(fetcher, "x"))
        await asyncio.sleep(0)
        assert not last.done()
        last.cancel()
        gate.opened.set()
        # The first began the fetch, so it decides for all that came at the same time, one turn later.
        verdicts = [await task for task in waiting[:1]]
        assert verdicts == [InvalidToken]
        for task in waiting[1:]:
            task.cancel()


async def test_closing_wakes_who_waits_for_a_fetch_to_be_allowed(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    async with fetching(server, client, fetches=1) as fetcher:
        assert await verdict(fetcher, "x") is InvalidToken
        waiting = asyncio.create_task(verdict(fetcher, "x"))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting is KeysUnavailable


async def test_prefetching_fetches_each_set_once_and_warns_of_one_out_of_reach(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    other = Issuer("https://other.example.com")
    async with JwksServer(FAILING) as failing:
        fetcher = KeyFetcher({ISSUER.url: server.url, other.url: failing.url}, client=client)
        structlog.reset_defaults()
        with capture_logs() as lines:
            await fetcher.prefetch()
        assert [(line["log_level"], line["issuer"]) for line in lines if line["log_level"] == "warning"] == [
            ("warning", other.url)
        ]
        assert fetcher.cached_key(ISSUER.url, "1") == ISSUER.key.public_key()
        await fetcher.prefetch()
        assert (len(server.hits), len(failing.hits)) == (1, 2)
        await fetcher.aclose()


async def test_fetches_are_counted_by_how_they_end(server: JwksServer, client: httpx.AsyncClient) -> None:
    answers: dict[str, Answer] = {
        "ok": serving(ISSUER.jwks()),
        "refused": FAILING,
        "malformed": serving(b"[]"),
        "timeout": Gate(serving(ISSUER.jwks())),
    }
    seen = {"unreachable": 0, **dict.fromkeys(answers, 0)}
    for outcome, answer in answers.items():
        server.answer = answer
        fetcher = KeyFetcher({ISSUER.url: server.url}, client=client, timeout_s=0.2)
        await fetcher.prefetch()
        assert fetcher.fetches == {**seen, outcome: 1}
        assert fetcher.failures == {ISSUER.url: int(outcome != "ok")}
        await fetcher.aclose()
    await server.stop()
    fetcher = KeyFetcher({ISSUER.url: server.url}, client=client)
    await fetcher.prefetch()
    assert fetcher.fetches == {**seen, "unreachable": 1}
    await fetcher.aclose()


async def test_prefetching_nothing_is_nothing() -> None:
    await KeyFetcher({}, injected={ISSUER.url: ISSUER.keys}).prefetch()


async def test_rotated_key_works_at_once_and_removed_key_no_more(
    server: JwksServer, fetcher: KeyFetcher
) -> None:
    await fetcher.key(ISSUER.url, "1")
    server.answer = publishes(ISSUER, "2")
    assert await fetcher.key(ISSUER.url, "2")
    with pytest.raises(InvalidToken):
        await fetcher.key(ISSUER.url, "1")


async def test_set_older_than_its_ttl_is_used_and_refreshed_behind(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    clock.now += 101
    gate = Gate(publishes(ISSUER, "2"))
    server.answer = gate
    for _ in range(10):
        assert await fetcher.key(ISSUER.url, "1")
        assert fetcher.cached_key(ISSUER.url, "1")
    await gate.reached.wait()
    waiting = asyncio.create_task(fetcher.key(ISSUER.url, "2"))
    gate.opened.set()
    assert await waiting
    assert len(server.hits) == 2
    assert fetcher.cached_key(ISSUER.url, "1") is None


async def test_hanging_endpoint_delays_no_token_whose_key_is_cached(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    gate = Gate(FAILING)
    server.answer = gate
    stranger = asyncio.create_task(fetcher.key(ISSUER.url, "unknown"))
    await gate.reached.wait()
    clock.now += 150
    assert await fetcher.key(ISSUER.url, "1")
    assert fetcher.cached_key(ISSUER.url, "1")
    assert not stranger.done()
    gate.opened.set()
    with pytest.raises(KeysUnavailable):
        await stranger


async def test_set_older_than_twice_its_ttl_is_refreshed_first(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    clock.now += 201
    assert fetcher.cached_key(ISSUER.url, "1") is None
    server.answer = publishes(ISSUER, "2")
    with pytest.raises(InvalidToken) as caught:
        await fetcher.key(ISSUER.url, "1")
    assert type(caught.value) is InvalidToken
    assert len(server.hits) == 2


async def test_cached_keys_outlive_failing_refreshes_until_the_stale_limit(
    server: JwksServer, fetcher: KeyFetcher, clock: Clock
) -> None:
    await fetcher.key(ISSUER.url, "1")
    server.answer = FAILING
    clock.now += 201
    assert await fetcher.key(ISSUER.url, "1")
    assert await fetcher.key(ISSUER.url, "1")
    assert len(server.hits) == 2, "the second one falls into the wait after the failure"
    clock.now += 799
    assert await fetcher.key(ISSUER.url, "1")
    clock.now += 0.5
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")


async def test_unreachable_issuer_is_unavailable_and_works_again_by_itself(
    server: JwksServer, fetcher: KeyFetcher
) -> None:
    await server.stop()
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")
    await server.start()
    assert await fetcher.key(ISSUER.url, "1")


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "404 Not Found", "204 No Content", "201 Created"]
)
async def test_any_status_but_200_is_a_failed_fetch(
    server: JwksServer, fetcher: KeyFetcher, status: str
) -> None:
    server.answer = serving(ISSUER.jwks(), status=status)
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"keys":{}}', b"[]"])
async def test_body_that_is_no_key_set_is_a_failed_fetch(
    server: JwksServer, fetcher: KeyFetcher, body: bytes
) -> None:
    server.answer = serving(body)
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")


async def test_body_of_a_mebibyte_is_accepted(server: JwksServer, fetcher: KeyFetcher) -> None:
    server.answer = serving(ISSUER.jwks().ljust(JWKS_BYTES_MAX))
    assert await fetcher.key(ISSUER.url, "1")
    server.answer = serving(ISSUER.jwks().ljust(JWKS_BYTES_MAX + 1))
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "2")


async def test_endless_body_is_abandoned_at_the_limit(server: JwksServer, fetcher: KeyFetcher) -> None:
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    written = 0

    async def endless(_path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(chunk)
            await writer.drain()
            written += len(chunk)

    server.answer = endless
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")
    # What the kernel's buffers took on top of the limit.
    assert written < 64 * JWKS_BYTES_MAX


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP ", gzip.compress)]
)
async def test_compressed_set_is_read(
    server: JwksServer, fetcher: KeyFetcher, encoding: str, compress: type[bytes]
) -> None:
    server.answer = serving(compress(ISSUER.jwks()), headers=f"Content-Encoding: {encoding}\r\n")
    assert await fetcher.key(ISSUER.url, "1")


async def test_gzip_bomb_is_refused_without_unfolding_it(server: JwksServer, fetcher: KeyFetcher) -> None:
    bomb = gzip.compress(b" " * (64 * JWKS_BYTES_MAX), 1)
    server.answer = serving(bomb, headers="Content-Encoding: gzip\r\n")
    tracemalloc.start()
    try:
        with pytest.raises(KeysUnavailable):
            await fetcher.key(ISSUER.url, "1")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * JWKS_BYTES_MAX


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(ISSUER.jwks(), "br"), (gzip.compress(ISSUER.jwks())[:-9], "gzip"), (b"no gzip at all", "gzip")],
    ids=["unknown", "cut short", "no gzip"],
)
async def test_body_that_cannot_be_unpacked_is_a_failed_fetch(
    server: JwksServer, fetcher: KeyFetcher, body: bytes, encoding: str
) -> None:
    server.answer = serving(body, headers=f"Content-Encoding: {encoding}\r\n")
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")


async def test_five_redirects_are_followed_and_a_sixth_is_not(
    server: JwksServer, fetcher: KeyFetcher
) -> None:
    there = serving(ISSUER.jwks())
    server.answer = redirecting(*["/elsewhere"] * REDIRECTS_MAX, then=there)
    assert await fetcher.key(ISSUER.url, "1")
    assert len(server.hits) == REDIRECTS_MAX + 1
    server.answer = redirecting(*["/elsewhere"] * (REDIRECTS_MAX + 1), then=there)
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "2")


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/keys", "http://[", "http://127.0.0.1:1/"])
async def test_redirect_to_nowhere_is_a_failed_fetch(
    server: JwksServer, fetcher: KeyFetcher, location: str
) -> None:
    server.answer = redirecting(location, then=FAILING)
    with pytest.raises(KeysUnavailable):
        await fetcher.key(ISSUER.url, "1")
    assert len(server.hits) == 1


async def test_redirect_from_https_to_http_is_refused(server: JwksServer) -> None:
    server_tls, client_tls = self_signed("127.0.0.1")
    async with JwksServer(redirecting(server.url, then=FAILING), tls=server_tls) as secure:
        async with http_client(client_tls) as client:
            fetcher = KeyFetcher({ISSUER.url: secure.url}, client=client)
            with pytest.raises(KeysUnavailable):
                await fetcher.key(ISSUER.url, "1")
            assert (len(secure.hits), len(server.hits)) == (1, 0)
            secure.answer = redirecting("/keys", then=serving(ISSUER.jwks()))
            assert await fetcher.key(ISSUER.url, "1")


async def test_whole_fetch_has_one_deadline_however_the_bytes_drip(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    async def drip(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    server.answer = drip
    fetcher = KeyFetcher({ISSUER.url: server.url}, client=client, timeout_s=0.3)
    async with asyncio.timeout(30):
        with pytest.raises(KeysUnavailable):
            await fetcher.key(ISSUER.url, "1")


async def test_caller_that_gives_up_leaves_the_fetch_to_the_others(
    server: JwksServer, fetcher: KeyFetcher
) -> None:
    gate = Gate(serving(ISSUER.jwks()))
    server.answer = gate
    impatient = asyncio.create_task(fetcher.key(ISSUER.url, "1"))
    patient = asyncio.create_task(fetcher.key(ISSUER.url, "1"))
    await gate.reached.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    gate.opened.set()
    assert await patient
    assert len(server.hits) == 1


async def test_empty_bucket_still_waits_for_a_fetch_under_way(
    server: JwksServer, fetcher: KeyFetcher
) -> None:
    for _ in range(4):
        with pytest.raises(InvalidToken):
            await fetcher.key(ISSUER.url, "2")
    gate = Gate(publishes(ISSUER, "2"))
    server.answer = gate
    last = asyncio.create_task(fetcher.key(ISSUER.url, "2"))
    await gate.reached.wait()
    later = asyncio.create_task(fetcher.key(ISSUER.url, "2"))
    gate.opened.set()
    assert await last is await later
    assert len(server.hits) == 5


async def test_one_issuer_out_of_reach_does_not_touch_another(
    server: JwksServer, client: httpx.AsyncClient
) -> None:
    other = Issuer("https://other.example.com")
    gate = Gate(FAILING)
    async with JwksServer(gate) as slow:
        fetcher = KeyFetcher({ISSUER.url: server.url, other.url: slow.url}, client=client)
        waiting = asyncio.create_task(fetcher.key(other.url, "1"))
        await gate.reached.wait()
        assert await fetcher.key(ISSUER.url, "1")
        gate.opened.set()
        with pytest.raises(KeysUnavailable):
            await waiting


async def test_closing_tells_waiters_that_keys_are_unavailable_now(server: JwksServer) -> None:
    gate = Gate(FAILING)
    server.answer = gate
    fetcher = KeyFetcher({ISSUER.url: server.url})
    waiting = asyncio.create_task(fetcher.key(ISSUER.url, "1"))
    await gate.reached.wait()
    await fetcher.aclose()
    with pytest.raises(KeysUnavailable):
        await waiting


async def test_injected_keys_are_known_and_never_fetched() -> None:
    fetcher = KeyFetcher({}, injected={ISSUER.url: ISSUER.keys})
    assert fetcher.issuers.plain == {ISSUER.url}
    assert await fetcher.key(ISSUER.url, "1") is fetcher.cached_key(ISSUER.url, "1")
    assert fetcher.cached_key(ISSUER.url, "2") is None
    with pytest.raises(InvalidToken):
        await fetcher.key(ISSUER.url, "2")
    await fetcher.aclose()


async def test_client_of_the_caller_is_used_and_left_open() -> None:
    def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(ISSUER.jwks()))

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
        fetcher = KeyFetcher({ISSUER.url: "https://keys.example.com"}, client=client)
        assert await fetcher.key(ISSUER.url, "1")
        await fetcher.aclose()
        assert not client.is_closed


def test_response_helper_is_well_formed() -> None:
    assert response(b"x").endswith(b"Connection: close\r\n\r\nx")
