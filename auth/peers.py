"""Which server is asking: key ids, the trusted peers, and the identity of a connection between servers."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_DNS, uuid5

from less_sync.auth.ed25519 import is_sound_point
from less_sync.auth.encoding import b64url_decode, split_white_space
from less_sync.auth.errors import InvalidKeyId, MalformedText, UntrustedPeer, VerificationFailed
from less_sync.auth.fst import canonicalize_domain
from less_sync.auth.http_signature import (
    SIGNATURE_AGE_S_MAX,
    SignedRequest,
    VerifiedSignature,
    verify_request,
)
from less_sync.auth.identity import Identity
from less_sync.auth.server_names import (
    DEFAULT_PORT,
    ServerName,
    ipv6_text,
    parse_peer_domain,
    parse_server_name,
)

ED25519_KEY_BYTES: Final = 32

_HTTP_PORTS: Final = {"http": 80, "https": DEFAULT_PORT}
_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")
_HOST: Final = re.compile(r"[a-z0-9_-][a-z0-9._-]*")


def split_key_id(key_id: str) -> tuple[str, str]:
    """The URL of the key set a key id points to, and the key's name there: cut at the last `#`.

    Raises:
        InvalidKeyId: there is no `#`.
    """
    url, separator, name = key_id.rpartition("#")
    if not separator:
        raise InvalidKeyId(f'keyid "{key_id}" has no fragment')
    return url, name


def key_id_domain(key_id: str) -> str:
    """The host a key id belongs to: lower-case, without port or brackets (docs/tokens.md 9.5).

    Raises:
        InvalidKeyId: no http(s) URL with a host and without user info.
    """
    return key_id_server(key_id).host


def key_id_server(key_id: str) -> ServerName:
    """The same host, and the port of the URL: the one written there, or its scheme's.

    Raises:
        InvalidKeyId: as `key_id_domain`.
    """
    if not _VISIBLE.fullmatch(key_id):  # `urlsplit` drops tabs and line breaks
        raise InvalidKeyId("keyid is not a URL")
    url = key_id.rpartition("#")[0] or key_id
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidKeyId("keyid is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidKeyId("keyid must use http(s) scheme")
    if "@" in parts.netloc:
        raise InvalidKeyId("keyid must not contain userinfo")
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        host = ipv6_text(host) or ""
    elif not _HOST.fullmatch(host):
        host = ""
    if not host:
        raise InvalidKeyId("keyid has no host")
    return ServerName(host, _HTTP_PORTS[parts.scheme] if port is None else port)


def peer_identity(domain: str) -> Identity:
    """The identity of a connection from a peer (docs/tokens.md 2.1).

    Args:
        domain: canonical.
    """
    name = f"federation:{domain}"
    space = uuid5(NAMESPACE_DNS, name)
    return Identity(
        issuer=f"https://{domain}",
        user_id=name,
        client_id=name,
        personal_space_id=str(space),
        did=f"did:web:{domain}",
        mailbox_id=name,
        scope="sync",
        personal_space=space,
    )


@dataclass(frozen=True, slots=True)
class FederationTrust:
    """The servers that are trusted, and the keys they sign with."""

    domains: tuple[str, ...] = ()
    """`host` or `host:port`, sorted, each once."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Key id to the 32 bytes of an Ed25519 public key."""
    _entries: Mapping[str, Mapping[int | None, str]] = field(init=False, repr=False, compare=False)
    """Host to port to the entry that names them."""

    def __post_init__(self) -> None:
        entries: dict[str, dict[int | None, str]] = {}
        for domain in self.domains:
            name = _entry_name(domain)
            entries.setdefault(name.host, {})[name.port] = domain
        object.__setattr__(self, "_entries", entries)

    def entry_for(self, host: str, port: int | None) -> str | None:
        """The entry of `domains` by which a server is trusted; None if none does (docs/federation.md 2).

        An entry without port is good for every port of its host, one with a port for that port alone.

        Args:
            host: IPv6 addresses with or without brackets.
            port: None when any will do, because nothing says which.
        """
        address = ipv6_text(host.removeprefix("[").removesuffix("]"))
        entries = self._entries.get(address or host.lower(), {})
        if port in entries or port is not None:
            return entries.get(port, entries.get(None))
        return next(iter(entries.values()), None)


def _entry_name(domain: str) -> ServerName:
    """An entry's host and port. One that is no server's name stays as it is, and matches at most itself."""
    try:
        return parse_server_name(domain) or ServerName("", None)
    except MalformedText:
        return ServerName(domain, None)


def _entry(item: str) -> str:
    try:
        return parse_peer_domain(item)
    except MalformedText:
        return canonicalize_domain(canonicalize_domain(item))


