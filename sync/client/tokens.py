"""What a token says about its holder. Nothing is verified here: that is the server's part."""

import json
from typing import Any
from uuid import UUID

from less_sync.auth import AuthError, b64url_decode, parse_uuid
from less_sync.sync.client.errors import TokenUnavailable


def token_claim(token: str, name: str) -> str:
    """A claim of a token, `did` or `mailbox_id` say; empty when there is none, or this is no token."""
    try:
        payload: Any = json.loads(b64url_decode(token.split(".")[1]))
        value = payload.get(name)
    except (AuthError, AttributeError, IndexError, ValueError):
        return ""
    return value if isinstance(value, str) else ""


def personal_space(token: str) -> UUID:
    """The space that belongs to the token's user alone (docs/tokens.md 2.3).

    Raises:
        TokenUnavailable: this is no token of a sync server's user.
    """
    space = parse_uuid(token_claim(token, "personal_space_id"))
    if space is None:
        raise TokenUnavailable("the token is no session token of a sync server: it names no personal space")
    return space
