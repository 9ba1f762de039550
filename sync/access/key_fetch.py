"""Fetching the key sets of trusted issuers: the shell around the decisions of `auth.KeyCache`.

One fetch per issuer at a time, in a task of its own that every caller awaits; a caller that gives up
does not take the others' fetch with it. Everything here runs on one event loop.
"""

import asyncio
import sys
import time
import zlib
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, Self

import structlog

from less_sync.auth import (
    DEFAULT_ALGORITHMS,
    DISCOVERY_BYTES_MAX,
    JWKS_BYTES_MAX,
    AuthError,
    DiscoveryRefused,
    InvalidToken,
    Issuer,
    IssuerKey,
    JwksPolicy,
    KeyCache,
    KeyDecision,
    Keys,
    KeysUnavailable,
    MalformedText,
    TokenCheck,
    TrustedIssuers,
    UntrustedIssuer,
    parse_discovery,
    parse_jwks,
)

if TYPE_CHECKING:
    import httpx

FETCH_TIMEOUT_S: Final = 10.0
"""For a whole fetch: connecting, redirects and body."""

WAIT_S: Final = 10.0
"""For a token, however many fetches it waits for."""

WAITING_MAX: Final = 64
"""Tokens of one issuer that wait for a set later than the one that is known."""

REDIRECTS_MAX: Final = 5

OUTCOMES: Final = ("ok", "timeout", "unreachable", "refused", "malformed")
"""How a fetch ends: refused is an answer that is not accepted, malformed a body that is no key set."""

_log: Final = structlog.get_logger("less_sync.key_fetch")


class KeySource(Protocol):
    """Where an `Authenticator` finds the keys of trusted issuers."""

    @property
    def issuers(self) -> TrustedIssuers:
        """The trusted issuers and their rules."""
        ...

    def cached_key(self, issuer: str, kid: str) -> IssuerKey | None:
        """The key, if it can be used without waiting for anything."""
        ...

    async def key(self, issuer: str, kid: str) -> IssuerKey:
        """The key. Raises InvalidToken when there is none, KeysUnavailable when that cannot be known now."""
        ...

    def trust(self, issuers: Mapping[str, str], ruled: Iterable[Issuer] = ()) -> None:
        """Exchange the trusted issuers, all at once.

        Args:
            issuers: normalised issuer to the URL of its key set.
            ruled: those that have rules of their own; none of them is in `issuers`.
        """
        ...

    @property
    def fetches(self) -> Mapping[str, int]:
        """How often a key set was asked for since the start, by outcome."""
        ...

    @property
    def failures(self) -> Mapping[str, int]:
        """For each issuer whose keys are fetched, how many attempts have failed since the last good one."""
        ...

    async def prefetch(self) -> None:
        """Fetch what will be needed, before anybody waits for it."""
        ...

    async def aclose(self) -> None:
        """Stop what is under way."""
        ...


class FetchRefused(Exception):
    """A key set answered in a way that is not accepted."""


@dataclass(frozen=True, slots=True)
class KeySetPlace:
    """Where an issuer's key set is, and which of its keys are used."""

    url: str
    """Of the key set; of the discovery document where that names it."""
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    discovers: str = ""
    """The issuer whose discovery document is at `url`; empty: the key set itself is."""

    @classmethod
    def of(cls, issuer: Issuer) -> Self:
        """That of an issuer with rules."""
        if issuer.keys_url is None:
            return cls(issuer.discovery_url, issuer.algorithms, issuer.url)
        return cls(issuer.keys_url, issuer.algorithms)


