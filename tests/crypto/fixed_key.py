"""A P-256 key that signs the same thing with the same signature (RFC 6979), for test vectors."""

import hashlib
from typing import Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class FixedKey(ec.EllipticCurvePrivateKey):
    """A key that takes the place of the library's wherever one is asked for."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def of(cls, label: str) -> Self:
        """The key of a label, which is no secret."""
        seed = int.from_bytes(hashlib.shake_256(b"less-sync vector key " + label.encode()).digest(40), "big")
        return cls(ec.derive_private_key(1 + seed % (ORDER - 1), ec.SECP256R1()))

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # type: ignore[override]
        """Sign deterministically, whatever is asked for."""
        assert isinstance(signature_algorithm.algorithm, SHA256)
        return self._key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """The shared secret with another key."""
        return self._key.exchange(algorithm, peer_public_key)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half."""
        return self._key.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._key.curve

    @property
    def key_size(self) -> int:
        """256 bits."""
        return self._key.key_size

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Its numbers."""
        return self._key.private_numbers()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        """As a file has it."""
        return self._key.private_bytes(encoding, format, encryption_algorithm)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self
