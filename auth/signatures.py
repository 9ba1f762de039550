"""Signatures of access tokens as JWS carries them, by algorithm (RFC 7518 section 3, RFC 8037).

Each is read before its key is looked for: what has not the form of a signature causes no fetch of a key set.
And each says which keys it may be checked with, so that a key of another kind, or one that is meant for
another algorithm, is never tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, Protocol, Self, TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from less_sync.auth.encoding import b64url_decode
from less_sync.auth.errors import MalformedText
from less_sync.auth.es256 import Es256Signature
from less_sync.auth.issuer_keys import RSA_BITS_MAX, RSA_BITS_MIN, IssuerKey, RsaKey

_P384_ORDER: Final = int(
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
)
_ED25519_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_ECDSA_SHA384: Final = ECDSA(SHA384())
_SHA256: Final = SHA256()


class Signature(Protocol):
    """One signature of one algorithm."""

    @classmethod
    def parse(cls, segment: str, /) -> Self:
        """Read the third segment of a JWS. Raises MalformedText when it cannot be one of this algorithm."""
        ...

    def fits(self, key: IssuerKey, /) -> bool:
        """Whether the key is one of this algorithm."""
        ...

    def verifies(self, key: IssuerKey, signing_input: bytes, /) -> bool:
        """Whether `key` fits and made this signature over the first two segments and the dot between them."""
        ...


@dataclass(frozen=True, slots=True)
class Es384Signature:
    """ECDSA on P-384: 96 bytes, r and s of 48 bytes each, both in range."""

    r: int
    s: int

    @classmethod
    def parse(cls, segment: str) -> Self:
        """See `Signature`."""
        raw = b64url_decode(segment)
        r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
        if len(raw) != 96 or not (0 < r < _P384_ORDER and 0 < s < _P384_ORDER):
            raise MalformedText
        return cls(r, s)

    def fits(self, key: IssuerKey) -> bool:
        """See `Signature`."""
        return _is_p384(key)

    def verifies(self, key: IssuerKey, signing_input: bytes) -> bool:
        """See `Signature`."""
        if not _is_p384(key):
            return False
        try:
            key.verify(encode_dss_signature(self.r, self.s), signing_input, _ECDSA_SHA384)
        except InvalidSignature:
            return False
        return True


def _is_p384(key: IssuerKey) -> TypeGuard[EllipticCurvePublicKey]:
    return isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp384r1"


@dataclass(frozen=True, slots=True)
class EdDsaSignature:
    """Ed25519: 64 bytes, the second half a number below the order of the group (RFC 8032 5.1.7)."""

    raw: bytes

    @classmethod
    def parse(cls, segment: str) -> Self:
        """See `Signature`."""
        raw = b64url_decode(segment)
        if len(raw) != 64 or int.from_bytes(raw[32:], "little") >= _ED25519_ORDER:
            raise MalformedText
        return cls(raw)

    def fits(self, key: IssuerKey) -> bool:
        """See `Signature`."""
        return isinstance(key, Ed25519PublicKey)

    def verifies(self, key: IssuerKey, signing_input: bytes) -> bool:
        """See `Signature`."""
        if not isinstance(key, Ed25519PublicKey):
            return False
        try:
            key.verify(self.raw, signing_input)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _RsaSignature:
    """As many bytes as some accepted key has; whether as many as *its* key has shows when that is known."""

    raw: bytes
    name: ClassVar[str]
    padding: ClassVar[AsymmetricPadding]

    @classmethod
    def parse(cls, segment: str) -> Self:
        """See `Signature`."""
        raw = b64url_decode(segment)
        if not RSA_BITS_MIN <= 8 * len(raw) <= RSA_BITS_MAX:
            raise MalformedText
        return cls(raw)

    def fits(self, key: IssuerKey) -> bool:
        """See `Signature`."""
        return isinstance(key, RsaKey) and self.name in key.algorithms

    def verifies(self, key: IssuerKey, signing_input: bytes) -> bool:
        """See `Signature`."""
        if not isinstance(key, RsaKey) or self.name not in key.algorithms:
            return False
        try:
            key.key.verify(self.raw, signing_input, self.padding, _SHA256)
        except InvalidSignature:
            return False
        return True


class Rs256Signature(_RsaSignature):
    """RSASSA-PKCS1-v1_5 with SHA-256."""

    __slots__ = ()
    name = "RS256"
    padding = PKCS1v15()


class Ps256Signature(_RsaSignature):
    """RSASSA-PSS with SHA-256 in both places and a salt of exactly 32 bytes (RFC 7518 3.5)."""

    __slots__ = ()
    name = "PS256"
    padding = PSS(MGF1(SHA256()), salt_length=32)


ALGORITHMS: Final[Mapping[str, type[Signature]]] = MappingProxyType(
    {
        "ES256": Es256Signature,
        "ES384": Es384Signature,
        "RS256": Rs256Signature,
        "PS256": Ps256Signature,
        "EdDSA": EdDsaSignature,
    }
)
"""What an issuer may be configured for, by the name that `alg` has."""
