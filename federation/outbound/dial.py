"""Dialling a peer: a WebSocket upgrade signed with our own key (docs/federation.md 8.1).

What is signed names a scheme, and servers differ in which they expect: behind a proxy that ends TLS they see
no TLS. So the same address is dialled again, with another scheme in the signature, when a peer answers 401.
What a peer took is tried first the next time.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.headers import build_host
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from less_sync.auth import InvalidKeyId, sign_request
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.socket import PeerSocket, WebSocket
from less_sync.federation.signing import Signer
from less_sync.sync.protocol.codes import SUBPROTOCOLS

SCHEMES: Final = {"wss": ("ws", "wss", "https"), "ws": ("ws", "http", "https")}
"""What is signed, by the scheme that is dialled, in the order in which it is tried."""

BODY_BYTES_SHOWN: Final = 200


class DialFailed(Exception):
    """There is no connection, or what answers is no WebSocket server."""


class NoSigningKey(DialFailed):
    """We have no key that signs."""


class DialRefused(DialFailed):
    """The peer answered the upgrade with another status than 101."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        """Its beginning."""

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.body!r}"


class Dial(Protocol):
    """Opens a connection to a peer; the simulation has one of its own."""

    async def __call__(self, address: PeerAddress) -> PeerSocket:
        """Connect and be let in.

        Raises:
            DialRefused, NoSigningKey, DialFailed: see there.
        """


def default_tls() -> ssl.SSLContext:
    """The authorities of the system; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others (OpenSSL)."""
    return ssl.create_default_context()


class Dialler:
    """Dials over TCP or TLS: the configured address alone, no proxy, no redirect, no compression.

    Args:
        now: Unix seconds, for the signature.
        schemes: what is signed, instead of `SCHEMES`.
        tls: for `wss` addresses; made once.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        now: Callable[[], float],
        tls: ssl.SSLContext,
        schemes: Sequence[str] | None = None,
        limits: LinkLimits | None = None,
    ) -> None:
        self._signer = signer
        self._now = now
        self._tls = tls
        self._schemes = schemes
        self._limits = limits or LinkLimits()
        self._taken: dict[str, str] = {}
        """URL of a peer that let us in, to the scheme that was signed: as many as there are peers."""

    async def __call__(self, address: PeerAddress) -> PeerSocket:
        """As `Dial`."""
        try:
            uri = parse_uri(address.url)
        except (InvalidURI, ValueError) as error:
            raise DialFailed(f"not a WebSocket address: {address.url}") from error
        refused = DialRefused(401, "")
        for scheme in self._candidates(address.url, uri):
            try:
                socket = await self._attempt(uri, scheme)
            except DialRefused as error:
                if error.status != 401:
                    raise
                refused = error
                continue
            self._taken[address.url] = scheme
            return socket
        raise refused

    def _candidates(self, url: str, uri: WebSocketURI) -> list[str]:
        schemes = self._schemes or SCHEMES["wss" if uri.secure else "ws"]
        first = self._taken.get(url)
        return list(schemes) if first is None else [first, *(one for one in schemes if one != first)]

    async def _attempt(self, uri: WebSocketURI, scheme: str) -> PeerSocket:
        headers = self._signed(uri, scheme)
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                return await self._upgraded(uri, headers)
        except TimeoutError as error:
            raise DialFailed(f"no connection within {self._limits.connect_timeout_s:g} s") from error
        except OSError as error:
            raise DialFailed(error.strerror or str(error)) from error
        except UnicodeError as error:
            raise DialFailed(f"not the name of a host: {uri.host}") from error

    def _signed(self, uri: WebSocketURI, scheme: str) -> dict[str, str]:
        signing = self._signer.primary()
        if signing is None:
            raise NoSigningKey("there is no key to sign with")
        host = build_host(uri.host, uri.port, uri.secure)  # the text that the protocol sends as Host
        try:
            signature = sign_request(
                signing.key,
                key_id=signing.key_id,
                created=int(self._now()),
                method="GET",
                target_uri=f"{scheme}://{host}{uri.resource_name}",
                host=host,
            )
        except InvalidKeyId as error:
            raise NoSigningKey(str(error)) from error
        return {"Signature-Input": signature.signature_input, "Signature": signature.signature}

    async def _upgraded(self, uri: WebSocketURI, headers: dict[str, str]) -> PeerSocket:
        names = [Subprotocol(name) for name in SUBPROTOCOLS]
        protocol = ClientProtocol(uri, subprotocols=names, max_size=self._limits.frame_bytes)
        _, socket = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(protocol, self._limits),
            uri.host,
            uri.port,
            ssl=self._tls if uri.secure else None,
            server_hostname=uri.host if uri.secure else None,
        )
        try:
            response = await socket.upgrade(headers)
            _check(response, protocol, socket)
        except BaseException:
            socket.abort()
            raise
        return socket


def _check(response: Response, protocol: ClientProtocol, socket: WebSocket) -> None:
    """Whether we are let in, under a name of the protocol that was offered."""
    if response.status_code != 101:
        body = bytes(response.body or b"")[:BODY_BYTES_SHOWN]
        raise DialRefused(response.status_code, body.decode("utf-8", "replace"))
    if isinstance(protocol.handshake_exc, InvalidHandshake):
        raise DialFailed(str(protocol.handshake_exc)) from protocol.handshake_exc
    if socket.subprotocol is None:
        raise DialFailed("the peer selected no subprotocol")
