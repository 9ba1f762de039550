"""One file as one encrypted record: what the server stores and what it can never read.

From the key file's 32 bytes, HKDF-SHA256 (RFC 5869, no salt) derives a key for record ids (info
`less-sync/folder/v1/record-id`) and, per epoch, a key-encryption key (info `less-sync/folder/v1/kek`, NUL and
the epoch, 4 bytes big-endian). A record is

    id     the first 16 bytes of HMAC-SHA256(record-id key, space id NUL path), as a UUID
    blob   04 | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id NUL record id
    dek    epoch u32 big-endian | AES-KW (RFC 3394) of the record's own 32-byte key: 44 bytes

and the plaintext is one of the maps of `plaintext.py`; a content record has a random id. Ids and spaces are
lower-case hyphenated text. What each part protects against is told in docs/folder-format.md.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.plaintext import (
    OtherKind,
    PlainContent,
    PlainFile,
    decode,
    encode_content,
    encode_file,
)

ENVELOPE_VERSION: Final = 4
DEK_BYTES: Final = 44
BLOB_BYTES_MAX: Final = 4 * 1024 * 1024 - 8 * 1024
"""Largest blob: a frame of 4 MiB less room for the frame around it, on the way in and on the way out."""
_IV_BYTES: Final = 12
_TAG_BYTES: Final = 16
_ENVELOPE_BYTES: Final = 1 + _IV_BYTES + _TAG_BYTES
_MAP_BYTES: Final = 96
_EPOCH = struct.Struct(">I")
_INFO: Final = b"less-sync/folder/v1/"
_DEK_PLAIN_BYTES: Final = 32

Random = Callable[[int], bytes]
"""Gives so many bytes that nobody can guess."""


class Undecryptable(Exception):
    """The record was made with another key, altered, or moved from another id or space."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What the server gets: the envelope and the wrapped key."""

    blob: bytes = field(repr=False)
    dek: bytes = field(repr=False)


def content_bytes_max(path: str) -> int:
    """How many bytes a file of this path may have so that its record fits into one frame."""
    return BLOB_BYTES_MAX - _ENVELOPE_BYTES - _MAP_BYTES - len(path.encode("utf-8"))


class RecordCipher:
    """Seals and opens the records of one space with one key file.

    Args:
        random: where keys and IVs come from; another one than the system's is for test vectors alone.
    """

    def __init__(self, key: FolderKey, space: UUID, *, random: Random = os.urandom) -> None:
        self._key = key
        self._random = random
        self._space = str(space).encode("ascii")
        self._id_key = self._derive(b"record-id", key)
        self._keks: dict[int, bytes] = {}

    def record_id(self, path: str) -> UUID:
        """The id under which every device with this key keeps `path`. Without the key it tells nothing."""
        mac = hmac.new(self._id_key, self._space + b"\x00" + path.encode("utf-8"), hashlib.sha256)
        return UUID(bytes=mac.digest()[:16])

    def seal(self, record: UUID, file: PlainFile, *, epoch: int) -> SealedFile:
        """Encrypt a file, or that it was deleted, under a fresh key, wrapped for `epoch` (1 to 2^31-1)."""
        return self.seal_plain(record, encode_file(file), epoch)

    def seal_content(self, record: UUID, content: PlainContent, *, epoch: int) -> SealedFile:
        """Encrypt a content record likewise."""
        return self.seal_plain(record, encode_content(content), epoch)

    def seal_plain(self, record: UUID, plaintext: bytes, epoch: int) -> SealedFile:
        """Encrypt a plaintext of `plaintext.py` likewise."""
        dek, iv = self._random(_DEK_PLAIN_BYTES), self._random(_IV_BYTES)
        ciphertext = AESGCM(dek).encrypt(iv, plaintext, self._associated(record))
        return SealedFile(bytes((ENVELOPE_VERSION,)) + iv + ciphertext, self.wrap(dek, epoch=epoch))

    def open(self, record: UUID, sealed: SealedFile) -> PlainFile:
        """Decrypt the record of a path.

        Raises:
            Undecryptable, ForeignRecord: as `read`; OtherKind for a content record too.
        """
        found = self.read(record, sealed)
        if isinstance(found, PlainContent):
            raise OtherKind
        return found

    def read(self, record: UUID, sealed: SealedFile) -> PlainFile | PlainContent:
        """Decrypt a record.

        Raises:
            Undecryptable: wrong key, wrong place, altered or no envelope of this version.
            ForeignRecord: authentic, but not of a folder; OtherKind where this format allows it.
        """
        blob = sealed.blob
        if len(blob) < _ENVELOPE_BYTES or blob[0] != ENVELOPE_VERSION:
            raise Undecryptable
        iv, ciphertext = blob[1 : 1 + _IV_BYTES], blob[1 + _IV_BYTES :]
        try:
            plaintext = AESGCM(self.unwrap(sealed.dek)).decrypt(iv, ciphertext, self._associated(record))
        except InvalidTag as error:
            raise Undecryptable from error
        return decode(plaintext)

    def unwrap(self, dek: bytes) -> bytes:
        """The key of a record or part in a wrapped DEK.

        Raises:
            Undecryptable: wrapped with another key, or no wrapped DEK.
        """
        if len(dek) != DEK_BYTES:
            raise Undecryptable
        (epoch,) = _EPOCH.unpack_from(dek)
        try:
            return aes_key_unwrap(self._kek(epoch), dek[_EPOCH.size :])
        except InvalidUnwrap as error:
            raise Undecryptable from error

    def wrap(self, dek: bytes, *, epoch: int) -> bytes:
        """Wrap the key of a record or part for an epoch.

        Raises:
            Undecryptable: the key of the epoch is not known.
        """
        return _EPOCH.pack(epoch) + aes_key_wrap(self._kek(epoch), dek)

    def new_dek(self, *, epoch: int) -> bytes:
        """A fresh key of a part, wrapped for an epoch.

        Raises:
            Undecryptable: the key of the epoch is not known.
        """
        return self.wrap(self._random(_DEK_PLAIN_BYTES), epoch=epoch)

    def _associated(self, record: UUID) -> bytes:
        return self._space + b"\x00" + str(record).encode("ascii")

    def _kek(self, epoch: int) -> bytes:
        kek = self._keks.get(epoch)
        if kek is None:
            kek = self._derive(b"kek\x00" + _EPOCH.pack(epoch), self._key_of(epoch))
            if len(self._keks) < 64:  # a hostile server may name any epoch; remember a few
                self._keks[epoch] = kek
        return kek

    def _key_of(self, epoch: int) -> FolderKey:
        return self._key

    @staticmethod
    def _derive(purpose: bytes, key: FolderKey) -> bytes:
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO + purpose)
        return hkdf.derive(key.secret)


class SharedCipher(RecordCipher):
    """Seals and opens the records of a shared space, where each epoch has a random key of its own.

    Who is removed never gets the keys that follow. Record ids derive from the lowest epoch's key, so that a
    path keeps its id.
    """

    def __init__(self, keys: Mapping[int, FolderKey], space: UUID, *, random: Random = os.urandom) -> None:
        super().__init__(keys[min(keys)], space, random=random)
        self._by_epoch = dict(keys)

    def learn(self, keys: Mapping[int, FolderKey]) -> None:
        """Add keys of further epochs."""
        self._by_epoch = {**keys, **self._by_epoch}

    def knows(self, epoch: int) -> bool:
        """Whether records of this epoch can be sealed and opened."""
        return epoch in self._by_epoch

    def _key_of(self, epoch: int) -> FolderKey:
        key = self._by_epoch.get(epoch)
        if key is None:
            raise Undecryptable
        return key
