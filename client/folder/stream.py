"""One part file: a piece of a large content, encrypted in chunks that can be neither moved nor left out.

    05 | nonce 7 | chunk | chunk | ... | chunk

Each chunk is AES-256-GCM over 1 MiB of plaintext, the last one over the rest (of an empty part: over
nothing), with 16 bytes of tag. Nonce of chunk `i`: the 7 bytes, `i` as 4 bytes big-endian, and 01 for the
last chunk, else 00. This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar (2015): a part
that was cut short, whose chunks were reordered or taken from another part does not decrypt. Associated data
of every chunk: space id, NUL, id of the content record, NUL, id of the part, in lower-case hyphenated text.

No two plaintexts may ever be encrypted with one key and nonce: who seals compares the plaintext first with
what was noted of it (`uploads.py`).
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from less_sync.client.folder.crypto import Undecryptable

PART_VERSION: Final = 5
CHUNK_BYTES: Final = 1024 * 1024
"""Plaintext of every chunk but the last."""
NONCE_BYTES: Final = 7
HEADER_BYTES: Final = 1 + NONCE_BYTES

_TAG_BYTES: Final = 16
_INDEX_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class PartPlace:
    """Where a part belongs; it does not decrypt anywhere else."""

    space: UUID
    content: UUID
    part: UUID

    @property
    def associated(self) -> bytes:
        """The associated data of its chunks."""
        return f"{self.space}\x00{self.content}\x00{self.part}".encode("ascii")


def chunk_count(size_bytes: int) -> int:
    """How many chunks a part with so much plaintext has."""
    return max(1, -(-size_bytes // CHUNK_BYTES))


def sealed_size(size_bytes: int) -> int:
    """Bytes of the part file for so much plaintext."""
    return HEADER_BYTES + size_bytes + _TAG_BYTES * chunk_count(size_bytes)


def header(nonce: bytes) -> bytes:
    """The first bytes of a part file."""
    assert len(nonce) == NONCE_BYTES
    return bytes((PART_VERSION,)) + nonce


def nonce_of(start: bytes) -> bytes:
    """The nonce in the first bytes of a part file.

    Raises:
        Undecryptable: it is none of this version.
    """
    if len(start) != HEADER_BYTES or start[0] != PART_VERSION:
        raise Undecryptable
    return start[1:]


class PartCipher:
    """Seals and opens the chunks of one part with `size_bytes` of plaintext. Any thread may, in any order."""

    def __init__(self, dek: bytes, nonce: bytes, place: PartPlace, size_bytes: int) -> None:
        assert len(nonce) == NONCE_BYTES
        self._aead = AESGCM(dek)
        self._nonce = nonce
        self._associated = place.associated
        self._size_bytes = size_bytes
        self.chunks = chunk_count(size_bytes)

    def plain_size(self, index: int) -> int:
        """Bytes of plaintext of one chunk."""
        return min(CHUNK_BYTES, self._size_bytes - index * CHUNK_BYTES)

    def sealed_size(self, index: int) -> int:
        """Bytes of one sealed chunk."""
        return self.plain_size(index) + _TAG_BYTES

    def seal(self, index: int, plaintext: bytes | bytearray) -> bytes:
        """Encrypt one chunk."""
        assert len(plaintext) == self.plain_size(index)
        return self._aead.encrypt(self._nonce_at(index), plaintext, self._associated)

    def open(self, index: int, sealed: bytes) -> bytes:
        """Decrypt one chunk.

        Raises:
            Undecryptable: it is not the chunk that belongs there.
        """
        if len(sealed) != self.sealed_size(index):
            raise Undecryptable
        try:
            return self._aead.decrypt(self._nonce_at(index), sealed, self._associated)
        except InvalidTag as error:
            raise Undecryptable from error

    def _nonce_at(self, index: int) -> bytes:
        last = index == self.chunks - 1
        return self._nonce + index.to_bytes(_INDEX_BYTES, "big") + bytes((last,))
