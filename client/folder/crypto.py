"""One file as one encrypted record: what the server stores and what it can never read.

From the key file's 32 bytes, HKDF-SHA256 (RFC 5869, no salt) derives a key for record ids (info
`less-sync/folder/v1/record-id`) and, per epoch, a key-encryption key (info `less-sync/folder/v1/kek`, NUL and
the epoch, 4 bytes big-endian). A record is

    id     the first 16 bytes of HMAC-SHA256(record-id key, space id NUL path), as a UUID
    blob   04 | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id NUL record id
    dek    epoch u32 big-endian | AES-KW (RFC 3394) of the record's own 32-byte key: 44 bytes

and the plaintext is the CBOR map {v: 2, kind, version, path, mtime_ns, content}, or that of earlier releases,
{v: 1, path, mtime_ns, content}. Ids and spaces are lower-case hyphenated text, paths UTF-8 in NFC with `/`
between the names. What each part protects against is told in docs/folder-format.md.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from less_sync.client.folder.keyfile import FolderKey

ENVELOPE_VERSION: Final = 4
PLAINTEXT_VERSION: Final = 2
VERSION_MAX: Final = 2**53 - 1
"""Largest version of a record: what every language's numbers hold."""
DEK_BYTES: Final = 44
BLOB_BYTES_MAX: Final = 4 * 1024 * 1024 - 8 * 1024
"""Largest blob: a frame of 4 MiB less room for the frame around it, on the way in and on the way out."""
_IV_BYTES: Final = 12
_TAG_BYTES: Final = 16
_ENVELOPE_BYTES: Final = 1 + _IV_BYTES + _TAG_BYTES
_MAP_BYTES: Final = 96
_EPOCH = struct.Struct(">I")
_INFO: Final = b"less-sync/folder/v1/"
_MTIME_NS_MAX: Final = 2**62


class Undecryptable(Exception):
    """The record was made with another key, altered, or moved from another id or space."""


class ForeignRecord(Exception):
    """The record decrypts but is no file of a folder: of a later version, or not the shape this one has."""


class OtherKind(ForeignRecord):
    """The record is of this format and of a kind that this release does not know: it is to be left alone."""


class FileKind(StrEnum):
    """What a record says about its path: here is a file, or there was one."""

    FILE = "file"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class PlainFile:
    """What a record says once decrypted. The path is as its author wrote it: not to be trusted yet.

    Of a deletion, `mtime_ns` is when it was made, and there is no content.
    """

    path: str
    mtime_ns: int
    content: bytes = field(repr=False)
    kind: FileKind = FileKind.FILE
    version: int = 1
    """Raised by everyone who writes the record; 0 in a record of format 1, which has none."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What the server gets: the envelope and the wrapped key."""

    blob: bytes = field(repr=False)
    dek: bytes = field(repr=False)


def content_bytes_max(path: str) -> int:
    """How many bytes a file of this path may have so that its record fits into one frame."""
    return BLOB_BYTES_MAX - _ENVELOPE_BYTES - _MAP_BYTES - len(path.encode("utf-8"))


