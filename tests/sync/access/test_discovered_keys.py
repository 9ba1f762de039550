"""RS256 keys that a discovery document leads to: bounds and cache are those of any keys.

What a key set alone can do wrong is in test_key_fetch.py; here it is both documents, and what lies between.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx
import pytest

from less_sync.auth import (
    DISCOVERY_BYTES_MAX,
    InvalidToken,
    JwksPolicy,
    KeysUnavailable,
    TokenCheck,
    TokenPolicy,
    UntrustedIssuer,
)
from less_sync.sync.access.key_fetch import REDIRECTS_MAX, KeyFetcher
from less_sync.sync.access.sign_in import Authenticator, auth_failure
from tests.auth.minting import NOW, Issuer
from tests.auth.ruled import RuledIssuer
from tests.sync.jwks_server import Answer, Clock, Gate, JwksServer, http_client, redirecting, serving
from tests.sync.tls import self_signed

POLICY = JwksPolicy(ttl_s=100, stale_max_s=1000)
DISCOVERY = "/.well-known/openid-configuration"


@dataclass
class Provider:
    """An issuer's host. `answers` are by path; each can be exchanged."""

    server: JwksServer
    issuer: RuledIssuer
    fetcher: KeyFetcher
    clock: Clock
    answers: dict[str, Answer] = field(default_factory=dict)

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        await self.answers[path](path, writer)

    def describe(self, **members: object) -> bytes:
        """Its discovery document."""
        url = self.issuer.url
        return json.dumps({"issuer": url, "jwks_uri": f"{url}/certs"} | members).encode()

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for."""
        return [head.split(" ")[1] for head in self.server.hits]

    async def key(self, kid: str = "1") -> object:
        return await self.fetcher.key(self.issuer.url, kid)


@asynccontextmanager
async def provider(client: httpx.AsyncClient, *, timeout_s: float = 10.0) -> AsyncIterator[Provider]:
    async with JwksServer(serving(b"")) as server:
        issuer = RuledIssuer("RS256", url=server.url.removesuffix("/keys"), keys_url=None)
        clock = Clock()
        fetcher = KeyFetcher(
            {}, ruled=[issuer.rules], policy=POLICY, client=client, clock=clock, timeout_s=timeout_s
        )
        found = Provider(server, issuer, fetcher, clock)
        found.answers = {DISCOVERY: serving(found.describe()), "/certs": serving(issuer.jwks())}
        server.answer = found.answer
        yield found
        await fetcher.aclose()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def there(client: httpx.AsyncClient) -> AsyncIterator[Provider]:
    async with provider(client) as found:
        yield found


async def test_a_hundred_first_tokens_cause_one_fetch_of_each_document(there: Provider) -> None:
    authenticator = Authenticator(there.fetcher, now=Clock(NOW))
    token = there.issuer.mint()
    assert authenticator.identify_cached(token) is None
    people = await asyncio.gather(*(authenticator.identify(token) for _ in range(100)))
    assert {person.user_id for person in people} == {"user-1"}
    assert there.asked == [DISCOVERY, "/certs"]
    assert authenticator.identify_cached(there.issuer.mint(sub="user-2"))
    assert there.fetcher.fetches["ok"] == 1


async def test_a_key_set_on_another_host_is_asked_there(there: Provider) -> None:
    async with JwksServer(serving(there.issuer.jwks())) as other:
        there.answers[DISCOVERY] = serving(there.describe(jwks_uri=other.url))
        assert await there.key()
        assert (there.asked, len(other.hits)) == ([DISCOVERY], 1)


async def test_a_rotated_key_and_a_moved_key_set_are_found_when_a_token_needs_them(
    there: Provider,
) -> None:
    assert await there.key()
    there.answers[DISCOVERY] = serving(there.describe(jwks_uri=f"{there.issuer.url}/certs-2"))
    there.answers["/certs-2"] = serving(there.issuer.jwks(kid="2"))
    assert await there.key("2")
    assert there.asked == [DISCOVERY, "/certs", DISCOVERY, "/certs-2"]
    with pytest.raises(InvalidToken) as caught:  # the set before it is gone whole
        await there.key("1")
    assert caught.value.check is TokenCheck.KEY


async def test_both_documents_are_fetched_again_when_the_set_is_old(there: Provider) -> None:
    assert await there.key()
    there.clock.now += 100
    assert await there.key()
    assert there.asked == [DISCOVERY, "/certs"]
    there.clock.now += 1
    assert there.fetcher.cached_key(there.issuer.url, "1")  # used, and refreshed behind
    await there.fetcher.prefetch()
    async with asyncio.timeout(10):
        while there.fetcher.fetches["ok"] < 2:  # noqa: ASYNC110  # a task of the fetcher's
            await asyncio.sleep(0.005)
    assert there.asked == [DISCOVERY, "/certs"] * 2


@pytest.mark.parametrize("path", [DISCOVERY, "/certs"])
async def test_an_outage_leaves_known_keys_in_use_until_they_are_too_old(there: Provider, path: str) -> None:
    assert await there.key()
    there.answers[path] = serving(b"", status="500 Internal Server Error")
    there.clock.now += 500
    assert await there.key()
    there.clock.now += 501
    with pytest.raises(KeysUnavailable):
        await there.key()


@pytest.mark.parametrize("path", [DISCOVERY, "/certs"])
async def test_a_first_token_during_an_outage_hears_not_now_and_the_next_one_is_accepted(
    there: Provider, path: str
) -> None:
    authenticator = Authenticator(there.fetcher, now=Clock(NOW))
    good, there.answers[path] = there.answers[path], serving(b"", status="503 Service Unavailable")
    with pytest.raises(KeysUnavailable) as caught:
        await authenticator.identify(there.issuer.mint())
    told = auth_failure(caught.value)
    assert (told.close.code, told.http_status) == (1013, 503)
    there.answers[path] = good
    assert await authenticator.identify(there.issuer.mint())


LARGE: dict[str, Callable[[Provider], bytes]] = {
    DISCOVERY: lambda there: there.describe(),
    "/certs": lambda there: there.issuer.jwks(),
}


@pytest.mark.parametrize("path", LARGE)
async def test_each_document_may_have_a_mebibyte_and_not_a_byte_more(there: Provider, path: str) -> None:
    body = LARGE[path](there)
    there.answers[path] = serving(body.ljust(DISCOVERY_BYTES_MAX))
    assert await there.key()
    there.answers[path] = serving(body.ljust(DISCOVERY_BYTES_MAX + 1))
    with pytest.raises(KeysUnavailable):
        await there.key("2")
    bomb = gzip.compress(body.ljust(4 * DISCOVERY_BYTES_MAX))
    there.answers[path] = serving(bomb, headers="Content-Encoding: gzip\r\n")
    with pytest.raises(KeysUnavailable):
        await there.key("2")


@pytest.mark.parametrize(
    ("members", "outcome"),
    [
        ({"issuer": "http://127.0.0.1:1"}, "refused"),
        ({"jwks_uri": "ftp://127.0.0.1/keys"}, "refused"),
        ({"jwks_uri": None}, "malformed"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, "unreachable"),
    ],
)
async def test_a_document_that_leads_nowhere_is_a_failed_fetch(
    there: Provider, members: dict[str, object], outcome: str
) -> None:
    there.answers[DISCOVERY] = serving(there.describe(**members))
    with pytest.raises(KeysUnavailable):
        await there.key()
    assert there.asked == [DISCOVERY]
    assert there.fetcher.fetches == {**dict.fromkeys(there.fetcher.fetches, 0), outcome: 1}


async def test_both_documents_have_one_deadline_together(client: httpx.AsyncClient) -> None:
    async with provider(client, timeout_s=0.5) as there:

        def late(then: Answer) -> Answer:
            async def answer(path: str, writer: asyncio.StreamWriter) -> None:
                await asyncio.sleep(0.3)
                await then(path, writer)

            return answer

        there.answers = {path: late(answer) for path, answer in there.answers.items()}
        with pytest.raises(KeysUnavailable):
            await there.key()
        assert there.fetcher.fetches["timeout"] == 1
        assert there.asked == [DISCOVERY, "/certs"]


@pytest.mark.parametrize("path", [DISCOVERY, "/certs"])
async def test_five_redirects_are_followed_for_each_document_and_a_sixth_is_not(
    there: Provider, path: str
) -> None:
    there.answers["/elsewhere"] = there.answers[path]
    hops = ["/elsewhere"] + [path] * (REDIRECTS_MAX - 1)
    there.answers[path] = redirecting(*reversed(hops), then=serving(b""))
    assert await there.key()
    hops = ["/elsewhere"] + [path] * REDIRECTS_MAX
    there.answers[path] = redirecting(*reversed(hops), then=serving(b""))
    with pytest.raises(KeysUnavailable):
        await there.key("2")


async def test_https_never_leads_to_http() -> None:
    server_tls, client_tls = self_signed("127.0.0.1")
    async with JwksServer(serving(b"")) as plain, http_client(client_tls) as client:
        async with JwksServer(serving(b""), tls=server_tls) as secure:
            url = secure.url.removesuffix("/keys")
            issuer = RuledIssuer("RS256", url=url, keys_url=None)
            fetcher = KeyFetcher({}, ruled=[issuer.rules], client=client)
            plain.answer = serving(issuer.jwks())

            def described(jwks_uri: str) -> Answer:
                return serving(json.dumps({"issuer": url, "jwks_uri": jwks_uri}).encode())

            redirected = redirecting(plain.url, then=described(plain.url))
            for answer in (described(plain.url), redirected):
                secure.answer = answer
                with pytest.raises(KeysUnavailable):
                    await fetcher.key(url, "1")
            secure.answer = described(f"{url}/keys")  # a key set that is none: asked for, and no further
            with pytest.raises(KeysUnavailable):
                await fetcher.key(url, "1")
            assert plain.hits == []
            await fetcher.aclose()


async def test_keys_of_other_algorithms_than_the_issuers_are_not_there(there: Provider) -> None:
    other = RuledIssuer("ES256", kid="2")
    there.answers["/certs"] = serving(json.dumps({"keys": [there.issuer.jwk(), other.jwk()]}).encode())
    assert await there.key("1")
    with pytest.raises(InvalidToken):
        await there.key("2")


async def test_what_cannot_verify_causes_no_fetch(there: Provider) -> None:
    authenticator = Authenticator(there.fetcher, now=Clock(NOW))
    head = there.issuer.mint().rpartition(".")[0]
    logout = there.issuer.mint(events={})
    for token in (f"{head}.", f"{head}.AAAA", logout, RuledIssuer("ES256", url=there.issuer.url).mint()):
        with pytest.raises(InvalidToken):
            await authenticator.identify(token)
    assert there.asked == []


async def test_rules_are_exchanged_in_one_step_and_keys_of_the_same_set_are_kept(
    there: Provider,
) -> None:
    authenticator = Authenticator(there.fetcher, now=Clock(NOW), policy=TokenPolicy(mailbox_key=bytes(32)))
    token = there.issuer.mint()
    assert not (await authenticator.identify(token)).derived
    derived = replace(there.issuer.rules, derived=True, audiences=frozenset({"less-sync"}))
    authenticator.trust({}, frozenset(), [derived])
    remembered = authenticator.identify_cached(token)
    assert remembered is not None
    assert remembered.derived
    assert there.asked == [DISCOVERY, "/certs"]
    authenticator.trust({}, frozenset(), [replace(derived, algorithms=frozenset({"RS256", "PS256"}))])
    assert (await authenticator.identify(token)).derived
    assert there.asked == [DISCOVERY, "/certs"] * 2
    authenticator.trust({}, frozenset(), [RuledIssuer("RS256", url="http://127.0.0.1:1").rules])
    with pytest.raises(UntrustedIssuer):
        await authenticator.identify(token)


async def test_a_token_that_waits_while_its_issuers_rules_are_exchanged_is_judged_by_the_new_ones(
    there: Provider,
) -> None:
    gate = Gate(there.answers["/certs"])
    there.answers["/certs"] = gate
    authenticator = Authenticator(there.fetcher, now=Clock(NOW))
    waiting = asyncio.create_task(authenticator.identify(there.issuer.mint()))
    await gate.reached.wait()
    authenticator.trust({}, frozenset(), [replace(there.issuer.rules, audiences=frozenset({"elsewhere"}))])
    gate.opened.set()
    with pytest.raises(InvalidToken) as caught:
        await waiting
    assert caught.value.check is TokenCheck.AUDIENCE


async def test_issuers_of_both_kinds_stand_side_by_side(there: Provider) -> None:
    plain = Issuer()
    async with JwksServer(serving(plain.jwks())) as other:
        authenticator = Authenticator(there.fetcher, now=Clock(NOW))
        authenticator.trust({plain.url: other.url}, frozenset(), [there.issuer.rules])
        assert (await authenticator.identify(plain.mint())).client_id == "client-1"
        assert (await authenticator.identify(there.issuer.mint())).issuer == there.issuer.url
        with pytest.raises(InvalidToken) as caught:
            await authenticator.identify(RuledIssuer("RS256", url=plain.url).mint())
        assert caught.value.check is TokenCheck.ALGORITHM
