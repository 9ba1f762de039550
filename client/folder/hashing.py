"""The content of a file of any size, read once, a chunk at a time."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import FileIO
from typing import Final, Protocol

from less_sync.client.folder.blocking import check_stop
from less_sync.client.folder.stream import CHUNK_BYTES
from less_sync.client.folder.transfers import CHUNK_DIGEST_BYTES
from less_sync.client.folder.walk import ChangedMeanwhile, FileStat

START_BYTES: Final = 64 * 1024
"""Of a large file, what is looked at for secrets of this program: they are small files."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a file is at one moment: SHA-256 of the whole, a digest of each chunk, and how it begins."""

    stat: FileStat
    digest: bytes = field(repr=False)
    chunks: bytes = field(default=b"", repr=False)
    start: bytes = field(default=b"", repr=False)


class Readable(Protocol):
    """A folder whose files can be read: see `FileTree.reading`."""

    def reading(self, path: str) -> AbstractContextManager[tuple[FileStat, FileIO]]:
        """The file, open, and its stat."""


def hash_file(tree: Readable, path: str, *, by_chunk: bool = False) -> Hashed:
    """Read a file. With `by_chunk`, each chunk has a digest of its own beside that of the whole.

    Raises:
        ChangedMeanwhile: it is gone, or was written to while it was read.
        Obstacle: it cannot be read, or is no regular file.
        Stopped: the command is being stopped.
    """
    whole, chunks, start = hashlib.sha256(), bytearray(), b""
    buffer = bytearray(CHUNK_BYTES)
    with tree.reading(path) as (stat, file):
        rest = stat.size
        while rest:
            check_stop()
            piece = memoryview(buffer)[: min(rest, CHUNK_BYTES)]
            if read_into(file, piece) != len(piece):
                raise ChangedMeanwhile
            whole.update(piece)
            if by_chunk:
                chunks += chunk_digest(piece)
                start = start or bytes(piece[:START_BYTES])
            rest -= len(piece)
    return Hashed(stat, whole.digest(), bytes(chunks), start)


def chunk_digest(chunk: bytes | bytearray | memoryview) -> bytes:
    """By which a chunk is known again."""
    return hashlib.sha256(chunk).digest()[:CHUNK_DIGEST_BYTES]


def read_into(file: FileIO, buffer: memoryview) -> int:
    """Fill a buffer as far as the file goes, and return how far."""
    filled = 0
    while filled < len(buffer):
        count = file.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled
