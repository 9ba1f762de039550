"""The validated caller, and the identifiers derived from it."""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from uuid import NAMESPACE_DNS, UUID, uuid5

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PERSONAL_SPACE_ROOTS: Final = {
    "betterbase": uuid5(NAMESPACE_DNS, "betterbase.dev"),
    "less": uuid5(NAMESPACE_DNS, "less.so"),
}
"""Brand to the namespace its personal space ids are derived in."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as a validated token says. Every field may be empty but issuer, user and client.

    No field is shown by `repr`: none of them may reach a log.
    """

    issuer: str = field(repr=False)
    user_id: str = field(repr=False)
    client_id: str = field(repr=False)
    personal_space_id: str = field(default="", repr=False)
    did: str = field(default="", repr=False)
    mailbox_id: str = field(default="", repr=False)
    scope: str = field(default="", repr=False)
    expires_at: int = field(default=0, repr=False)
    """Unix seconds of the token's `exp`; 0 when it has none."""
    token_id: str = field(default="", repr=False)
    """The token's `jti`."""
    personal_space: UUID | None = field(default=None, repr=False)
    """`personal_space_id` as a UUID value, or None when the claim is no UUID text."""
    derived: bool = field(default=False, repr=False)
    """Personal space and mailbox were computed here, not claimed (docs/tokens.md 2.5). Then `did` is empty
    until one is proven."""

    @property
    def mailbox(self) -> str:
        """The mailbox invitations are listed for: `mailbox_id`, or `client_id` when that is empty."""
        return self.mailbox_id or self.client_id


def personal_space_id(root: UUID, issuer: str, user_id: str, client_id: str) -> UUID:
    """Derive the personal space id: UUIDv5(root, issuer NUL user_id NUL client_id).

    Args:
        root: one of `PERSONAL_SPACE_ROOTS`.
        issuer: exactly as in the token's `iss`, not normalised.
    """
    return uuid5(root, f"{issuer}\x00{user_id}\x00{client_id}")


def server_mailbox_id(key: bytes, issuer: str, user_id: str) -> str:
    """The mailbox of a derived identity (docs/tokens.md 2.5): 64 hex digits.

    HMAC-SHA-256 of `less-sync-mailbox-v1 NUL issuer NUL user_id`. What stands before the issuer keeps it
    apart from the names that the table of limits gives to persons under the same key: whoever reads that
    table learns no mailbox.

    Args:
        key: `IDENTITY_HASH_KEY`.
        issuer: exactly as in the token's `iss`, as for the personal space.
    """
    message = f"less-sync-mailbox-v1\x00{issuer}\x00{user_id}".encode()
    return hmac.digest(key, message, sha256).hex()


_MAILBOX_NAMES: Final = {
    "betterbase": (b"betterbase-mailbox-salt-v1", "betterbase:mailbox:v1\x00"),
    "less": (b"less-platform-mailbox-salt-v1", "less:mailbox:v1\x00"),
}


def derive_mailbox_id(brand: str, encryption_key: bytes, *, issuer: str, user_id: str) -> str:
    """The mailbox id a client derives from its user's encryption key (docs/tokens.md 2.4): 64 hex digits.

    HKDF-SHA-256 (RFC 5869). A server takes the claim as it is; clients and tests need this.

    Args:
        brand: a key of `PERSONAL_SPACE_ROOTS`.
        encryption_key: 32 bytes.
    """
    salt, prefix = _MAILBOX_NAMES[brand]
    info = f"{prefix}{issuer}\x00{user_id}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(encryption_key).hex()
