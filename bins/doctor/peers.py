"""The checks of other servers: our own keys, their published keys, and whether they let us in."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpcore

from less_sync.auth import InvalidKeyId, MalformedText, key_id_server, parse_peer_keys, split_key_id
from less_sync.bins.doctor.findings import (
    Finding,
    failed,
    looked,
    not_applicable,
    ok,
    warning,
)
from less_sync.federation.discovery import FETCH_S, VettedNetwork, fetch_peer_keys, system_resolver
from less_sync.federation.keys import KeyFault, KeySet, check_keys
from less_sync.federation.outbound.addresses import Addresses, NoAddress
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.outbound.dial import DialFailed, Dialler, DialRefused, default_tls
from less_sync.federation.settings import FederationSettings
from less_sync.federation.signing import Signing
from less_sync.storage import Inspection
from less_sync.sync.access.key_fetch import FetchRefused

AT_ONCE: Final = 8
REASON_CHARS_MAX: Final = 200
OWN_KEYS: Final = "own keys"
_SCHEMES: Final = {"ws": "http", "wss": "https"}
_REFUSALS: Final = {
    401: "our signature is refused: does its operator have our key? compare clocks",
    403: "it does not trust us: its operator adds our name to FEDERATION_TRUSTED_DOMAINS",
    404: "it lets no servers in, or FEDERATION_PEER_URLS has a wrong path",
}


@dataclass(slots=True)
class Own:
    """What the database tells of ourselves, as far as it could be asked."""

    keys: KeySet | None = None
    fault: str = ""
    homes_elsewhere: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there will be no more."""

    async def read(self, inspection: Inspection, settings: FederationSettings) -> None:
        """Read our own keys.

        Raises:
            StorageError: they cannot be read.
        """
        self.homes_elsewhere = await inspection.any_home_elsewhere()
        try:
            self.keys = check_keys(await inspection.active_keys(), settings.domain)
        except KeyFault as fault:
            self.fault = str(fault)

    @property
    def signing(self) -> Signing | None:
        """What we sign with."""
        return None if self.keys is None else self.keys.signer

    def primary(self) -> Signing | None:
        """As `Signer.primary`."""
        return self.signing


async def look_at_peers(
    settings: FederationSettings, own: Own, now: Callable[[], float], *, tls: ssl.SSLContext | None = None
) -> Sequence[Finding]:
    """Our own keys, and every server that is trusted or has an address.

    Args:
        now: seconds since 1970.
    """
    await own.asked.wait()
    names = list(dict.fromkeys([*settings.trust.domains, *settings.peer_urls]))
    first = _own_keys(own, wanted=bool(names))
    if not names:
        return [first, not_applicable("peers", "no other server is trusted or has an address")]
    addresses = Addresses(settings, lambda: _own_names(settings, own))
    found: dict[str, PeerAddress | None] = {}
    for name in names:
        with suppress(NoAddress):
            address = addresses.of_home(name)
            found.setdefault(address.url, address)
            continue
        found[name] = None
    look = _Looks(settings, own, now, tls or default_tls())
    places = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, address: PeerAddress | None) -> Sequence[Finding]:
        if address is None:
            todo = "add it to FEDERATION_TRUSTED_DOMAINS, or take it out of FEDERATION_PEER_URLS"
            return [warning(f"peer {name}", "has an address and is not trusted", todo)]
        async with places:
            return await looked(f"peer {address.host}", lambda: look.at(address))

    everything = await asyncio.gather(*(one(name, address) for name, address in found.items()))
    return [first, *(finding for findings in everything for finding in findings)]


def _own_names(settings: FederationSettings, own: Own) -> Sequence[str]:
    if settings.domain is not None:
        return [settings.domain]
    return [] if own.keys is None else sorted(own.keys.hosts)


def _own_keys(own: Own, *, wanted: bool) -> Finding:
    if own.fault:
        return failed(OWN_KEYS, own.fault, "the server does not start with it: docs/federation.md 3")
    if own.keys is None:
        return not_applicable(OWN_KEYS, "the database could not be asked for them")
    if own.signing is not None:
        return ok(OWN_KEYS, f"{own.keys.count} published, {own.signing.key_id} signs")
    if wanted or own.homes_elsewhere:
        return warning(OWN_KEYS, "none signs: no other server lets us in", "make one: `federation-keygen`")
    return not_applicable(OWN_KEYS, "none, and no other server to speak to")


