"""Fetching the key sets of trusted issuers: the shell around the decisions of `auth.KeyCache`.

One fetch per issuer at a time, in a task of its own that every caller awaits; a caller that gives up
does not take the others' fetch with it. Everything here runs on one event loop.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, assert_never

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from less_sync.auth import (
    JWKS_BYTES_MAX,
    InvalidToken,
    JwksPolicy,
    KeyCache,
    KeyDecision,
    Keys,
    KeysUnavailable,
    TokenCheck,
    UntrustedIssuer,
    parse_jwks,
)

FETCH_TIMEOUT_S: Final = 10.0
"""For a whole fetch: connecting, redirects and body."""

REDIRECTS_MAX: Final = 5

_log: Final = structlog.get_logger("less_sync.key_fetch")


class KeySource(Protocol):
    """Where an `Authenticator` finds the keys of trusted issuers."""

    @property
    def issuers(self) -> frozenset[str]:
        """The trusted issuers, normalised."""
        ...

    def cached_key(self, issuer: str, kid: str) -> EllipticCurvePublicKey | None:
        """The key, if it can be used without waiting for anything."""
        ...

    async def key(self, issuer: str, kid: str) -> EllipticCurvePublicKey:
        """The key. Raises InvalidToken when there is none, KeysUnavailable when that cannot be known now."""
        ...

    async def aclose(self) -> None:
        """Stop what is under way."""
        ...


class FetchRefused(Exception):
    """A key set answered in a way that is not accepted."""


@dataclass(slots=True)
class _Issuer:
    jwks_url: str
    cache: KeyCache = field(default_factory=KeyCache)
    fetch: asyncio.Task[None] | None = None


class KeyFetcher:
    """Keys of trusted issuers, fetched when needed and kept as docs/tokens.md 4.2 and 4.3 say.

    Args:
        issuers: normalised issuer to the URL of its key set, as `parse_trusted_issuers` returns.
        injected: normalised issuer to keys that are simply known and never fetched (the dev issuer).
        client: used instead of an own one, and not closed here.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        issuers: Mapping[str, str],
        *,
        injected: Mapping[str, Keys] | None = None,
        policy: JwksPolicy | None = None,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = FETCH_TIMEOUT_S,
    ) -> None:
        self._fetched = {issuer: _Issuer(url) for issuer, url in issuers.items()}
        self._injected = dict(injected or {})
        self._policy = policy or JwksPolicy()
        self._client = client
        self._owns_client = client is None
        self._clock = clock
        self._timeout_s = timeout_s
        self.issuers = frozenset(self._fetched) | frozenset(self._injected)

    def cached_key(self, issuer: str, kid: str) -> EllipticCurvePublicKey | None:
        """The key, if no fetch need be awaited; starts a refresh behind when one is due."""
        if issuer in self._injected:
            return self._injected[issuer].get(kid)
        entry = self._fetched.get(issuer)
        if entry is None:
            return None
        now_s = self._clock()
        match entry.cache.decide(kid, self._policy, now_s):
            case KeyDecision.USE:
                return entry.cache.usable_key(kid, self._policy, now_s)
            case KeyDecision.REFRESH_BEHIND:
                self._start(issuer, entry)
                return entry.cache.usable_key(kid, self._policy, now_s)
            case _:
                return None

    async def key(self, issuer: str, kid: str) -> EllipticCurvePublicKey:
        """The key `kid` of the issuer's set, fetched first if need be: 10 s at most.

        Raises:
            InvalidToken: the set has no such key.
            KeysUnavailable: the set cannot be fetched, and no cached key is usable.
            UntrustedIssuer: the issuer is not configured.
        """
        if issuer in self._injected:
            known = self._injected[issuer].get(kid)
            if known is None:
                raise InvalidToken(TokenCheck.KEY)
            return known
        entry = self._fetched.get(issuer)
        if entry is None:
            raise UntrustedIssuer
        await self._make_ready(issuer, entry, kid)
        found = entry.cache.usable_key(kid, self._policy, self._clock())
        if found is not None:
            return found
        if entry.cache.settle() is KeyDecision.UNAVAILABLE:
            raise KeysUnavailable
        raise InvalidToken(TokenCheck.KEY)

    async def aclose(self) -> None:
        """Cancel fetches under way and close an own client."""
        tasks = [entry.fetch for entry in self._fetched.values() if entry.fetch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _make_ready(self, issuer: str, entry: _Issuer, kid: str) -> None:
        """Fetch as the cache decides.

        No await lies between a decision and the fetch it starts, so no lock is needed.
        """
        decision = entry.cache.decide(kid, self._policy, self._clock())
        match decision:
            case KeyDecision.USE:
                return
            case KeyDecision.REFRESH_BEHIND:
                self._start(issuer, entry)
            case KeyDecision.REFRESH_FIRST:
                await _finished(self._start(issuer, entry))
            case KeyDecision.FETCH:
                if entry.fetch is None:
                    entry.cache = entry.cache.after_forced_start(self._policy, self._clock())
                await _finished(self._start(issuer, entry))
            case KeyDecision.UNKNOWN | KeyDecision.UNAVAILABLE:
                # The bucket is empty, but what somebody else is fetching anyway may bring the key.
                if entry.fetch is not None:
                    await _finished(entry.fetch)
            case _:  # pragma: no cover
                assert_never(decision)

    def _start(self, issuer: str, entry: _Issuer) -> asyncio.Task[None]:
        """The issuer's one fetch: the one under way, or a new one."""
        if entry.fetch is None:
            entry.fetch = asyncio.create_task(self._refresh(issuer, entry))
        return entry.fetch

    async def _refresh(self, issuer: str, entry: _Issuer) -> None:
        try:
            keys = await self._fetch_keys(entry.jwks_url)
        except asyncio.CancelledError:
            # Closing: whoever waits is told "not now", never "bad token".
            entry.cache = entry.cache.after_failure(self._clock())
            raise
        except Exception as error:  # whatever it was, cached keys go on and the next attempt is timed
            entry.cache = entry.cache.after_failure(self._clock())
            _log.warning(
                "key set not fetched",
                issuer=issuer,
                fault=type(error).__name__,
                failures=entry.cache.failures,
            )
        else:
            entry.cache = entry.cache.after_success(keys, self._clock())
            _log.debug("key set fetched", issuer=issuer, keys=len(keys))
        finally:
            entry.fetch = None

    async def _fetch_keys(self, url: str) -> Keys:
        if self._client is None:
            self._client = httpx.AsyncClient()
        async with asyncio.timeout(self._timeout_s):
            return parse_jwks(await _get(self._client, url, timeout_s=self._timeout_s))


async def _finished(fetch: asyncio.Task[None]) -> None:
    """Wait for a fetch without owning it: neither its end nor our own cancellation passes over."""
    await asyncio.wait((fetch,))


async def _get(client: httpx.AsyncClient, url: str, *, timeout_s: float) -> bytes:
    """The body of a key set, redirects followed by hand: five at most, and none from https to http."""
    # Uncompressed is asked for; some servers compress all the same.
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    request = client.build_request("GET", url, headers=headers, timeout=timeout_s)
    for _ in range(REDIRECTS_MAX + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            following = response.next_request
            if following is None:
                if response.status_code != httpx.codes.OK:
                    raise FetchRefused(f"status {response.status_code}")
                return await _read_bounded(response)
        finally:
            await response.aclose()
        if request.url.scheme == "https" and following.url.scheme != "https":
            raise FetchRefused("redirect from https to http")
        request = following
    raise FetchRefused("too many redirects")


async def _read_bounded(response: httpx.Response) -> bytes:
    """Read the body, decompressed, and give up at the first byte beyond the limit.

    The decompressor stops at the limit by itself, so that a small body cannot unfold in memory.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise FetchRefused("content encoding not known")
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    body = bytearray()
    async for raw in response.aiter_raw():
        body += raw if inflate is None else inflate.decompress(raw, JWKS_BYTES_MAX + 1 - len(body))
        if len(body) > JWKS_BYTES_MAX:
            raise FetchRefused("key set too large")
    if inflate is not None and not inflate.eof:
        raise FetchRefused("compressed body cut short")
    return bytes(body)
