"""From token text to identity, what is remembered, and how refusals are told (docs/tokens.md 3.4 and 3.5)."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    AuthError,
    ExpiredToken,
    InvalidToken,
    IssuerKey,
    KeysUnavailable,
    MissingToken,
    TokenCheck,
    TokenPolicy,
    TrustedIssuers,
    UcanExpired,
    UntrustedIssuer,
    parse_jwk,
    personal_space_id,
)
from less_sync.auth import Issuer as Rules
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import AUTH_FAILURES, Authenticator, auth_failure
from tests.auth.minting import NOW, Issuer
from tests.auth.vectors import auth_vectors, names
from tests.sync.jwks_server import Clock, JwksServer, http_client, serving

ISSUER = Issuer()
JWT = auth_vectors()["jwt"]


class Forged(InvalidToken):
    """A refusal of the plainest kind."""

    def __init__(self) -> None:
        super().__init__(TokenCheck.SIGNATURE)


class CountedKeys:
    """Keys at hand, and how often they were asked for."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuers = TrustedIssuers.of([issuer.url])
        self.fetches: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.asked = 0
        self.closed = False
        self.prefetched = False
        self._keys = issuer.keys

    def cached_key(self, _issuer: str, kid: str) -> IssuerKey | None:
        self.asked += 1
        return self._keys.get(kid)

    async def key(self, _issuer: str, kid: str) -> IssuerKey:
        self.asked += 1
        return self._keys[kid]

    def trust(self, issuers: Mapping[str, str], ruled: Iterable[Rules] = ()) -> None:
        self.issuers = TrustedIssuers.of(issuers, ruled)

    async def prefetch(self) -> None:
        self.prefetched = True

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys(ISSUER)


@pytest.fixture
def authenticator(keys: CountedKeys, clock: Clock) -> Authenticator:
    return Authenticator(keys, now=clock)


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    async with JwksServer(serving(ISSUER.jwks())) as server:
        yield server


@pytest.mark.parametrize("case", JWT["cases"], ids=names(JWT["cases"]))
async def test_vector_is_judged_as_stated(case: dict[str, Any]) -> None:
    injected = {}
    for issuer, document in JWT["jwks_by_issuer"].items():
        injected[issuer] = dict(filter(None, map(parse_jwk, document["keys"])))
    authenticator = Authenticator(
        KeyFetcher({}, injected=injected),
        policy=TokenPolicy(audiences=frozenset(case["audiences"])),
        now=lambda: case["now"],
    )
    if "error" in case["expect"]:
        with pytest.raises(AuthError) as caught:
            await authenticator.identify(case["token"])
        assert type(caught.value).__name__ == case["expect"]["error"]
    else:
        cached = authenticator.identify_cached(case["token"])
        assert cached is not None
        assert cached == await authenticator.identify(case["token"])
        assert cached.user_id == case["expect"]["user_id"]


async def test_empty_text_causes_no_fetch(server: JwksServer) -> None:
    async with http_client() as client:
        authenticator = Authenticator(KeyFetcher({ISSUER.url: server.url}, client=client))
        with pytest.raises(MissingToken):
            await authenticator.identify("")
    assert server.hits == []


async def test_token_that_cannot_verify_causes_no_fetch(server: JwksServer) -> None:
    head = ISSUER.mint().rpartition(".")[0]
    async with http_client() as client:
        authenticator = Authenticator(KeyFetcher({ISSUER.url: server.url}, client=client))
        for token in (f"{head}.AA", "x.y.z", "a" * 20_000, Issuer("https://other.example.com").mint()):
            with pytest.raises(AuthError):
                authenticator.identify_cached(token)
            with pytest.raises(AuthError):
                await authenticator.identify(token)
    assert server.hits == []


async def test_first_token_waits_for_its_key_and_the_next_does_not(server: JwksServer, clock: Clock) -> None:
    async with http_client() as client:
        authenticator = Authenticator(KeyFetcher({ISSUER.url: server.url}, client=client), now=clock)
        token = ISSUER.mint()
        assert authenticator.identify_cached(token) is None
        assert server.hits == []
        identity = await authenticator.identify(token)
        assert authenticator.identify_cached(token) is identity
        assert authenticator.identify_cached(ISSUER.mint(sub="user-2"))
        assert len(server.hits) == 1


async def test_key_set_out_of_reach_is_told_apart_and_recovers(server: JwksServer, clock: Clock) -> None:
    async with http_client() as client:
        authenticator = Authenticator(KeyFetcher({ISSUER.url: server.url}, client=client), now=clock)
        await server.stop()
        with pytest.raises(KeysUnavailable) as caught:
            await authenticator.identify(ISSUER.mint())
        failure = auth_failure(caught.value)
        assert (*failure.close, failure.http_status) == (1013, "auth temporarily unavailable", 503)
        await server.start()
        assert await authenticator.identify(ISSUER.mint())


async def test_verified_token_is_remembered_for_a_minute(
    authenticator: Authenticator, keys: CountedKeys, clock: Clock
) -> None:
    token = ISSUER.mint()
    identity = await authenticator.identify(token)
    clock.now += 59.9
    assert await authenticator.identify(token) is authenticator.identify_cached(token) is identity
    assert keys.asked == 1
    clock.now += 0.1
    assert authenticator.identify_cached(token) == identity
    assert keys.asked == 2