@dataclass(frozen=True, slots=True)
class _Looks:
    settings: FederationSettings
    own: Own
    now: Callable[[], float]
    tls: ssl.SSLContext

    async def at(self, address: PeerAddress) -> Sequence[Finding]:
        """Its keys, and its door."""
        keys, door = await asyncio.gather(self._keys(address), self._door(address))
        return [keys, door]

    async def _keys(self, address: PeerAddress) -> Finding:
        check = f"peer {address.host} keys"
        url = urlsplit(address.url)
        # Where the operator wrote the address, any will do; else the rule is that of fetching keys.
        chosen = self.settings.private_networks or address.host in self.settings.peer_urls
        network = VettedNetwork(system_resolver, any_address=chosen)
        try:
            async with asyncio.timeout(FETCH_S):
                body, _ = await fetch_peer_keys(_SCHEMES[url.scheme], url.netloc, network, self.tls)
            published = parse_peer_keys(body)
        except (FetchRefused, MalformedText, httpcore.NetworkError, httpcore.TimeoutException) as error:
            return self._not_fetched(check, error)
        except (httpcore.ProtocolError, TimeoutError, OSError) as error:
            return self._not_fetched(check, error)
        return _compared(check, published, self._configured(address), fetches=self.settings.fetch_keys)

    def _not_fetched(self, check: str, error: Exception) -> Finding:
        found = f"key set not fetched: {_reason(error)}"
        if self.settings.fetch_keys:
            return failed(check, found, "it is let in by keys that are fetched: see docs/federation.md 4.3")
        return warning(check, found, "keys that are configured work without; is the server there?")

    def _configured(self, address: PeerAddress) -> Mapping[str, bytes]:
        """The keys of `FEDERATION_TRUSTED_KEYS` that are this server's."""
        found = {}
        for key_id, key in self.settings.trust.keys.items():
            with suppress(InvalidKeyId):
                if key_id_server(key_id).host.rstrip(".") == address.host:
                    found[key_id] = key
        return found

    async def _door(self, address: PeerAddress) -> Finding:
        check = f"peer {address.host} connection"
        if self.own.signing is None:
            return not_applicable(check, f"{address.url} not dialled: no key of ours signs")
        dial = Dialler(self.own, now=self.now, tls=self.tls, schemes=self.settings.sign_schemes)
        try:
            socket = await dial(address)
        except DialRefused as error:
            todo = _REFUSALS.get(error.status, "see the log of that server")
            return failed(check, f"{address.url} answers HTTP {error.status}", todo)
        except DialFailed as error:
            todo = "is it up, and the address right? FEDERATION_PEER_URLS says where a peer is dialled"
            return failed(check, f"{address.url}: {str(error)[:REASON_CHARS_MAX]}", todo)
        try:
            await socket.close()
        finally:
            socket.abort()
        return ok(check, f"{address.url} let us in by {self.own.signing.key_id}")


def _reason(error: Exception) -> str:
    if isinstance(error, httpcore.TimeoutException | TimeoutError):
        return "no answer in time"
    if isinstance(error, MalformedText):
        return "the answer is no key set"
    return (str(error) or type(error).__name__)[:REASON_CHARS_MAX]


def _compared(
    check: str, published: Mapping[str, bytes], configured: Mapping[str, bytes], *, fetches: bool
) -> Finding:
    """The keys a server publishes beside those that are configured for it."""
    others, absent = [], []
    for key_id, key in configured.items():
        there = published.get(split_key_id(key_id)[1], published.get(key_id))
        if there is None:
            absent.append(key_id)
        elif there != key:
            others.append(key_id)
    seen = len(configured) - len(others) - len(absent)
    found = f"publishes {len(published)} keys, {seen} of the {len(configured)} configured among them"
    todo = "ask its operator which is right, and correct FEDERATION_TRUSTED_KEYS"
    if others:
        return failed(check, f"{found}; another key under {', '.join(others)}", todo)
    if configured and not seen:
        return failed(check, f"{found}; not published: {', '.join(absent)}", todo)
    if absent:
        return warning(check, f"{found}; not published: {', '.join(absent)}", "it has rotated: drop old keys")
    if not configured and not (fetches and published):
        return warning(check, found, "none of its keys is trusted here: it is not let in")
    return ok(check, found)
