"""Reads a data file record by record, with its checksums, in memory that does not grow with the records."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from less_sync.volume.engine.files import Files
from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.needle import (
    DATA_LENGTH_BYTES,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    TIMESTAMP_BYTES,
    trailer_bytes,
)
from less_sync.volume.format.rows import ALIGNMENT

WINDOW_BYTES: Final = 1 << 20
"""How much of a file is in memory at once."""
_U32: Final = struct.Struct(">I")


class WalkedRecord(NamedTuple):
    """A whole record whose checksum is right. `offset` and `end` in bytes; the padding may be missing."""

    offset: int
    end: int
    cookie: int
    id: int
    size: int


class Window:
    """Random access to an open file through a piece of it that is kept in memory."""

    def __init__(self, files: Files, fd: int) -> None:
        self._files: Final = files
        self._fd: Final = fd
        self._start = 0
        self._piece = b""

    def view(self, offset: int, length: int) -> memoryview:
        """`length` bytes, at most `WINDOW_BYTES`; fewer only at the end of the file."""
        at = offset - self._start
        if at < 0 or at + length > len(self._piece):
            self._piece = read_up_to(self._files, self._fd, max(length, WINDOW_BYTES), offset)
            self._start, at = offset, 0
        return memoryview(self._piece)[at : at + length]

    def checksum(self, offset: int, length: int) -> int:
        """CRC-32C of bytes of any number."""
        found = 0
        while length > 0:
            piece = self.view(offset, min(length, WINDOW_BYTES))
            if not len(piece):
                break
            found = crc32c(piece, found)
            offset += len(piece)
            length -= len(piece)
        return found


def walk(files: Files, fd: int, version: int, start: int, end: int) -> Iterator[WalkedRecord]:
    """The intact records that lie between `start` and `end` without a gap; ends before the first other one.

    A record is intact when its header is not all zero, it fits but for its padding, the checksum of its data
    is right, and, in version 3, its append time is not 0.

    Raises:
        OSError: the disk failed.
    """
    window, end = Window(files, fd), min(end, files.size(fd))
    trailer_length = trailer_bytes(version)
    while start + HEADER_BYTES <= end:
        cookie, id_, size = HEADER.unpack(window.view(start, HEADER_BYTES))
        length = HEADER_BYTES + size + trailer_length
        if size < 0 or not (id_ or cookie or size) or start + length > end:
            return
        if not _intact(window, start, size, version):
            return
        next_start = start + length + ALIGNMENT - length % ALIGNMENT
        yield WalkedRecord(start, next_start, cookie, id_, size)
        start = next_start


def _intact(window: Window, start: int, size: int, version: int) -> bool:
    """Whether checksum and append time of a record that fits into the file are right."""
    body_end = HEADER_BYTES + size
    length = body_end + trailer_bytes(version)
    fits = length <= WINDOW_BYTES
    record = window.view(start, length if fits else HEAD_BYTES)
    data, data_end = HEADER_BYTES, body_end
    if version != 1 and size < DATA_LENGTH_BYTES:
        data_end = data  # Too short for a length: there is no data, and nothing is known of its checksum.
    elif version != 1:
        data = HEAD_BYTES
        data_end = data + _U32.unpack_from(record, HEADER_BYTES)[0]
        if data_end > body_end:
            return False
    if fits:
        computed, trailer = crc32c(record[data:data_end]), record[body_end:]
    else:
        computed = window.checksum(start + data, data_end - data)
        trailer = window.view(start + body_end, length - body_end)
    (stored,) = _U32.unpack_from(trailer)
    if data_end > data and stored != computed and stored != masked(computed):
        return False
    return version != 3 or any(trailer[-TIMESTAMP_BYTES:])


def read_up_to(files: Files, fd: int, length: int, offset: int) -> bytes:
    """`length` bytes, fewer only at the end of the file."""
    found = files.pread(fd, length, offset)
    if not found or len(found) == length:
        return found
    return found + read_up_to(files, fd, length - len(found), offset + len(found))