async def test_remembered_token_expires_when_it_says(
    authenticator: Authenticator, keys: CountedKeys, clock: Clock
) -> None:
    token = ISSUER.mint(exp=NOW + 5)
    assert authenticator.identify_cached(token)
    clock.now += 5.9
    assert authenticator.identify_cached(token)
    assert keys.asked == 1
    clock.now += 0.1
    with pytest.raises(ExpiredToken):
        authenticator.identify_cached(token)
    with pytest.raises(ExpiredToken):
        await authenticator.identify(token)


async def test_token_without_expiry_is_remembered_too(keys: CountedKeys, clock: Clock) -> None:
    authenticator = Authenticator(keys, policy=TokenPolicy(require_exp=False), now=clock)
    token = ISSUER.mint(exp=None)
    assert authenticator.identify_cached(token) is authenticator.identify_cached(token)


async def test_clock_set_back_ends_the_memory(
    authenticator: Authenticator, keys: CountedKeys, clock: Clock
) -> None:
    token = ISSUER.mint()
    authenticator.identify_cached(token)
    clock.now -= 1
    assert authenticator.identify_cached(token)
    assert keys.asked == 2


async def test_refused_token_is_not_remembered(
    authenticator: Authenticator, keys: CountedKeys, clock: Clock
) -> None:
    token = ISSUER.mint(nbf=NOW + 100)
    with pytest.raises(InvalidToken):
        await authenticator.identify(token)
    clock.now += 100
    assert await authenticator.identify(token)


async def test_a_refused_token_costs_one_look_at_its_signature(
    authenticator: Authenticator, keys: CountedKeys
) -> None:
    forged = Issuer().mint()
    with pytest.raises(InvalidToken):
        authenticator.identify_cached(forged)
    assert keys.asked == 1
    with pytest.raises(InvalidToken):
        await authenticator.identify(forged)
    assert keys.asked == 2


async def test_memory_is_bounded_and_forgets_the_least_used(keys: CountedKeys, clock: Clock) -> None:
    authenticator = Authenticator(keys, now=clock, remembered_max=2)
    one, two, three = (ISSUER.mint(sub=name) for name in ("one", "two", "three"))
    for token in (one, two, one, three):
        await authenticator.identify(token)
    assert keys.asked == 3
    await authenticator.identify(one)
    assert keys.asked == 3
    await authenticator.identify(two)
    assert keys.asked == 4


async def test_token_that_shares_the_longest_allowed_start_is_another_token(
    authenticator: Authenticator,
) -> None:
    token = ISSUER.mint(pad="x" * 11_900)
    assert authenticator.identify_cached(token)
    for longer in (token + "\ud800", token + "A" * 10_000):
        with pytest.raises(InvalidToken):
            authenticator.identify_cached(longer)


async def test_policy_is_applied_to_tokens(keys: CountedKeys, clock: Clock) -> None:
    own = personal_space_id(PERSONAL_SPACE_ROOTS["less"], ISSUER.url, "user-1", "client-1")
    authenticator = Authenticator(keys, policy=TokenPolicy(personal_space_check="derive"), now=clock)
    assert authenticator.identify_cached(ISSUER.mint(personal_space_id=str(own)))
    with pytest.raises(InvalidToken):
        await authenticator.identify(ISSUER.mint(personal_space_id=str(own), sub="user-2"))


async def test_prefetching_fetches_the_keys(authenticator: Authenticator, keys: CountedKeys) -> None:
    await authenticator.prefetch()
    assert keys.prefetched


async def test_closing_closes_the_keys(authenticator: Authenticator, keys: CountedKeys) -> None:
    await authenticator.aclose()
    assert keys.closed


@pytest.mark.parametrize(
    ("error", "close", "refresh_error", "status", "http_error"),
    [
        (
            MissingToken,
            (4000, "missing auth token"),
            "missing auth token",
            401,
            "missing authorization token",
        ),
        (Forged, (4000, "invalid auth token"), "invalid auth token", 401, "invalid token"),
        (ExpiredToken, (4000, "expired auth token"), "expired auth token", 401, "token has expired"),
        (
            UntrustedIssuer,
            (4000, "untrusted auth issuer"),
            "untrusted auth issuer",
            401,
            "untrusted token issuer",
        ),
        (
            KeysUnavailable,
            (1013, "auth temporarily unavailable"),
            "invalid auth token",
            503,
            "auth temporarily unavailable",
        ),
    ],
)
def test_each_refusal_is_told_in_the_words_of_its_transport(
    error: type[AuthError], close: tuple[int, str], refresh_error: str, status: int, http_error: str
) -> None:
    failure = auth_failure(error())
    assert failure.close == close
    assert (failure.refresh_error, failure.http_status, failure.http_error) == (
        refresh_error,
        status,
        http_error,
    )


def test_error_without_words_of_its_own_is_told_as_an_invalid_token() -> None:
    assert auth_failure(UcanExpired()) is AUTH_FAILURES[InvalidToken]


def test_every_error_a_token_can_have_has_its_row() -> None:
    raises = (Authenticator.identify.__doc__ or "").partition("Raises:")[2]
    assert {line.split(":")[0].strip() for line in raises.strip().splitlines()} == {
        kind.__name__ for kind in AUTH_FAILURES
    }
