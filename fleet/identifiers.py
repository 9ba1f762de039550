"""Credentials of machines and sessions: 256 random bits behind a prefix that says what they are.

Only the SHA-256 of one is kept: a guess at 256 bits is hopeless, so a slow hash would protect nothing.
"""

import hashlib
import re
import secrets
from typing import Final

AGENT_TOKEN: Final = "lsa_"
ENROLMENT_TOKEN: Final = "lse_"
SESSION_TOKEN: Final = "lss_"

_RANDOM_BYTES: Final = 32
_FORM: Final = re.compile(r"ls[aes]_[A-Za-z0-9_-]{43}\Z", re.ASCII)


def new_token(prefix: str) -> str:
    """A fresh credential: the prefix and 43 characters of unpadded base64url."""
    return prefix + secrets.token_urlsafe(_RANDOM_BYTES)


def is_token(text: str, prefix: str) -> bool:
    """Whether a text has the form of such a credential, so that looking it up makes sense."""
    return text.startswith(prefix) and _FORM.match(text) is not None


def token_hash(token: str) -> bytes:
    """What is kept of a credential, 32 bytes. The text is ASCII."""
    return hashlib.sha256(token.encode("ascii")).digest()