@dataclass(slots=True)
class _Issuer:
    place: KeySetPlace
    cache: KeyCache = field(default_factory=KeyCache)
    fetch: asyncio.Task[None] | None = None
    begun: int = 0
    """Fetches begun so far."""
    under_way: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there is a fetch."""
    waiting: int = 0
    """Tokens whose key is not in the set that is known, waiting for a later one."""

    def take_place(self) -> None:
        """Count a token that waits. Raises KeysUnavailable when there are too many: strangers invent keys."""
        if self.waiting >= WAITING_MAX:
            raise KeysUnavailable
        self.waiting += 1


class KeyFetcher:
    """Keys of trusted issuers, fetched when needed and kept as docs/tokens.md 4.2 and 4.3 say.

    Args:
        issuers: normalised issuer to the URL of its key set, as `parse_trusted_issuers` returns.
        ruled: issuers that have rules of their own; none of them is in `issuers`.
        injected: normalised issuer to keys that are simply known and never fetched (the dev issuer).
        client: used instead of an own one, and not closed here.
        clock: monotonic seconds.
        wait_s: how long a token waits for its key in all.
    """

    def __init__(
        self,
        issuers: Mapping[str, str],
        *,
        ruled: Iterable[Issuer] = (),
        injected: Mapping[str, Keys] | None = None,
        policy: JwksPolicy | None = None,
        client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.monotonic,
        timeout_s: float = FETCH_TIMEOUT_S,
        wait_s: float = WAIT_S,
    ) -> None:
        ruled = tuple(ruled)
        self._fetched = {issuer: _Issuer(place) for issuer, place in key_set_places(issuers, ruled).items()}
        self._dropped: set[asyncio.Task[None]] = set()
        """Fetches of issuers that are trusted no more, cancelled and perhaps not yet ended."""
        self._injected = dict(injected or {})
        self._policy = policy or JwksPolicy()
        self._client = client
        self._owns_client = client is None
        self._clock = clock
        self._timeout_s = timeout_s
        self._wait_s = wait_s
        self._closed = False
        self.fetches = dict.fromkeys(OUTCOMES, 0)
        self.issuers = TrustedIssuers.of([*issuers, *self._injected], ruled)

    def trust(self, issuers: Mapping[str, str], ruled: Iterable[Issuer] = ()) -> None:
        """Exchange the issuers whose keys are fetched, without waiting; injected ones stay.

        The keys of an issuer that stays with the same URL and algorithms stay too. Those of a new one are
        fetched behind. Who waits for a key of one that is gone hears UntrustedIssuer.
        """
        ruled = tuple(ruled)
        former, self._fetched = self._fetched, {}
        for issuer, place in key_set_places(issuers, ruled).items():
            entry = former.get(issuer)
            kept = entry is not None and entry.place == place
            self._fetched[issuer] = former.pop(issuer) if kept else _Issuer(place)
        self.issuers = TrustedIssuers.of([*issuers, *self._injected], ruled)
        self._dropped = {fetch for fetch in self._dropped if not fetch.done()}
        for entry in former.values():
            entry.under_way.set()  # who waits for a fetch to begin looks again
            if entry.fetch is not None:
                entry.fetch.cancel()
                self._dropped.add(entry.fetch)
        for issuer, entry in self._fetched.items():
            if not entry.begun and not self._closed:
                self._start(issuer, entry)

    @property
    def failures(self) -> Mapping[str, int]:
        """For each issuer whose keys are fetched, how many attempts have failed since the last good one."""
        return {issuer: entry.cache.failures for issuer, entry in self._fetched.items()}

    def cached_key(self, issuer: str, kid: str) -> IssuerKey | None:
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

    async def key(self, issuer: str, kid: str) -> IssuerKey:
        """The key `kid` of the issuer's set, fetched first if need be: 10 s at most.

        Raises:
            InvalidToken: a set that was asked for after this call has no such key.
            KeysUnavailable: no such set can be had now, or too many wait for one.
            UntrustedIssuer: the issuer is not configured.
        """
        if issuer in self._injected:
            known = self._injected[issuer].get(kid)
            if known is None:
                raise InvalidToken(TokenCheck.KEY)
            return known
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._key_of_who_is_trusted(issuer, kid)
        except TimeoutError:
            raise KeysUnavailable from None

    async def prefetch(self) -> None:
        """Fetch the key sets that were never fetched, all at once. One that cannot be had is a warning."""
        fetches = [
            self._start(issuer, entry)
            for issuer, entry in self._fetched.items()
            if entry.cache.fetched_at_s is None
        ]
        if fetches:
            await asyncio.wait(fetches)

    async def aclose(self) -> None:
        """Cancel fetches under way and close an own client."""
        self._closed = True
        for entry in self._fetched.values():
            entry.under_way.set()  # who waits for a fetch to begin learns that none will
        tasks = [entry.fetch for entry in self._fetched.values() if entry.fetch is not None]
        tasks += self._dropped
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _key_of_who_is_trusted(self, issuer: str, kid: str) -> IssuerKey:
        """The key, asked for anew when the issuer was exchanged meanwhile, and refused when it is gone."""
        while True:
            entry = self._fetched.get(issuer)
            if entry is None:
                raise UntrustedIssuer
            try:
                return await self._decided_key(issuer, entry, kid)
            except AuthError:
                if self._fetched.get(issuer) is entry:
                    raise

    async def _decided_key(self, issuer: str, entry: _Issuer, kid: str) -> IssuerKey:
        """The key, or the verdict of a fetch that began after this call.

        What a fetch that began before brings may still be the key; that it does not bring it says nothing,
        since it may have been answered before the key was published.
        """
        began_before = entry.begun
        placed = False
        try:
            while True:
                decision = entry.cache.decide(kid, self._policy, self._clock())
                if decision is KeyDecision.REFRESH_BEHIND:
                    self._start(issuer, entry)
                key = entry.cache.usable_key(kid, self._policy, self._clock())
                if key is not None and decision is not KeyDecision.REFRESH_FIRST:
                    return key
                if not placed and decision is not KeyDecision.REFRESH_FIRST and entry.cache.ever_fetched:
                    entry.take_place()
                    placed = True
                await self._next_fetch(issuer, entry, decision)
                if self._fetched.get(issuer) is not entry:
                    raise KeysUnavailable  # of an issuer that was exchanged no key counts any more
                if entry.fetch is None and entry.begun > began_before:
                    return self._settled_key(entry, kid)
        finally:
            if placed:
                entry.waiting -= 1

    def _settled_key(self, entry: _Issuer, kid: str) -> IssuerKey:
        key = entry.cache.usable_key(kid, self._policy, self._clock())
        if key is not None:
            return key
        if entry.cache.settle() is KeyDecision.UNAVAILABLE:
            raise KeysUnavailable
        raise InvalidToken(TokenCheck.KEY)

    async def _next_fetch(self, issuer: str, entry: _Issuer, decision: KeyDecision) -> None:
        """Wait for the end of a fetch, one begun here if there is none; or until one may begin.

        No await lies between a decision and the fetch it starts, so no lock is needed.

        Raises:
            KeysUnavailable: no fetch may begin and the last one failed; or we are closing.
        """
        if self._closed:
            raise KeysUnavailable
        if entry.fetch is None:
            match decision:
                case KeyDecision.REFRESH_FIRST:
                    self._start(issuer, entry)
                case KeyDecision.FETCH:
                    entry.cache = entry.cache.after_forced_start(self._policy, self._clock())
                    self._start(issuer, entry)
                case KeyDecision.UNKNOWN:
                    await self._fetch_may_begin(entry)
                    return
                case _:
                    raise KeysUnavailable
        if entry.fetch is not None:
            await _finished(entry.fetch)
            if entry.cache.failures and decision is not KeyDecision.REFRESH_FIRST:
                raise KeysUnavailable

    async def _fetch_may_begin(self, entry: _Issuer) -> None:
        """Return when a fetch has begun, or when the next one is allowed."""
        allowed_in_s = entry.cache.forced_in_s(self._policy, self._clock())
        with suppress(TimeoutError):
            # Never 0: rounding may leave a hair of the time, and this is a loop.
            async with asyncio.timeout(max(0.001, allowed_in_s)):
                await entry.under_way.wait()

    def _start(self, issuer: str, entry: _Issuer) -> asyncio.Task[None]:
        """The issuer's one fetch: the one under way, or a new one."""
        if entry.fetch is None:
            entry.begun += 1
            entry.under_way.set()
            entry.fetch = asyncio.create_task(self._refresh(issuer, entry))
        return entry.fetch

    async def _refresh(self, issuer: str, entry: _Issuer) -> None:
        try:
            keys = await self._fetch_keys(entry.place)
        except asyncio.CancelledError:
            # Closing: whoever waits is told "not now", never "bad token".
            entry.cache = entry.cache.after_failure(self._clock())
            raise
        except Exception as error:  # whatever it was, cached keys go on and the next attempt is timed
            entry.cache = entry.cache.after_failure(self._clock())
            self.fetches[_outcome(error)] += 1
            _log.warning(
                "key set not fetched",
                issuer=issuer,
                fault=type(error).__name__,
                failures=entry.cache.failures,
            )
        else:
            entry.cache = entry.cache.after_success(keys, self._clock())
            self.fetches["ok"] += 1
            _log.debug("key set fetched", issuer=issuer, keys=len(keys))
        finally:
            entry.fetch = None
            if not self._closed:
                entry.under_way.clear()

    async def _fetch_keys(self, place: KeySetPlace) -> Keys:
        client = self._client or await self._open_client()
        return await fetch_key_set(client, place, timeout_s=self._timeout_s)

    async def _open_client(self) -> "httpx.AsyncClient":
        # Loading it takes as long as a quarter of the whole start, and clients are served meanwhile.
        opened = await asyncio.to_thread(_new_client)
        if self._client is not None:  # another issuer's fetch was faster
            await opened.aclose()
            return self._client
        self._client = opened
        return opened


