"""ES256 signatures as JWS carries them: 64 bytes, r and s of 32 bytes each (RFC 7518 3.4)."""

from dataclasses import dataclass
from typing import Final, TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from less_sync.auth.encoding import b64url_decode, b64url_encode
from less_sync.auth.errors import MalformedText
from less_sync.auth.issuer_keys import IssuerKey

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of the group; r and s are 1 to n-1."""

_ECDSA_SHA256: Final = ECDSA(SHA256())


@dataclass(frozen=True, slots=True)
class Es256Signature:
    """One signature, both numbers in range. High `s` is fine: half of all honest signatures have it."""

    r: int
    s: int

    @classmethod
    def parse(cls, segment: str) -> "Es256Signature":
        """Read the third segment of a JWS.

        Raises:
            MalformedText: not base64url of exactly 64 bytes (DER is not), or a number out of range.
        """
        raw = b64url_decode(segment)
        if len(raw) != 64:
            raise MalformedText
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        if not (0 < r < P256_ORDER and 0 < s < P256_ORDER):
            raise MalformedText
        return cls(r, s)

    def fits(self, key: IssuerKey) -> bool:
        """Whether the key is one of this algorithm."""
        return _is_p256(key)

    def verifies(self, key: IssuerKey, signing_input: bytes) -> bool:
        """Whether `key` fits and made this signature over the first two segments and the dot between them."""
        if not _is_p256(key):
            return False
        try:
            key.verify(encode_dss_signature(self.r, self.s), signing_input, _ECDSA_SHA256)
        except InvalidSignature:
            return False
        return True

    def twin_segment(self) -> str:
        """The other text that verifies whenever this one does: s replaced by n - s (docs/tokens.md 7.5)."""
        return b64url_encode(self.r.to_bytes(32, "big") + (P256_ORDER - self.s).to_bytes(32, "big"))


def sign_es256(key: EllipticCurvePrivateKey, signing_input: str) -> str:
    """The third segment of a JWS, over its first two and the dot between them: what clients need."""
    r, s = decode_dss_signature(key.sign(signing_input.encode("ascii"), _ECDSA_SHA256))
    return b64url_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _is_p256(key: IssuerKey) -> TypeGuard[EllipticCurvePublicKey]:
    return isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1"
