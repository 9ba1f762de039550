"""Public keys that issuers sign with, read from the entries of their key sets (RFC 7517, 7518, 8037).

A key is read for the algorithms that are configured for its issuer and for no others, so that no header of a
token can make it serve another one (RFC 8725, 3.1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from less_sync.auth.ed25519 import is_sound_point
from less_sync.auth.encoding import b64url_decode, text_of
from less_sync.auth.errors import MalformedText
from less_sync.auth.issuers import DEFAULT_ALGORITHMS

RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 4096
RSA_EXPONENT: Final = 65537

_ED25519_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class RsaKey:
    """An RSA key, and which of the two ways of signing with it is meant."""

    key: RSAPublicKey
    algorithms: frozenset[str]
    """`RS256`, `PS256` or both."""


IssuerKey = EllipticCurvePublicKey | Ed25519PublicKey | RsaKey


def parse_jwk(entry: object, algorithms: frozenset[str] = DEFAULT_ALGORITHMS) -> tuple[str, IssuerKey] | None:
    """The key id and key of one entry, or None when it is not usable (docs/tokens.md 4.4).

    Usable: `kid` a string, `use` absent or `sig`, `kty` and `crv` those of one of `algorithms`, `alg` absent
    or one of them that fits, and a sound key.
    """
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kind = next((kind for kind in _KINDS if kind.names(entry)), None)
    if kind is None:
        return None
    named = kind.algorithms & algorithms
    usable = frozenset(name for name in named if entry.get("alg", name) == name)
    if not usable:
        return None
    try:
        return text_of(entry.get("kid")), kind.read(entry, usable)
    except (MalformedText, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of entry: what it is called, what it signs with, and how it is read."""

    kty: str
    crv: str | None
    algorithms: frozenset[str]
    read: Callable[[Mapping[str, Any], frozenset[str]], IssuerKey]

    def names(self, entry: Mapping[str, Any]) -> bool:
        return entry.get("kty") == self.kty and (self.crv is None or entry.get("crv") == self.crv)


def _number(entry: Mapping[str, Any], name: str, bytes_max: int) -> int:
    data = b64url_decode(text_of(entry.get(name)))
    if len(data) > bytes_max:
        raise MalformedText
    return int.from_bytes(data, "big")


def _point(
    curve: EllipticCurve,
) -> Callable[[Mapping[str, Any], frozenset[str]], EllipticCurvePublicKey]:
    coordinate_bytes = (curve.key_size + 7) // 8

    def read(entry: Mapping[str, Any], _algorithms: frozenset[str]) -> EllipticCurvePublicKey:
        x, y = _number(entry, "x", coordinate_bytes), _number(entry, "y", coordinate_bytes)
        return EllipticCurvePublicNumbers(x, y, curve).public_key()

    return read


def _ed25519(entry: Mapping[str, Any], _algorithms: frozenset[str]) -> Ed25519PublicKey:
    data = b64url_decode(text_of(entry.get("x")))
    if len(data) != _ED25519_BYTES or not is_sound_point(data):
        raise MalformedText
    return Ed25519PublicKey.from_public_bytes(data)


def _rsa(entry: Mapping[str, Any], algorithms: frozenset[str]) -> RsaKey:
    # One byte more: some issuers write the zero in front that other formats need.
    n = _number(entry, "n", RSA_BITS_MAX // 8 + 1)
    sound = n % 2 == 1 and RSA_BITS_MIN <= n.bit_length() <= RSA_BITS_MAX
    if not sound or _number(entry, "e", 4) != RSA_EXPONENT:
        raise MalformedText
    return RsaKey(RSAPublicNumbers(RSA_EXPONENT, n).public_key(), algorithms)


_KINDS: Final = (
    _Kind("EC", "P-256", frozenset({"ES256"}), _point(SECP256R1())),
    _Kind("EC", "P-384", frozenset({"ES384"}), _point(SECP384R1())),
    _Kind("OKP", "Ed25519", frozenset({"EdDSA"}), _ed25519),
    _Kind("RSA", None, frozenset({"RS256", "PS256"}), _rsa),
)