def _new_client() -> "httpx.AsyncClient":
    # Its command line would bring another one's libraries and a highlighter; httpx does without.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # "there is none"
    import httpx

    return httpx.AsyncClient()


def key_set_places(issuers: Mapping[str, str], ruled: Iterable[Issuer]) -> dict[str, KeySetPlace]:
    """Where the key set of each is, by normalised issuer; the arguments are those of `KeyFetcher`."""
    places = {issuer: KeySetPlace(url) for issuer, url in issuers.items()}
    return places | {issuer.url: KeySetPlace.of(issuer) for issuer in ruled}


def _outcome(error: Exception) -> str:
    """By which word a failure is counted."""
    import httpx

    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "timeout"
    if isinstance(error, FetchRefused | DiscoveryRefused):
        return "refused"
    return "unreachable" if isinstance(error, httpx.TransportError) else "malformed"


async def _finished(fetch: asyncio.Task[None]) -> None:
    """Wait for a fetch without owning it: neither its end nor our own cancellation passes over."""
    await asyncio.wait((fetch,))


async def fetch_key_set(
    client: "httpx.AsyncClient", place: KeySetPlace, *, timeout_s: float = FETCH_TIMEOUT_S
) -> Keys:
    """Fetch one key set, now, and before it the document that names it where one does.

    Raises:
        TimeoutError: it did not come whole within `timeout_s`, both documents together.
        FetchRefused: it was answered in a way that is not accepted.
        DiscoveryRefused: the discovery document says what is not accepted.
        MalformedText: it is no key set, or no discovery document.
        httpx.HTTPError: nobody answered, or not by HTTP.
    """
    async with asyncio.timeout(timeout_s):
        url = place.url
        if place.discovers:
            url = await _discovered(client, place, timeout_s=timeout_s)
        document = await _get(client, url, timeout_s=timeout_s, bytes_max=JWKS_BYTES_MAX)
        return parse_jwks(document, place.algorithms)