class RecordCipher:
    """Seals and opens the records of one space with one key file."""

    def __init__(self, key: FolderKey, space: UUID) -> None:
        self._key = key
        self._space = str(space).encode("ascii")
        self._id_key = self._derive(b"record-id", key)
        self._keks: dict[int, bytes] = {}

    def record_id(self, path: str) -> UUID:
        """The id under which every device with this key keeps `path`. Without the key it tells nothing."""
        mac = hmac.new(self._id_key, self._space + b"\x00" + path.encode("utf-8"), hashlib.sha256)
        return UUID(bytes=mac.digest()[:16])

    def seal(self, record: UUID, file: PlainFile, *, epoch: int) -> SealedFile:
        """Encrypt a file, or that it was deleted, under a fresh key, wrapped for `epoch` (1 to 2^31-1)."""
        plaintext = cbor2.dumps(
            {
                "v": PLAINTEXT_VERSION,
                "kind": str(file.kind),
                "version": file.version,
                "path": file.path,
                "mtime_ns": file.mtime_ns,
                "content": file.content,
            }
        )
        dek, iv = os.urandom(32), os.urandom(_IV_BYTES)
        ciphertext = AESGCM(dek).encrypt(iv, plaintext, self._associated(record))
        return SealedFile(
            blob=bytes((ENVELOPE_VERSION,)) + iv + ciphertext,
            dek=_EPOCH.pack(epoch) + aes_key_wrap(self._kek(epoch), dek),
        )

    def open(self, record: UUID, sealed: SealedFile) -> PlainFile:
        """Decrypt a record.

        Raises:
            Undecryptable: wrong key, wrong place, altered or no envelope of this version.
            ForeignRecord: authentic, but not a file; OtherKind where this format allows it.
        """
        blob = sealed.blob
        if len(blob) < _ENVELOPE_BYTES or blob[0] != ENVELOPE_VERSION or len(sealed.dek) != DEK_BYTES:
            raise Undecryptable
        (epoch,) = _EPOCH.unpack_from(sealed.dek)
        try:
            dek = aes_key_unwrap(self._kek(epoch), sealed.dek[_EPOCH.size :])
            iv, ciphertext = blob[1 : 1 + _IV_BYTES], blob[1 + _IV_BYTES :]
            plaintext = AESGCM(dek).decrypt(iv, ciphertext, self._associated(record))
        except (InvalidUnwrap, InvalidTag) as error:
            raise Undecryptable from error
        return _read_plaintext(plaintext)

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

    def __init__(self, keys: Mapping[int, FolderKey], space: UUID) -> None:
        super().__init__(keys[min(keys)], space)
        self._by_epoch = dict(keys)

    def learn(self, keys: Mapping[int, FolderKey]) -> None:
        """Add keys of further epochs."""
        self._by_epoch = {**keys, **self._by_epoch}

    def knows(self, epoch: int) -> bool:
        """Whether records of this epoch can be sealed and opened."""
        return epoch in self._by_epoch

    def unwrap(self, dek: bytes) -> bytes:
        """The record key in a wrapped DEK.

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
        """Wrap a record key for an epoch.

        Raises:
            Undecryptable: the key of the epoch is not known.
        """
        return _EPOCH.pack(epoch) + aes_key_wrap(self._kek(epoch), dek)

    def _key_of(self, epoch: int) -> FolderKey:
        key = self._by_epoch.get(epoch)
        if key is None:
            raise Undecryptable
        return key


def _read_plaintext(plaintext: bytes) -> PlainFile:
    """Only this key's owners can write it, yet a later version may have: trust no shape."""
    try:
        value: Any = cbor2.loads(plaintext, max_depth=4, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
        raise ForeignRecord from error
    if not isinstance(value, dict):
        raise ForeignRecord
    kind, version = _kind_and_version(value)
    path, mtime_ns, content = value.get("path"), value.get("mtime_ns"), value.get("content")
    if not isinstance(path, str) or not isinstance(content, bytes):
        raise ForeignRecord
    if type(mtime_ns) is not int or not -_MTIME_NS_MAX <= mtime_ns <= _MTIME_NS_MAX:
        raise ForeignRecord
    if content and kind is FileKind.DELETED:
        raise ForeignRecord
    return PlainFile(path, mtime_ns, content, kind, version)


def _kind_and_version(value: dict[Any, Any]) -> tuple[FileKind, int]:
    number, kind, version = value.get("v"), value.get("kind"), value.get("version")
    if type(number) is not int or number not in (1, PLAINTEXT_VERSION):
        raise ForeignRecord
    if number == 1:
        return FileKind.FILE, 0
    if not isinstance(kind, str):
        raise ForeignRecord
    if kind not in set(FileKind):
        raise OtherKind
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise ForeignRecord
    return FileKind(kind), version
