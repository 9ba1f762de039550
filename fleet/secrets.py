"""Secrets that must be used again are kept encrypted: webhook secrets and private signing keys.

A kept value is `0x01 ‖ 24-byte nonce ‖ XChaCha20-Poly1305 ciphertext`. What it belongs to is authenticated
with it, so that a value that was moved to another row, or another column, does not open (docs/fleet.md 9).
"""

from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)
from nacl.exceptions import CryptoError
from nacl.utils import random

_VERSION: Final = b"\x01"
_NONCE_END: Final = 1 + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES


class Unreadable(Exception):
    """A kept value opens with no key there is, or belongs to another row."""


class SecretBox:
    """Seals and opens kept values.

    Args:
        key: 32 bytes, seals.
        previous: also tried when a value is opened; None when the key was never changed.
    """

    def __init__(self, key: bytes, previous: bytes | None = None) -> None:
        self._key = key
        self._keys = (key,) if previous is None else (key, previous)

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt a value for its place, `table.column:primary key`."""
        nonce = random(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(value, place.encode(), nonce, self._key)
        return _VERSION + nonce + sealed

    def open(self, kept: bytes, place: str) -> bytes:
        """Decrypt what `seal` made for this place.

        Raises:
            Unreadable: no key opens it there.
        """
        if kept[:1] == _VERSION:
            nonce, sealed = kept[1:_NONCE_END], kept[_NONCE_END:]
            for key in self._keys:
                try:
                    return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, place.encode(), nonce, key)
                except (CryptoError, ValueError):
                    continue
        raise Unreadable(place)
