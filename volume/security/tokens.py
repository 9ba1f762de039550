"""JSON Web Tokens for files: HMAC only, checked exactly (RFC 7519, RFC 7515)."""

import base64
import binascii
import hmac
import json
import math
from collections.abc import Callable
from typing import Final, NamedTuple

_DIGESTS: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
TOKEN_CHARS_MAX: Final = 8192
VERIFIED_MAX: Final = 4096


class _Grant(NamedTuple):
    file_id: object
    not_before: float
    before: float


class Tokens:
    """Checks tokens signed with one key, and remembers those whose signature held."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self.key: Final = key
        self._clock: Final = clock
        self._verified: Final[dict[str, _Grant]] = {}

    def allow(self, token: str, file_id: str) -> bool:
        """Whether a token is genuine, in force, and made for exactly this text `volume,needle`."""
        grant = self._verified.get(token)
        if grant is None:
            grant = _verify(self.key, token)
            if grant is None:
                return False
            while len(self._verified) >= VERIFIED_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[token] = grant
        return grant.file_id == file_id and grant.not_before <= self._clock() < grant.before


def _verify(key: bytes, token: str) -> _Grant | None:
    """What a token grants; None when it is malformed, of another algorithm, or not signed with `key`."""
    if len(token) > TOKEN_CHARS_MAX or token.count(".") != 2 or not token.isascii():
        return None
    signed, _, signature_text = token.rpartition(".")
    head_text, _, claims_text = signed.partition(".")
    head, claims, signature = _object(head_text), _object(claims_text), _decoded(signature_text)
    if head is None or claims is None or signature is None:
        return None
    algorithm = head.get("alg")
    digest = _DIGESTS.get(algorithm) if isinstance(algorithm, str) else None
    if digest is None or not hmac.compare_digest(hmac.digest(key, signed.encode(), digest), signature):
        return None
    before, not_before = _moment(claims, "exp", math.inf), _moment(claims, "nbf", -math.inf)
    if before is None or not_before is None:
        return None
    return _Grant(claims.get("fid"), not_before, before)


def _moment(claims: dict[str, object], name: str, absent: float) -> float | None:
    """Seconds since 1970 of a claim; `absent` if there is none, None if it is no number."""
    value = claims.get(name)
    if value is None:
        return absent
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return min(value, 1e300) if value > 0 else max(value, -1e300)


def _object(text: str) -> dict[str, object] | None:
    raw = _decoded(text)
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(text: str) -> bytes | None:
    """Base64url without padding (RFC 7515 appendix C)."""
    if "=" in text or "+" in text or "/" in text:
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
