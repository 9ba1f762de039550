"""Keys of trusted servers that are not configured: fetched from the key set their key ids point to.

Who sends a key id chooses a URL, so little of it is left to choose: the host must be trusted before anything
happens, scheme, port and path are fixed, and a packet leaves only for an address that is reachable from
everywhere, the very one that was looked at (docs/federation.md 4.3). When to fetch is decided by
`auth.PeerKeyCache`; here is one fetch per key set at a time, in a task that everybody shares who waits.
"""

import asyncio
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore
import structlog

from less_sync.auth import (
    PEER_JWKS_BYTES_MAX,
    FederationTrust,
    InvalidKeyId,
    KeyLookupFailed,
    PeerKeyCache,
    PeerKeyNeed,
    ServerName,
    is_public_address,
    key_id_server,
    parse_peer_keys,
    parse_server_name,
    split_key_id,
)
from less_sync.sync.access.key_fetch import FetchRefused, read_bounded

JWKS_PATH: Final = "/.well-known/jwks.json"
CONNECT_S: Final = 3.0
"""For looking up the name and connecting; TLS may take as long again."""
FETCH_S: Final = 5.0
"""For a whole fetch."""
KEY_SETS_MAX: Final = 256
ADDRESSES_MAX: Final = 8
"""Addresses of one name that are tried."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the addresses of the host. Raises OSError when it has none."""

_PORTS: Final = {"https": 443, "http": 80}

