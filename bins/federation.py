"""Federation assembled: own keys, quotas, what peers open here, and the links that are opened to them.

What reaches out is always ready, so that a key stored later makes this server do so without a restart; but
its libraries are loaded by the first link, and those for peers where some are let in. What is closed, and in
which order: docs/operations.md 2.2.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.bins.errors import CommandError
from less_sync.federation.keys import KeyFault, OwnKeys
from less_sync.federation.outbound.addresses import Addresses
from less_sync.federation.outbound.calls import LinkOwner, PeerAddress, PeerCalls
from less_sync.federation.outbound.forwarder import PeerForwarder
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.peer_urls import PEER_PATH
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.routes import PeerRoutes
from less_sync.federation.settings import FederationSettings
from less_sync.storage import PostgresFederationKeyStore, PostgresPool, PostgresSpaceHomeStore, StorageError
from less_sync.sync.http.socket import CLIENT_PATH, GuardedRoute, Route
from less_sync.sync.services import Services
from less_sync.sync.session.clients import client_sessions

if TYPE_CHECKING:
    import ssl

    from less_sync.federation.gate import PeerGate
    from less_sync.federation.outbound.dial import Dialler
    from less_sync.federation.outbound.files import HomeFiles

CLOSE_TIMEOUT_S: Final = 3.0
"""For the closes of all links together; each waits 2 s at most for its peer."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Federation:
    """What the HTTP server and the supervisor need of it."""

    keys: OwnKeys
    routes: PeerRoutes
    sockets: Mapping[bytes, Route]
    """Raw path to what serves a WebSocket there: clients, and peers if any is accepted."""


async def open_federation(
    settings: FederationSettings, pool: PostgresPool, services: Services, stack: AsyncExitStack
) -> Federation:
    """Read the own keys and wire the parts; `stack` closes the links.

    Raises:
        CommandError: a stored key cannot be used, or the keys cannot be read.
    """
    keys = OwnKeys(PostgresFederationKeyStore(pool), domain=settings.domain, reload_s=settings.key_reload_s)
    try:
        await keys.load()
        if keys.primary() is None and await PostgresSpaceHomeStore(pool).any_remote():
            _log.warning("spaces have their home at other servers, and no key signs requests to them")
    except KeyFault as fault:
        raise CommandError(str(fault)) from fault
    except StorageError as error:
        raise CommandError(f"database error: {str(error).removeprefix('database error: ')}") from error
    outward = _Outward(settings, keys, services)
    forwarder = _forwarder(outward)
    stack.push_async_callback(_close_links, forwarder)
    quotas = QuotaTracker(settings.quotas)
    sockets: dict[bytes, Route] = {CLIENT_PATH: client_sessions(services)}
    files = None
    if settings.accepts_peers:
        from less_sync.federation.inbound.files import COVERED_CHARS_MAX, COVERING, PeerFiles
        from less_sync.federation.inbound.peers import Inbound
        from less_sync.federation.inbound.sessions import peer_sessions

        inbound = Inbound.of(settings, quotas)
        gate_of = _gates(outward, stack)
        sockets[PEER_PATH.encode()] = GuardedRoute(gate_of(), peer_sessions(services, inbound))
        if services.files is not None:
            # A gate of its own: what it counts must not make the other one forget what it has seen.
            gate = gate_of(covering=COVERING, covered_chars_max=COVERED_CHARS_MAX)
            files = PeerFiles(services, services.files, gate)
    return Federation(keys, PeerRoutes(settings, quotas, keys, files), sockets)


class _Outward:
    """What requests to other servers need, each made when it is first asked for."""

    def __init__(self, settings: FederationSettings, keys: OwnKeys, services: Services) -> None:
        self.settings: Final = settings
        self.keys: Final = keys
        self.services: Final = services
        self.limits: Final = LinkLimits(frame_bytes=services.limits.frame_bytes)

    @cached_property
    def tls(self) -> "ssl.SSLContext":
        """Whom to believe. Reading the system's authorities takes tens of milliseconds."""
        from less_sync.federation.outbound.dial import default_tls

        return default_tls()

    @cached_property
    def dial(self) -> "Dialler":
        """For all links."""
        from less_sync.federation.outbound.dial import Dialler

        services = self.services
        return Dialler(
            self.keys,
            now=lambda: services.now(),  # read when it is called: whoever made the services may exchange it
            tls=self.tls,
            schemes=self.settings.sign_schemes,
            limits=self.limits,
        )

    @cached_property
    def new_id(self) -> Callable[[], str]:
        """For requests, whichever link they take."""
        from less_sync.federation.outbound.link import request_ids

        return request_ids()

    def link(self, address: PeerAddress, owner: LinkOwner) -> PeerCalls:
        """A link to a home."""
        from less_sync.federation.outbound.link import PeerLink

        return PeerLink(
            address,
            self.dial,
            new_id=self.new_id,
            chance=self.services.chance,
            restore=owner.restore,
            wanted=lambda: owner.wanted,
            on_notification=owner.heard,
            on_state=owner.changed,
            limits=self.limits,
        )

    def files(self) -> "HomeFiles":
        """What asks homes for files."""
        from less_sync.federation.outbound.files import HomeFiles

        services = self.services
        return HomeFiles(
            self.keys,
            now=lambda: services.now(),
            tls=self.tls,
            new_nonce=lambda: services.new_id(),
            schemes=self.settings.sign_schemes,
        )


def _forwarder(outward: _Outward) -> PeerForwarder:
    services, keys = outward.services, outward.keys
    forwarder = PeerForwarder(
        Addresses(outward.settings, keys.names),
        services.announce,
        services.broker,
        outward.link,
        can_sign=lambda: keys.primary() is not None,
        clock=services.clock,
        chance=services.chance,
        frame_bytes_max=outward.limits.frame_bytes,
        files=outward.files,
    )
    forwarder.measure(services.metrics)
    services.federate(forwarder)
    return forwarder


def _gates(outward: _Outward, stack: AsyncExitStack) -> "Callable[..., PeerGate]":
    """What makes the gates, which differ in what must be signed, and share the keys that are fetched."""
    from less_sync.federation.gate import PeerGate

    settings = outward.settings
    peer_keys = None
    if settings.fetch_keys:
        from less_sync.federation.discovery import PeerKeys

        peer_keys = PeerKeys(settings.trust, private_networks=settings.private_networks, tls=outward.tls)
        stack.push_async_callback(peer_keys.aclose)
    return partial(PeerGate, settings, keys=peer_keys, own_hosts=outward.keys.names)


async def _close_links(forwarder: PeerForwarder) -> None:
    """Close them with 1001, without waiting for ever for peers that do not answer."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await forwarder.aclose()
    except TimeoutError:
        _log.warning("links to other servers did not close in time")
