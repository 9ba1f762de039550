"""`did:key` of P-256 public keys, the only kind that issues UCANs here (docs/tokens.md 5).

did:key:z base58btc( 80 24 | compressed point 33 )     80 24: multicodec 0x1200 as a varint
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth.errors import (
    Base58Decode,
    InputTooLong,
    InvalidPoint,
    InvalidVarint,
    MissingPrefix,
    WrongMulticodec,
    WrongPointLength,
)

DID_CHARS_MAX: Final = 256
"""Of the base58 part: decoding it takes time in the square of its length."""

_PREFIX: Final = "did:key:z"
_P256_PREFIX: Final = b"\x80\x24"
_POINT_BYTES: Final = 33
_VARINT_BYTES_MAX: Final = 10

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {character: digit for digit, character in enumerate(_ALPHABET)}
_CURVE: Final = SECP256R1()


@dataclass(frozen=True, slots=True)
class DidKey:
    """A decoded `did:key`."""

    key: EllipticCurvePublicKey = field(repr=False)
    compressed: bytes = field(repr=False)
    """33 bytes: 02 or 03 for an even or odd y, then x."""


# Decompressing the point is most of the cost, and a few people sign most tokens.
@lru_cache(maxsize=4096)
def decode_did_key(did: str) -> DidKey:
    """Decode a `did:key`; the checks are made in the order of docs/tokens.md 5.

    Raises:
        MissingPrefix: not `did:key:z` and something after it.
        InputTooLong: more than `DID_CHARS_MAX` bytes after it.
        Base58Decode: a character outside the alphabet.
        InvalidVarint: the multicodec does not end within 10 bytes, or is not minimal.
        WrongMulticodec: another kind of key.
        WrongPointLength: not 33 bytes.
        InvalidPoint: not the compressed form of a point of the curve.
    """
    if not did.startswith(_PREFIX) or len(did) == len(_PREFIX):
        raise MissingPrefix
    encoded = did[len(_PREFIX) :]
    length = len(encoded.encode("utf-8", "surrogatepass"))
    if length > DID_CHARS_MAX:
        raise InputTooLong(length)
    compressed = _point_bytes(_base58_decode(encoded))
    # 05 would be a compact form that no client writes: one key, one DID.
    if compressed[0] not in (2, 3):
        raise InvalidPoint
    try:
        key = EllipticCurvePublicKey.from_encoded_point(_CURVE, compressed)
    except ValueError:
        raise InvalidPoint from None
    return DidKey(key, compressed)


def encode_did_key(key: EllipticCurvePublicKey) -> str:
    """The `did:key` of a P-256 public key."""
    assert isinstance(key.curve, SECP256R1), "only P-256 keys have a DID here"
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return _PREFIX + _base58_encode(_P256_PREFIX + compressed)


def _point_bytes(decoded: bytes) -> bytes:
    if decoded.startswith(_P256_PREFIX):
        point = decoded[len(_P256_PREFIX) :]
        if len(point) != _POINT_BYTES:
            raise WrongPointLength(len(point))
        return point
    raise WrongMulticodec(_read_foreign_varint(decoded))


def _read_foreign_varint(data: bytes) -> int:
    """Read the multicodec of something else than a P-256 key, for the error."""
    value = 0
    for position, byte in enumerate(data[:_VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if byte == 0 and position:
                raise InvalidVarint("too long")
            return value
    raise InvalidVarint("too long" if len(data) >= _VARINT_BYTES_MAX else "truncated")


def _base58_decode(text: str) -> bytes:
    number = 0
    try:
        for character in text:
            number = number * 58 + _DIGITS[character]
    except KeyError:
        raise Base58Decode from None
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base58_encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    characters = []
    while number:
        number, digit = divmod(number, 58)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))
