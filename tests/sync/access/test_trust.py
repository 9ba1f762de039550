"""Issuers and audiences that are exchanged while the server runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from less_sync.auth import InvalidToken, KeysUnavailable, TokenCheck, TokenPolicy, UntrustedIssuer
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from tests.auth.minting import NOW, Issuer
from tests.sync.jwks_server import Clock, Gate, JwksServer, http_client, serving

ONE, OTHER = Issuer("https://one.example.com"), Issuer("https://other.example.com")
TIMEOUT_S = 10.0


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[JwksServer, JwksServer]]:
    async with JwksServer(serving(ONE.jwks())) as one, JwksServer(serving(OTHER.jwks())) as other:
        yield one, other


@asynccontextmanager
async def trusting(
    issuers: dict[str, str], policy: TokenPolicy | None = None
) -> AsyncIterator[Authenticator]:
    async with http_client() as client:
        fetcher = KeyFetcher(issuers, client=client)
        authenticator = Authenticator(fetcher, policy=policy, now=Clock(NOW))
        yield authenticator
        await authenticator.aclose()


async def until_hit(server: JwksServer) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not server.hits:  # noqa: ASYNC110  # another socket's doing
            await asyncio.sleep(0.005)


async def test_a_removed_issuers_tokens_are_refused_at_once_though_they_were_verified_before() -> None:
    async with two_servers() as (one, other), trusting({ONE.url: one.url, OTHER.url: other.url}) as signed:
        token = ONE.mint()
        await signed.identify(token)
        assert signed.identify_cached(token)
        signed.trust({OTHER.url: other.url}, frozenset())
        with pytest.raises(UntrustedIssuer):
            signed.identify_cached(token)
        with pytest.raises(UntrustedIssuer):
            await signed.identify(token)


async def test_the_keys_of_an_issuer_that_stays_are_kept_and_those_of_a_new_one_fetched_ahead() -> None:
    async with two_servers() as (one, other), trusting({ONE.url: one.url}) as signed:
        await signed.identify(ONE.mint())
        signed.trust({ONE.url: one.url, OTHER.url: other.url}, frozenset())
        await until_hit(other)
        assert signed.identify_cached(ONE.mint())
        assert await signed.identify(OTHER.mint())
        assert (len(one.hits), len(other.hits)) == (1, 1)


async def test_another_audience_counts_for_tokens_that_were_verified_before() -> None:
    async with two_servers() as (one, _):
        async with trusting({ONE.url: one.url}, TokenPolicy(audiences=frozenset({"a"}))) as signed:
            token = ONE.mint(aud="a")
            assert await signed.identify(token)
            signed.trust({ONE.url: one.url}, frozenset({"b"}))
            with pytest.raises(InvalidToken) as caught:
                signed.identify_cached(token)
            assert caught.value.check is TokenCheck.AUDIENCE
            assert signed.identify_cached(ONE.mint(aud="b"))
            assert len(one.hits) == 1


async def test_what_else_the_policy_says_stays() -> None:
    async with two_servers() as (one, _):
        async with trusting({ONE.url: one.url}, TokenPolicy(require_exp=True)) as signed:
            signed.trust({ONE.url: one.url}, frozenset({"a"}))
            with pytest.raises(InvalidToken) as caught:
                await signed.identify(ONE.mint(aud="a", exp=None))
            assert caught.value.check is TokenCheck.NO_EXPIRY


async def test_who_waits_for_a_key_of_a_removed_issuer_is_refused_and_its_fetch_ends() -> None:
    gate = Gate(serving(ONE.jwks()))
    async with JwksServer(gate) as one, trusting({ONE.url: one.url}) as signed:
        waiting = asyncio.create_task(signed.identify(ONE.mint()))
        await asyncio.wait_for(gate.reached.wait(), TIMEOUT_S)
        signed.trust({}, frozenset())
        with pytest.raises(UntrustedIssuer):
            await asyncio.wait_for(waiting, TIMEOUT_S)


async def test_who_waits_while_the_address_changes_gets_the_key_from_the_new_one() -> None:
    gate = Gate(serving(OTHER.jwks()))
    async with JwksServer(gate) as old, JwksServer(serving(ONE.jwks())) as new:
        async with trusting({ONE.url: old.url}) as signed:
            waiting = asyncio.create_task(signed.identify(ONE.mint()))
            await asyncio.wait_for(gate.reached.wait(), TIMEOUT_S)
            signed.trust({ONE.url: new.url}, frozenset())
            assert await asyncio.wait_for(waiting, TIMEOUT_S)
            assert (len(old.hits), len(new.hits)) == (1, 1)


async def test_a_key_that_only_the_old_address_had_is_good_no_more() -> None:
    async with two_servers() as (one, other), trusting({ONE.url: one.url}) as signed:
        await signed.identify(ONE.mint())
        signed.trust({ONE.url: other.url}, frozenset())
        with pytest.raises(InvalidToken):
            await signed.identify(ONE.mint())


async def test_an_end_right_behind_an_exchange_leaves_no_fetch() -> None:
    gate = Gate(serving(ONE.jwks()))
    async with JwksServer(gate) as one:
        async with trusting({ONE.url: one.url}) as signed:
            waiting = asyncio.create_task(signed.identify(ONE.mint()))
            await asyncio.wait_for(gate.reached.wait(), TIMEOUT_S)
            signed.trust({}, frozenset())
            signed.trust({OTHER.url: one.url}, frozenset())
        with pytest.raises((UntrustedIssuer, KeysUnavailable)):
            await asyncio.wait_for(waiting, TIMEOUT_S)
        assert not any("_refresh" in str(task.get_coro()) for task in asyncio.all_tasks())
