"""From a token's text to an identity: key lookup, verification, and a memory of tokens just verified."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from less_sync.auth import (
    TOKEN_CHARS_MAX,
    AuthError,
    ExpiredToken,
    Identity,
    InvalidToken,
    Issuer,
    IssuerKey,
    KeysUnavailable,
    MissingToken,
    TokenCheck,
    TokenError,
    TokenPolicy,
    UntrustedIssuer,
    UnverifiedToken,
    parse_token,
    verify_did_proof,
    verify_token,
)
from less_sync.sync.access.key_fetch import KeySource
from less_sync.sync.access.refusals import RefusedTokens
from less_sync.sync.canary import is_canary
from less_sync.sync.protocol.codes import AUTH_UNAVAILABLE, Close, CloseCode

REMEMBERED_TOKENS_MAX: Final = 4096
REMEMBERED_S_MAX: Final = 60.0
"""How long a verified token is believed without looking again, if it does not expire before."""


@dataclass(frozen=True, slots=True)
class AuthFailure:
    """How one error is told on each transport."""

    close: Close
    """Of a connection whose first frame carried the token."""
    refresh_error: str
    """`error` of a `token.refresh` result."""
    http_status: int
    http_error: str


def _refused(close_reason: str, http_error: str) -> AuthFailure:
    return AuthFailure(Close(CloseCode.AUTH_FAILED, close_reason), close_reason, 401, http_error)


AUTH_FAILURES: Final[dict[type[AuthError], AuthFailure]] = {
    MissingToken: _refused("missing auth token", "missing authorization token"),
    InvalidToken: _refused("invalid auth token", "invalid token"),
    ExpiredToken: _refused("expired auth token", "token has expired"),
    UntrustedIssuer: _refused("untrusted auth issuer", "untrusted token issuer"),
    KeysUnavailable: AuthFailure(AUTH_UNAVAILABLE, "invalid auth token", 503, "auth temporarily unavailable"),
}
"""docs/tokens.md 3.4, one row per error. Existing clients stay away for good after 4000, hence the 1013."""


def auth_failure(error: AuthError) -> AuthFailure:
    """The row of an error; one without a row of its own is told as an invalid token."""
    return AUTH_FAILURES.get(type(error), AUTH_FAILURES[InvalidToken])


@dataclass(frozen=True, slots=True)
class _Remembered:
    identity: Identity
    verified_at_s: float


class Authenticator:
    """Says who holds a token. Safe to share by all sessions of one event loop.

    Verified tokens are remembered by the SHA-256 of their text, at most `remembered_max` of them, for
    60 seconds or until they expire.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        policy: TokenPolicy | None = None,
        now: Callable[[], float] = time.time,
        remembered_max: int = REMEMBERED_TOKENS_MAX,
        refusals: RefusedTokens | None = None,
    ) -> None:
        self._keys = keys
        self._policy = policy or TokenPolicy()
        self._now = now
        self._remembered_max = remembered_max
        self._refusals = refusals or RefusedTokens()
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    @property
    def keys(self) -> KeySource:
        """Where the keys of issuers come from."""
        return self._keys

    def identify_cached(self, token: str, did_proof: str = "") -> Identity | None:
        """The holder of a token, if that can be said without waiting; None when its key must be awaited.

        A remembered token costs one hash; another one a verification, if its key is at hand.

        Args:
            did_proof: shows which device presents the token; only looked at where identities are derived
                (docs/tokens.md 11).

        Raises:
            TokenError: it is refused, as `identify` would.
        """
        digest = _digest(token)
        try:
            identity = self._recall(digest)
            if identity is None:
                unverified = parse_token(token, self._keys.issuers)
                key = self._keys.cached_key(unverified.issuer, unverified.kid)
                if key is None:
                    return None
                identity = self._verified(digest, unverified, key)
            return self._with_did(identity, token, did_proof)
        except TokenError as error:
            self.refused(error.check)
            raise

    async def identify(self, token: str, did_proof: str = "") -> Identity:
        """The holder of a token; awaits the issuer's key set when the key is not at hand, 10 s at most.

        Args:
            did_proof: as for `identify_cached`.

        Raises:
            MissingToken: the text is empty.
            InvalidToken: malformed, forged, or with wrong claims; or such a proof.
            KeysUnavailable: the issuer's key set cannot be had now.
            ExpiredToken: `exp` has passed.
            UntrustedIssuer: `iss` is not configured.
        """
        identity = self.identify_cached(token, did_proof)
        if identity is not None:
            return identity
        try:
            unverified = parse_token(token, self._keys.issuers)
            issuer, kid = unverified.issuer, unverified.kid
            # Claims unfold to twenty times their text: while the key is awaited only that is kept.
            del unverified
            key = await self._keys.key(issuer, kid)
            identity = self._verified(_digest(token), parse_token(token, self._keys.issuers), key)
            return self._with_did(identity, token, did_proof)
        except TokenError as error:
            self.refused(error.check)
            raise

    def refused(self, check: TokenCheck) -> None:
        """Log that a token was refused, and by which check; for checks made elsewhere too."""
        self._refusals.note(check)

    def _verified(self, digest: bytes, token: UnverifiedToken, key: IssuerKey) -> Identity:
        identity = verify_token(token, key, policy=self._policy, now=self._now())
        if identity.personal_space is not None and is_canary(identity.personal_space):
            # Whatever an issuer claims, the space in which a server watches itself is nobody's.
            identity = replace(identity, personal_space=None)
        self._remember(digest, identity)
        return identity

    def _with_did(self, identity: Identity, token: str, did_proof: str) -> Identity:
        """The same identity with the DID that is proven beside its token.

        What is remembered of a token has none: each connection and each request is of its own device.
        """
        if not did_proof or not identity.derived:
            return identity
        return replace(identity, did=verify_did_proof(did_proof, token, self._now()))

    def trust(self, issuers: Mapping[str, str], audiences: Set[str], ruled: Iterable[Issuer] = ()) -> None:
        """Exchange whose tokens are accepted and for whom they must be meant, in one step.

        What was verified under the former ones is forgotten. Who has signed in already stays signed in; the
        next token of a removed issuer is refused, for a new connection and for a refresh.

        Args:
            issuers: normalised issuer to the URL of its key set; the keys of new ones are fetched behind.
            audiences: empty: they are not checked, but for issuers that have rules about it.
            ruled: issuers that have rules of their own; none of them is in `issuers`.
        """
        self._keys.trust(issuers, ruled)
        self._policy = replace(self._policy, audiences=frozenset(audiences))
        self._remembered.clear()

    async def prefetch(self) -> None:
        """Fetch the issuers' key sets, so that the first tokens need not wait; for a task of its own."""
        await self._keys.prefetch()

    async def aclose(self) -> None:
        """Stop key fetches that are under way."""
        await self._keys.aclose()

    def _recall(self, digest: bytes) -> Identity | None:
        remembered = self._remembered.get(digest)
        if remembered is None:
            return None
        now = self._now()
        expires_at = remembered.identity.expires_at
        # A clock set back must not make memory last longer.
        fresh = 0 <= now - remembered.verified_at_s < REMEMBERED_S_MAX
        if not fresh or (expires_at and int(now) > expires_at):
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return remembered.identity

    def _remember(self, digest: bytes, identity: Identity) -> None:
        self._remembered[digest] = _Remembered(identity, self._now())
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)


def _digest(token: str) -> bytes:
    # Longer texts are refused by the parser; hashing them whole would be work for nothing.
    return sha256(token[: TOKEN_CHARS_MAX + 1].encode("utf-8", "surrogatepass")).digest()
