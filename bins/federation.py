"""Federation assembled: own keys, quotas, what peers open here, and the links that are opened to them.

All of it is always there, so that a key stored later makes this server reach out without a restart. What is
closed, and in which order: docs/operations.md 2.2.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from less_sync.bins.errors import CommandError
from less_sync.federation.discovery import PeerKeys
from less_sync.federation.gate import PeerGate
from less_sync.federation.inbound.files import COVERED_CHARS_MAX, COVERING, PeerFiles
from less_sync.federation.inbound.peers import Inbound
from less_sync.federation.inbound.sessions import peer_sessions
from less_sync.federation.keys import KeyFault, OwnKeys
from less_sync.federation.outbound.addresses import Addresses
from less_sync.federation.outbound.calls import LinkOwner, PeerAddress, PeerCalls
from less_sync.federation.outbound.dial import Dialler, default_tls
from less_sync.federation.outbound.files import HomeFiles
from less_sync.federation.outbound.forwarder import PeerForwarder
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.link import PeerLink, request_ids
from less_sync.federation.peer_urls import PEER_PATH
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.routes import PeerRoutes
from less_sync.federation.settings import FederationSettings
from less_sync.storage import PostgresFederationKeyStore, PostgresPool, PostgresSpaceHomeStore, StorageError
from less_sync.sync.http.socket import CLIENT_PATH, GuardedRoute, Route
from less_sync.sync.services import Services
from less_sync.sync.session.clients import client_sessions

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
    tls = default_tls()
    forwarder = _forwarder(settings, keys, services, tls)
    stack.push_async_callback(_close_links, forwarder)
    quotas = QuotaTracker(settings.quotas)
    sockets: dict[bytes, Route] = {CLIENT_PATH: client_sessions(services)}
    files = None
    if settings.accepts_peers:
        inbound = Inbound.of(settings, quotas)
        gate_of = _gates(settings, keys, stack, tls)
        sockets[PEER_PATH.encode()] = GuardedRoute(gate_of(), peer_sessions(services, inbound))
        if services.files is not None:
            # A gate of its own: what it counts must not make the other one forget what it has seen.
            gate = gate_of(covering=COVERING, covered_chars_max=COVERED_CHARS_MAX)
            files = PeerFiles(services, services.files, gate)
    return Federation(keys, PeerRoutes(settings, quotas, keys, files), sockets)


def _forwarder(
    settings: FederationSettings, keys: OwnKeys, services: Services, tls: ssl.SSLContext
) -> PeerForwarder:
    limits = LinkLimits(frame_bytes=services.limits.frame_bytes)
    # Read when it is called: whoever made the services may exchange their clocks.
    dial = Dialler(keys, now=lambda: services.now(), tls=tls, schemes=settings.sign_schemes, limits=limits)
    new_id = request_ids()

    def make_link(address: PeerAddress, owner: LinkOwner) -> PeerCalls:
        return PeerLink(
            address,
            dial,
            new_id=new_id,
            chance=services.chance,
            restore=owner.restore,
            wanted=lambda: owner.wanted,
            on_notification=owner.heard,
            on_state=owner.changed,
            limits=limits,
        )

    files = HomeFiles(
        keys,
        now=lambda: services.now(),
        tls=tls,
        new_nonce=lambda: services.new_id(),
        schemes=settings.sign_schemes,
    )
    forwarder = PeerForwarder(
        Addresses(settings, keys.names),
        services.announce,
        services.broker,
        make_link,
        can_sign=lambda: keys.primary() is not None,
        clock=services.clock,
        chance=services.chance,
        frame_bytes_max=limits.frame_bytes,
        files=files,
    )
    forwarder.measure(services.metrics)
    services.federate(forwarder)
    return forwarder


def _gates(
    settings: FederationSettings, keys: OwnKeys, stack: AsyncExitStack, tls: ssl.SSLContext
) -> Callable[..., PeerGate]:
    """What makes the gates, which differ in what must be signed, and share the keys that are fetched."""
    peer_keys = None
    if settings.fetch_keys:
        peer_keys = PeerKeys(settings.trust, private_networks=settings.private_networks, tls=tls)
        stack.push_async_callback(peer_keys.aclose)
    return partial(PeerGate, settings, keys=peer_keys, own_hosts=keys.names)


async def _close_links(forwarder: PeerForwarder) -> None:
    """Close them with 1001, without waiting for ever for peers that do not answer."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await forwarder.aclose()
    except TimeoutError:
        _log.warning("links to other servers did not close in time")
