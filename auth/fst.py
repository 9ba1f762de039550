"""Federation subscribe tokens: a peer renews a subscription with one instead of a UCAN (docs/tokens.md 10).

    version 1 | nonce 16 | space id 16 | SHA-256 of the peer's domain 32 | expiry u64 | HMAC-SHA256 32

The expiry is in Unix seconds, integers are big-endian, the MAC is over the first 73 bytes, the
text is base64url: 105 bytes, 140 characters.
To everybody else the nonce is opaque. Here it is 8 random bytes and 8 that tell the UCAN behind the
token, so that revoking that UCAN ends the renewals too (docs/tokens.md 10.4).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest, digest
from struct import Struct
from typing import Final
from uuid import UUID

from less_sync.auth.encoding import b64url_decode, b64url_encode
from less_sync.auth.errors import ExpiredFst, FstError, InvalidFst, MalformedText

FST_LIFE_S_MAX: Final = 86_400
LEAF_TAG_BYTES: Final = 8
LEAF_TAG_PREFIX: Final = b"fst-leaf-v1"

_VERSION: Final = 1
_BODY: Final = Struct(">B8s8s16s32sQ")
_MAC_BYTES: Final = sha256().digest_size
_EXPIRY_MAX: Final = 2**63 - 1
assert _BODY.size + _MAC_BYTES == 105

_UPPER_TO_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_DEFAULT_PORTS: Final = re.compile(r"(?::443)+\Z")


def canonicalize_domain(domain: str) -> str:
    """The form of a server's name that is compared and hashed (docs/tokens.md 9.6).

    In this order: drop a scheme, then a path; lower-case ASCII; drop dots at the end, then `:443` at the
    end. Nothing else, and what the order lets through stays: `example.com.:443` becomes `example.com.`.
    """
    _, separator, rest = domain.partition("://")
    host = (rest if separator else domain).partition("/")[0]
    return _DEFAULT_PORTS.sub("", host.translate(_UPPER_TO_LOWER).rstrip("."))


def derive_fst_key(secret: str) -> bytes:
    """The MAC key of a configured secret: 32 bytes. The secret is taken as text, never decoded."""
    return digest(secret.encode("utf-8"), b"fst-key-v1", "sha256")


def fst_leaf_tag(leaf_cid: str) -> bytes:
    """Eight bytes that tell a UCAN by its CID. No key goes in, so that they outlive the change of one."""
    return sha256(LEAF_TAG_PREFIX + leaf_cid.encode("ascii")).digest()[:LEAF_TAG_BYTES]


def fst_expiry(*, now: float, cap: int | None, life_s_max: int = FST_LIFE_S_MAX) -> int:
    """When a token made now ends: floor(min(now + life, cap)).

    Args:
        cap: `exp` of the UCAN behind it, or the expiry of the token it renews; a past one is no error.
    """
    latest = int(now + life_s_max)
    return latest if cap is None else min(latest, cap)


@dataclass(frozen=True, slots=True)
class FstClaims:
    """What a valid token says."""

    space_id: UUID
    expires_at: int
    """Unix seconds."""
    leaf_tag: bytes = field(repr=False)
    """What `fst_leaf_tag` made of the UCAN behind it; just noise in tokens of other servers."""

    def is_revoked_by(self, cids: Iterable[str]) -> bool:
        """Whether the UCAN behind this token is among the CIDs revoked in its space."""
        return any(fst_leaf_tag(cid) == self.leaf_tag for cid in cids if cid.isascii())


@dataclass(frozen=True, slots=True)
class FstKeys:
    """The keys tokens are made and checked with, each from `derive_fst_key`."""

    primary: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)
    """Accepted still, while a secret is being changed."""

    def make(
        self, *, space_id: UUID, peer_domain: str, expires_at: int, nonce: bytes, leaf_tag: bytes
    ) -> str:
        """A token under the primary key.

        Args:
            peer_domain: in any spelling of it.
            expires_at: from `fst_expiry`.
            nonce: 8 random bytes.
            leaf_tag: from `fst_leaf_tag`, or of the token that is renewed.
        """
        assert len(nonce) == len(leaf_tag) == LEAF_TAG_BYTES, "the layout has 8 bytes for each"
        body = _BODY.pack(_VERSION, nonce, leaf_tag, space_id.bytes, _domain_hash(peer_domain), expires_at)
        return b64url_encode(body + digest(self.primary, body, "sha256"))

    def verify(self, token: str, *, peer_domain: str, now: float) -> FstClaims:
        """Check a token under the primary key and, if that fails in any way, under the previous one.

        Args:
            peer_domain: the connection's peer, in any spelling.
            now: Unix seconds.

        Raises:
            InvalidFst: malformed, forged, for another peer, or with an expiry out of range.
            ExpiredFst: `now` is later than the expiry. A token that expired under the primary key is
                InvalidFst where there is a previous one: its verdict counts.
        """
        try:
            return _verify(self.primary, token, peer_domain=peer_domain, now=now)
        except FstError:
            if self.previous is None:
                raise
        return _verify(self.previous, token, peer_domain=peer_domain, now=now)


def _verify(key: bytes, token: str, *, peer_domain: str, now: float) -> FstClaims:
    if len(token) != (_BODY.size + _MAC_BYTES) // 3 * 4:
        raise InvalidFst
    try:
        data = b64url_decode(token)
    except MalformedText:
        raise InvalidFst from None
    body, mac = data[: _BODY.size], data[_BODY.size :]
    version, _, leaf_tag, space_id, domain_hash, expires_at = _BODY.unpack(body)
    # The MAC before the fields it protects; the version alone says how to check it.
    if version != _VERSION or not compare_digest(mac, digest(key, body, "sha256")):
        raise InvalidFst
    if not compare_digest(domain_hash, _domain_hash(peer_domain)) or expires_at > _EXPIRY_MAX:
        raise InvalidFst
    if now > expires_at:
        raise ExpiredFst
    return FstClaims(UUID(bytes=space_id), expires_at, leaf_tag)


def _domain_hash(peer_domain: str) -> bytes:
    return sha256(canonicalize_domain(peer_domain).encode("utf-8", "surrogatepass")).digest()
