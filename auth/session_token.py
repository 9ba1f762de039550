"""Session tokens: 58 bytes that stand for a permission in one space (docs/tokens.md 8).

No route issues or reads them; the format is fixed for those who have them.

    version 1 | expiry u64, Unix seconds, big-endian | permission u8 | nonce 16 | HMAC-SHA256 32
    The MAC is over the first 26 bytes and then the space id's text, which the token does not carry.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest, digest
from struct import Struct
from typing import Final

from less_sync.auth.errors import (
    InvalidKeyLength,
    InvalidPermission,
    InvalidSession,
    SessionExpired,
    UnknownPermission,
)
from less_sync.auth.permission import Permission

SESSION_KEY_BYTES: Final = 32
SESSION_NONCE_BYTES: Final = 16

_VERSION: Final = 1
_BODY: Final = Struct(">BQB16s")
_MAC_BYTES: Final = sha256().digest_size
_EXPIRY_MAX: Final = 2**63 - 1
assert _BODY.size + _MAC_BYTES == 58


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a valid session token grants."""

    permission: Permission
    expires_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """Makes and checks session tokens under one key.

    Raises:
        InvalidKeyLength: the key is not 32 bytes.
    """

    key: bytes = field(repr=False)
    ttl_s: float = 900.0

    def __post_init__(self) -> None:
        if len(self.key) != SESSION_KEY_BYTES:
            raise InvalidKeyLength(len(self.key))

    def make(self, *, space_id: str, permission: Permission, nonce: bytes, now: float) -> bytes:
        """A token for a space, good for `ttl_s` from `now`.

        Args:
            nonce: 16 random bytes.
            now: Unix seconds.
        """
        assert len(nonce) == SESSION_NONCE_BYTES, "the layout has 16 bytes for the nonce"
        body = _BODY.pack(_VERSION, int(now + self.ttl_s), permission, nonce)
        return body + self._mac(body, space_id)

    def verify(self, token: bytes, *, space_id: str, now: float) -> SessionClaims:
        """Check a token, in the order of docs/tokens.md 8.

        Raises:
            InvalidSession: wrong length, version or MAC, which binds the space too, or expiry out of range.
            SessionExpired: `now` is later than the expiry, by however little.
            InvalidPermission: rightly signed, but of no known permission.
        """
        if len(token) != _BODY.size + _MAC_BYTES or token[0] != _VERSION:
            raise InvalidSession
        body, mac = token[: _BODY.size], token[_BODY.size :]
        if not compare_digest(mac, self._mac(body, space_id)):
            raise InvalidSession
        _, expires_at, value, _ = _BODY.unpack(body)
        if expires_at > _EXPIRY_MAX:
            raise InvalidSession
        if now > expires_at:
            raise SessionExpired
        try:
            return SessionClaims(Permission.from_value(value), expires_at)
        except UnknownPermission:
            raise InvalidPermission(value) from None

    def _mac(self, body: bytes, space_id: str) -> bytes:
        return digest(self.key, body + space_id.encode("utf-8"), "sha256")