_log: Final = structlog.get_logger("less_sync.peer_keys")


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """What the operating system says."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class VettedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to hosts none of whose addresses is private, at the address that was looked at.

    Args:
        connect: dials an address; by default over TCP.
    """

    def __init__(
        self, resolver: Resolver, *, any_address: bool, connect: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._resolver = resolver
        self._any_address = any_address
        self._connect = connect or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, judge all, try them in turn.

        Raises:
            FetchRefused: an address is not public.
            httpcore.ConnectError, httpcore.ConnectTimeout, OSError: nobody is there.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + (CONNECT_S if timeout is None else timeout)
        async with asyncio.timeout_at(deadline_s):
            addresses = list(await self._resolver(host, port))
        if not self._any_address and not all(map(is_public_address, addresses)):
            raise FetchRefused("address not public")
        addresses = addresses[:ADDRESSES_MAX]
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share_s = max(0.0, deadline_s - loop.time()) / left
            try:
                return await self._connect.connect_tcp(address, port, share_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError("no address")


class _Place(NamedTuple):
    """Where the key of a key id is to be found."""

    scheme: str
    server: ServerName
    names: tuple[str, ...]
    """Servers publish a key under its name or under the whole key id."""

    @property
    def authority(self) -> str:
        return str(
            self.server._replace(port=None if self.server.port == _PORTS[self.scheme] else self.server.port)
        )

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{JWKS_PATH}"


@dataclass(slots=True)
class _KeySet:
    cache: PeerKeyCache = field(default_factory=PeerKeyCache)
    fetch: asyncio.Task[None] | None = None


class PeerKeys:
    """Finds keys by their ids. On one event loop.

    Args:
        private_networks: plain HTTP, any port and any address are allowed.
        network: dials for it instead, the addresses judged already by `resolver` and rule.
        tls: whom to believe; by default the system's authorities, or those of `SSL_CERT_FILE`.
        clock: monotonic seconds.
        fetch_s: for a whole fetch.
    """

    def __init__(
        self,
        trust: FederationTrust,
        *,
        private_networks: bool = False,
        resolver: Resolver = system_resolver,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        fetch_s: float = FETCH_S,
    ) -> None:
        self._fetch_s = fetch_s
        self._trust = trust
        self._private_networks = private_networks
        self._network = VettedNetwork(resolver, any_address=private_networks, connect=network)
        self._tls = tls or ssl.create_default_context()
        self._clock = clock
        self._sets: OrderedDict[str, _KeySet] = OrderedDict()
        self._closed = False

    def __len__(self) -> int:
        return len(self._sets)

    def look_up(self, key_id: str) -> bytes | Callable[[], Awaitable[bytes]]:
        """A trusted server's key, or how to wait for it, for one fetch at most.

        Args:
            key_id: of a server that is trusted.

        Raises:
            KeyLookupFailed: it has no such key, as far as is known, or cannot be asked; so may the wait.
        """
        place = self._place(key_id)
        kept = self._sets.get(place.url)
        if kept is not None:
            self._sets.move_to_end(place.url)
            if kept.cache.need(place.names, self._clock()) is PeerKeyNeed.NOTHING:
                return self._settled(kept, place)
        return partial(self._wait, place)

    async def aclose(self) -> None:
        """Cancel fetches under way; whoever waits is told that there is no key."""
        self._closed = True
        tasks = [kept.fetch for kept in self._sets.values() if kept.fetch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _place(self, key_id: str) -> _Place:
        """Where to ask, if that is where a key set may be. A key id that is not such a URL is not found."""
        try:
            url, name = split_key_id(key_id)
            server = key_id_server(key_id)
        except InvalidKeyId:
            raise KeyLookupFailed from None
        parts = urlsplit(url)
        fixed = parts.path == JWKS_PATH and not {"?", "#"} & set(url)
        if not name or not fixed or not self._may_ask(parts.scheme, server):
            raise KeyLookupFailed
        return _Place(parts.scheme, server._replace(host=server.host.rstrip(".")), (name, key_id))

    def _may_ask(self, scheme: str, server: ServerName) -> bool:
        if self._private_networks:
            return True
        entry = self._trust.entry_for(server.host.rstrip("."), server.port)
        named = None if entry is None else parse_server_name(entry)
        return scheme == "https" and (
            server.port == _PORTS["https"] or (named is not None and named.port == server.port)
        )

    def _settled(self, kept: _KeySet, place: _Place) -> bytes:
        key = kept.cache.key(place.names, self._clock())
        if key is None:
            raise KeyLookupFailed
        return key

    async def _wait(self, place: _Place) -> bytes:
        if self._closed:
            raise KeyLookupFailed
        kept = self._kept(place.url)
        need = kept.cache.need(place.names, self._clock())
        if need is PeerKeyNeed.NOTHING:
            return self._settled(kept, place)
        if kept.fetch is None:
            if need is PeerKeyNeed.FORCED_FETCH:
                kept.cache = kept.cache.after_forced_start(self._clock())
            kept.fetch = asyncio.create_task(self._refresh(place, kept))
        # Waited for without owning it: who hangs up does not take it away from the others.
        await asyncio.wait((kept.fetch,))
        return self._settled(kept, place)

    def _kept(self, url: str) -> _KeySet:
        """What is kept of a key set; room is made by forgetting the one that was not asked for longest."""
        kept = self._sets.get(url)
        if kept is not None:
            return kept
        if len(self._sets) >= KEY_SETS_MAX:
            idle = next((url for url, kept in self._sets.items() if kept.fetch is None), None)
            if idle is None:
                raise KeyLookupFailed
            del self._sets[idle]
        kept = self._sets[url] = _KeySet()
        return kept

    async def _refresh(self, place: _Place, kept: _KeySet) -> None:
        try:
            async with asyncio.timeout(self._fetch_s):
                body, cache_control = await self._fetch(place)
            keys = parse_peer_keys(body)
        except asyncio.CancelledError:
            kept.cache = kept.cache.after_failure(self._clock())
            raise
        except Exception as error:  # whatever it was, known keys go on and the next attempt is timed
            kept.cache = kept.cache.after_failure(self._clock())
            _log.warning("key set of a peer not fetched", url=place.url, fault=type(error).__name__)
        else:
            kept.cache = kept.cache.after_success(keys, cache_control, self._clock())
            _log.debug("key set of a peer fetched", url=place.url, keys=len(keys))
        finally:
            kept.fetch = None

    async def _fetch(self, place: _Place) -> tuple[bytes, str]:
        return await fetch_peer_keys(place.scheme, place.authority, self._network, self._tls)


async def fetch_peer_keys(
    scheme: str, authority: str, network: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext
) -> tuple[bytes, str]:
    """The key set of a server and its `Cache-Control`. No redirect is followed, no credential is sent.

    Args:
        authority: as it stands in the URL: `host`, or `host:port`.
        network: dials; it decides which addresses may be.

    Raises:
        FetchRefused: the address is not public, or it was answered in a way that is not accepted.
        MalformedText: the answer cannot be decompressed.
        httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError: no answer.
    """
    headers = [("Host", authority), ("Accept", "application/json"), ("Accept-Encoding", "identity")]
    timeouts = {"connect": CONNECT_S}  # the rest has its time together
    url = f"{scheme}://{authority}{JWKS_PATH}"
    async with (
        httpcore.AsyncConnectionPool(tls, max_connections=1, network_backend=network) as pool,
        pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as response,
    ):
        if response.status != 200:
            raise FetchRefused(f"status {response.status}")
        said = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        encoding = said.get(b"content-encoding", "")
        body = await read_bounded(response.aiter_stream(), encoding, bytes_max=PEER_JWKS_BYTES_MAX)
        return body, said.get(b"cache-control", "")
