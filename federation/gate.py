"""Lets trusted servers upgrade, by the signature of their request (docs/federation.md 4)."""

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.auth import (
    SIGNED_CHARS_MAX,
    AuthError,
    Identity,
    InvalidKeyId,
    KeyLookupFailed,
    MalformedText,
    PresentedSignature,
    ServerName,
    SignatureUses,
    SignedRequest,
    UntrustedPeer,
    VerificationFailed,
    identify_peer,
    parse_server_name,
    read_signature,
    trusted_peer,
)
from less_sync.federation.settings import FederationSettings
from less_sync.sync.http.gate import Answer, Later
from less_sync.sync.http.upgrade import Refusal

if TYPE_CHECKING:
    from less_sync.federation.discovery import PeerKeys  # with an HTTP client that few servers need

BAD_SIGNATURE: Final = Refusal(401, "signature verification failed")
BAD_KEY_ID: Final = Refusal(400, "invalid keyid")
UNTRUSTED: Final = Refusal(403, "untrusted peer")

_log: Final = structlog.get_logger("less_sync.peers")


class PeerGate:
    """The gate of a route for peers.

    Args:
        keys: finds keys that are not configured; None: there are no others.
        own_hosts: the hosts of our own key ids, without port.
        covering: headers that must be signed on this route, beside what always must.
        covered_chars_max: of all that is signed.
        now: Unix seconds.
    """

    def __init__(
        self,
        settings: FederationSettings,
        *,
        keys: "PeerKeys | None" = None,
        own_hosts: Callable[[], Collection[str]] = tuple,
        covering: Sequence[str] = (),
        covered_chars_max: int = SIGNED_CHARS_MAX,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._trust = settings.trust
        self._own = None if settings.domain is None else parse_server_name(settings.domain)
        self._keys = keys
        self._own_hosts = own_hosts
        self._covering = covering
        self._covered_chars_max = covered_chars_max
        self._now = now
        self._uses = SignatureUses()
        self._misdirected: set[str] = set()
        """Trusted peers of which it was said that they call us by a name that is not ours."""

    def admit(self, request: SignedRequest) -> Answer | Later:
        """Say who asks, at once unless the key has to be fetched. All faults of a signature look the same."""
        try:
            return self._admit(request)
        except AuthError as error:
            return _refused(error)

    def _admit(self, request: SignedRequest) -> Answer | Later:
        host = request.headers.get("host", "")
        if self._settings.trust_forwarded_proto:
            request = request.forwarded()
        presented = read_signature(
            request,
            now=self._now(),
            covering=self._covering,
            covered_chars_max=self._covered_chars_max,
        )
        self._check_own_name(host)
        key_id = presented.signed.key_id
        key = self._trust.keys.get(key_id)
        if key is not None:
            return self._identified(presented, key, host)
        if self._keys is None:
            raise KeyLookupFailed
        trusted_peer(key_id, self._trust)  # before any packet leaves
        found = self._keys.look_up(key_id)
        if isinstance(found, bytes):
            return self._identified(presented, found, host)
        return lambda: self._admit_later(presented, found, host)

    async def _admit_later(
        self, presented: PresentedSignature, find: Callable[[], Awaitable[bytes]], host: str
    ) -> Answer:
        try:
            return self._identified(presented, await find(), host)
        except AuthError as error:
            return _refused(error)

    def _identified(self, presented: PresentedSignature, key: bytes, host: str) -> Identity:
        verified = presented.verified_by(key)
        identity = identify_peer(verified, self._trust, now=self._now(), uses=self._uses)
        self._note_name(trusted_peer(verified.key_id, self._trust), host)
        return identity

    def _check_own_name(self, host: str) -> None:
        """What a peer signed for another server is no proof here, or that server could pass for the peer."""
        own, called = self._own, _name(host)
        if own is None:
            return
        if called is None or called.host != own.host:
            raise VerificationFailed
        if called.port is not None and own.port is not None and called.port != own.port:
            raise VerificationFailed

    def _note_name(self, peer: str, host: str) -> None:
        """Without a name of our own a foreign one is let pass, and said once."""
        own_hosts = self._own_hosts()
        if self._own is not None or not own_hosts or peer in self._misdirected:
            return
        called = _name(host)
        if called is None or called.host not in own_hosts:
            self._misdirected.add(peer)
            _log.warning("peer calls this server by a name that is none of its own", peer=peer)


def _name(host: str) -> ServerName | None:
    """The server a `Host` header names, if it names one."""
    try:
        return parse_server_name(host)
    except MalformedText:
        return None


def _refused(error: AuthError) -> Refusal:
    _log.info("peer refused", check=type(error).__name__)
    if isinstance(error, UntrustedPeer):
        return UNTRUSTED
    return BAD_KEY_ID if isinstance(error, InvalidKeyId) else BAD_SIGNATURE