def parse_federation_trust(*, domains: str | None, keys: str | None) -> FederationTrust:
    """Read `FEDERATION_TRUSTED_DOMAINS` and `FEDERATION_TRUSTED_KEYS` (docs/tokens.md 9.9).

    Without domains those of the keys are trusted; with domains each key's must be among them. A domain that
    is no server's name is kept as existing servers keep it, so that whoever starts can tell that no key
    matches it.

    Raises:
        ValueError: worded for the operator; what is behind it, if anything, is its cause.
    """
    listed = (item.strip() for item in (domains or "").split(","))
    trusted = {_entry(item) for item in listed} - {""}
    known: dict[str, bytes] = {}
    owners: dict[ServerName, None] = {}
    for entry in split_white_space(keys or ""):
        key_id, key, owner = _trusted_key(entry)
        known[key_id] = key
        owners[owner] = None
    if not trusted:
        trusted = {str(owner._replace(port=None)) for owner in owners}
    trust = FederationTrust(tuple(sorted(trusted)), known)
    for owner in owners:
        if trust.entry_for(*owner) is None:
            raise ValueError(
                f'FEDERATION_TRUSTED_KEYS domain "{owner.host}" is not listed in FEDERATION_TRUSTED_DOMAINS'
            )
    return trust


def _trusted_key(entry: str) -> tuple[str, bytes, ServerName]:
    key_id, separator, text = entry.partition("=")
    if not separator:
        raise ValueError(f'invalid FEDERATION_TRUSTED_KEYS entry "{entry}"')
    try:
        owner = _peer_of(key_id)
    except InvalidKeyId:
        raise ValueError(f'invalid federation key id "{key_id}"') from None
    try:
        key = b64url_decode(text)
    except MalformedText:
        cause = ValueError("not unpadded base64url")
        raise ValueError(f'invalid federation key payload for "{key_id}"') from cause
    if len(key) != ED25519_KEY_BYTES:
        raise ValueError(f'federation key for "{key_id}" must be 32 bytes')
    if not is_sound_point(key):
        raise ValueError(f'invalid federation key bytes for "{key_id}"')
    return key_id, key, owner


def _peer_of(key_id: str) -> ServerName:
    """The server of a key id; dots at the end of its host are dropped, as everywhere."""
    server = key_id_server(key_id)
    return server._replace(host=server.host.rstrip("."))


def trusted_peer(key_id: str, trust: FederationTrust) -> str:
    """The host that a key id belongs to, which is the peer's identity, if that server is trusted.

    Raises:
        InvalidKeyId: the key's id names no server: 400.
        UntrustedPeer: a server that is not trusted: 403.
    """
    peer = _peer_of(key_id)
    if trust.entry_for(*peer) is None:
        raise UntrustedPeer
    return peer.host


def identify_peer(
    verified: VerifiedSignature, trust: FederationTrust, *, now: float, uses: "SignatureUses | None" = None
) -> Identity:
    """Say which trusted server made a signature that verified (docs/tokens.md 9.7).

    Args:
        now: Unix seconds.
        uses: counts signatures, to refuse one that comes too often.

    Raises:
        VerificationFailed: it came too often: 401.
        InvalidKeyId, UntrustedPeer: as `trusted_peer`.
    """
    domain = trusted_peer(verified.key_id, trust)
    if uses is not None and not uses.allow(verified.signature, now=now):
        raise VerificationFailed
    return peer_identity(domain)


def authenticate_peer(
    request: SignedRequest,
    trust: FederationTrust,
    *,
    now: float,
    uses: "SignatureUses | None" = None,
    age_s_max: float = SIGNATURE_AGE_S_MAX,
) -> Identity:
    """Say which trusted server sent a request, by the keys that are configured (docs/tokens.md 9.7).

    Args:
        now: Unix seconds.
        uses: as for `identify_peer`.

    Raises:
        SignatureError: not rightly signed: 401.
        InvalidKeyId, UntrustedPeer: as `trusted_peer`.
    """
    verified = verify_request(request, key_of=trust.keys.get, now=now, age_s_max=age_s_max)
    return identify_peer(verified, trust, now=now, uses=uses)


class SignatureUses:
    """Counts how often each signature was presented within the time it is good for (docs/tokens.md 9.8).

    Ed25519 is deterministic and `created` has whole seconds, so honest reconnects repeat a signature;
    a handful of uses is therefore fine. Only signatures that verified are counted; the oldest are forgotten
    first when there are too many.

    Args:
        uses_max: uses allowed within the window.
        window_s: twice the age allowed, as `created` may be ahead.
        entries_max: signatures remembered.
    """

    def __init__(
        self, *, uses_max: int = 8, window_s: float = 2 * SIGNATURE_AGE_S_MAX, entries_max: int = 10_000
    ) -> None:
        self._uses_max = uses_max
        self._window_s = window_s
        self._entries_max = entries_max
        self._uses: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def allow(self, signature: bytes, *, now: float) -> bool:
        """Count one use; False when there were too many."""
        while self._uses and now - next(iter(self._uses.values()))[0] > self._window_s:
            self._uses.popitem(last=False)
        first, count = self._uses.get(signature, (now, 0))
        # The place in the order stays that of the first use, by which the window is counted.
        self._uses[signature] = (first, count + 1)
        if len(self._uses) > self._entries_max:
            self._uses.popitem(last=False)
        return count < self._uses_max