async def _discovered(client: "httpx.AsyncClient", place: KeySetPlace, *, timeout_s: float) -> str:
    """The URL of the key set, as the issuer's own document says now: it may move as keys do."""
    try:
        document = await _get(client, place.url, timeout_s=timeout_s, bytes_max=DISCOVERY_BYTES_MAX)
    except FetchRefused as error:
        raise FetchRefused(f"discovery document: {error}") from None
    return parse_discovery(document, place.discovers)


async def _get(client: "httpx.AsyncClient", url: str, *, timeout_s: float, bytes_max: int) -> bytes:
    """The body of a document, redirects followed by hand: five at most, and none from https to http."""
    import httpx

    # Uncompressed is asked for; some servers compress all the same.
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    try:
        request = client.build_request("GET", url, headers=headers, timeout=timeout_s)
    except (httpx.InvalidURL, UnicodeError):
        # What a discovery document names may be a URL by other rules: a host that is no domain, say.
        raise FetchRefused("its address cannot be used") from None
    for _ in range(REDIRECTS_MAX + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            following = response.next_request
            if following is None:
                if response.status_code != httpx.codes.OK:
                    raise FetchRefused(f"status {response.status_code}")
                encoding = response.headers.get("Content-Encoding", "")
                return await read_bounded(response.aiter_raw(), encoding, bytes_max=bytes_max)
        finally:
            await response.aclose()
        if request.url.scheme == "https" and following.url.scheme != "https":
            raise FetchRefused("redirect from https to http")
        request = following
    raise FetchRefused("too many redirects")


async def read_bounded(chunks: AsyncIterable[bytes], encoding: str, *, bytes_max: int) -> bytes:
    """Read a document's body, decompressed, and give up at the first byte beyond the limit.

    The decompressor stops at the limit by itself, so that a small body cannot unfold in memory.

    Args:
        encoding: the response's `Content-Encoding`, empty without one.

    Raises:
        FetchRefused: it is too large, cut short or encoded in another way.
        MalformedText: it cannot be decompressed.
    """
    encoding = encoding.strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "deflate"):
        raise FetchRefused("content encoding not known")
    inflate = None if encoding == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    body = bytearray()
    async for raw in chunks:
        try:
            body += raw if inflate is None else inflate.decompress(raw, bytes_max + 1 - len(body))
        except zlib.error:
            raise MalformedText from None
        if len(body) > bytes_max:
            raise FetchRefused("too large")
    if inflate is not None and not inflate.eof:
        raise FetchRefused("compressed body cut short")
    return bytes(body)
