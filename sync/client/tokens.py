"""Where tokens come from, and what one says about its holder. None is verified: that is the server's part."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.auth import AuthError, b64url_decode, make_did_proof, parse_uuid
from less_sync.sync.client.errors import SyncClientError, TokenUnavailable

TokenSource = Callable[[], Awaitable[str]]
"""Gives a token for the next connection; raises TokenUnavailable when it cannot."""


PROOF_LIFE_S: Final = 3600
"""Of the proof for a token that does not say when it ends. After half of it another one is made."""


async def asked_token(source: TokenSource) -> str:
    """Ask a source. What it raises is the answer to this one attempt, whatever it is.

    Raises:
        TokenUnavailable: the source failed.
    """
    try:
        return await source()
    except SyncClientError:
        raise
    except Exception as error:
        # Its text may quote the token.
        raise TokenUnavailable(f"the token source failed: {type(error).__name__}") from error


class KeptToken:
    """The last token of a source, for as long as it is good. Whoever asks at the same time shares one."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = ""
        self._asking = asyncio.Lock()

    async def get(self, *, but: str = "") -> str:
        """The token that is kept, or a new one if there is none or it is the one that was refused, `but`.

        Raises:
            TokenUnavailable: the source failed, or gave what is no token.
        """
        async with self._asking:
            if self._token in ("", but):
                token = await asked_token(self._source)
                if not (token.isascii() and token.isprintable() and token):
                    raise TokenUnavailable("what the token source gave is no token")
                self._token = token
            return self._token


class DidProofs:
    """Proves for each token that we have the key behind our DID (docs/tokens.md 11).

    Args:
        key: a P-256 key; without one there is no proof.
        now: this machine's clock, which matters only for tokens that do not say when they end.
    """

    def __init__(self, key: EllipticCurvePrivateKey | None, now: Callable[[], datetime]) -> None:
        self._key = key
        self._now = now
        self._last = ("", "", 0.0)
        """The token, its proof, and from when on by our clock that is too old."""

    def of(self, token: str) -> str:
        """The proof that belongs to this token, or empty; the same one while it is good."""
        if self._key is None:
            return ""
        last, proof, until_s = self._last
        now_s = self._now().timestamp()
        if last != token or now_s >= until_s:
            # As long as the token, by the issuer's clock: ours may be wrong.
            exp, until_s = _claim(token, "exp"), math.inf
            if type(exp) is not int:
                exp, until_s = int(now_s) + PROOF_LIFE_S, now_s + PROOF_LIFE_S / 2
            proof = make_did_proof(self._key, token, exp)
            self._last = (token, proof, until_s)
        return proof


def token_claim(token: str, name: str) -> str:
    """A claim of a token, `did` or `mailbox_id` say; empty when there is none, or this is no token."""
    value = _claim(token, name)
    return value if isinstance(value, str) else ""


def _claim(token: str, name: str) -> Any:
    try:
        return json.loads(b64url_decode(token.split(".")[1])).get(name)
    except (AuthError, AttributeError, IndexError, ValueError):
        return None


def personal_space(token: str) -> UUID:
    """The space that belongs to the token's user alone (docs/tokens.md 2.3).

    Raises:
        TokenUnavailable: this is no token of a sync server's user.
    """
    space = parse_uuid(token_claim(token, "personal_space_id"))
    if space is None:
        raise TokenUnavailable("the token is no session token of a sync server: it names no personal space")
    return space
