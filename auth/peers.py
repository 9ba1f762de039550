"""Which server is asking: key ids, the trusted peers, and the identity of a connection between servers."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_DNS, uuid5

from nacl.bindings import crypto_core_ed25519_is_valid_point

from less_sync.auth.encoding import b64url_decode, split_white_space
from less_sync.auth.errors import InvalidKeyId, MalformedText, UntrustedPeer, VerificationFailed
from less_sync.auth.fst import canonicalize_domain
from less_sync.auth.http_signature import SIGNATURE_AGE_S_MAX, SignedRequest, verify_request
from less_sync.auth.identity import Identity

ED25519_KEY_BYTES: Final = 32

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
    if not _VISIBLE.fullmatch(key_id):  # `urlsplit` drops tabs and line breaks
        raise InvalidKeyId("keyid is not a URL")
    url = key_id.rpartition("#")[0] or key_id
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks its range
    except ValueError:
        raise InvalidKeyId("keyid is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidKeyId("keyid must use http(s) scheme")
    if "@" in parts.netloc:
        raise InvalidKeyId("keyid must not contain userinfo")
    host = parts.hostname or ""
    if not (_is_ipv6(host) if parts.netloc.startswith("[") else _HOST.fullmatch(host)):
        raise InvalidKeyId("keyid has no host")
    return host


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except AddressValueError:
        return False


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
    """Canonical, sorted, each once."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Key id to the 32 bytes of an Ed25519 public key."""


def parse_federation_trust(*, domains: str | None, keys: str | None) -> FederationTrust:
    """Read `FEDERATION_TRUSTED_DOMAINS` and `FEDERATION_TRUSTED_KEYS` (docs/tokens.md 9.9).

    Without domains those of the keys are trusted; with domains each key's must be among them.

    Raises:
        ValueError: worded for the operator.
    """
    listed = (item.strip() for item in (domains or "").split(","))
    # Twice, for what the order of its steps leaves behind: `example.com.:443` ends as `example.com`.
    trusted = {canonicalize_domain(canonicalize_domain(item)) for item in listed if item}
    known: dict[str, bytes] = {}
    owners: dict[str, None] = {}
    for entry in split_white_space(keys or ""):
        key_id, key, owner = _trusted_key(entry)
        known[key_id] = key
        owners[owner] = None
    for owner in owners if trusted else ():
        if owner not in trusted:
            raise ValueError(
                f'FEDERATION_TRUSTED_KEYS domain "{owner}" is not listed in FEDERATION_TRUSTED_DOMAINS'
            )
    return FederationTrust(tuple(sorted(trusted or owners)), known)


def _trusted_key(entry: str) -> tuple[str, bytes, str]:
    key_id, separator, text = entry.partition("=")
    if not separator:
        raise ValueError(f'invalid FEDERATION_TRUSTED_KEYS entry "{entry}"')
    try:
        owner = canonicalize_domain(key_id_domain(key_id))
    except InvalidKeyId:
        raise ValueError(f'invalid federation key id "{key_id}"') from None
    try:
        key = b64url_decode(text)
    except MalformedText:
        raise ValueError(f'invalid federation key payload for "{key_id}": not unpadded base64url') from None
    if len(key) != ED25519_KEY_BYTES:
        raise ValueError(f'federation key for "{key_id}" must be 32 bytes')
    if not crypto_core_ed25519_is_valid_point(key):
        raise ValueError(f'invalid federation key bytes for "{key_id}"')
    return key_id, key, owner


def authenticate_peer(
    request: SignedRequest,
    trust: FederationTrust,
    *,
    now: float,
    uses: "SignatureUses | None" = None,
    age_s_max: float = SIGNATURE_AGE_S_MAX,
) -> Identity:
    """Say which trusted server sent a request (docs/tokens.md 9.7).

    Args:
        now: Unix seconds.
        uses: counts signatures, to refuse one that comes too often.

    Raises:
        SignatureError: not rightly signed: 401.
        InvalidKeyId: the key's id names no server: 400.
        UntrustedPeer: a server that is not trusted: 403.
    """
    verified = verify_request(request, key_of=trust.keys.get, now=now, age_s_max=age_s_max)
    domain = canonicalize_domain(key_id_domain(verified.key_id))
    if domain not in trust.domains:
        raise UntrustedPeer
    if uses is not None and not uses.allow(verified.signature, now=now):
        raise VerificationFailed
    return peer_identity(domain)


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
