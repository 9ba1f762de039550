"""Signatures of webhooks by Standard Webhooks 1.0.0, and the older kind beside them.

The receiver holds the same secret, shown to it as `whsec_` and base64. While a secret is being changed both
sign, so that a receiver may take the new one at any moment of the overlap.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
_SECRET_BYTES: Final = 32


def new_secret() -> bytes:
    """A random secret."""
    return secrets.token_bytes(_SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """A secret as its receiver gets to see it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode("ascii")


def parse_secret(text: str) -> bytes:
    """Take a secret that somebody chose.

    Raises:
        ValueError: it is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    problem = f"must be {SECRET_PREFIX} and the base64 of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(problem)
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:  # of characters beyond ASCII too
        raise ValueError(problem) from None
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise ValueError(problem)
    return secret


def signed_headers(
    event_id: str, timestamp_s: int, body: bytes, keys: Sequence[bytes]
) -> list[tuple[str, str]]:
    """The headers that prove where a webhook comes from.

    Args:
        timestamp_s: of this attempt, since 1970.
        keys: the secret, and the one before while it is still valid.
    """
    signed = b".".join((event_id.encode("ascii"), b"%d" % timestamp_s, body))
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii") for key in keys)
    return [
        ("webhook-id", event_id),
        ("webhook-timestamp", str(timestamp_s)),
        ("webhook-signature", " ".join(f"v1,{signature}" for signature in signatures)),
        ("X-Webhook-Signature", f"sha256={hmac.digest(keys[0], body, 'sha256').hex()}"),
    ]
