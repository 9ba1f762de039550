"""Writes the live files of the volumes in a directory into a tar (docs/volume.md 8)."""

import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import IO, Final

from less_sync.volume.engine.errors import DamagedRecord, VolumeNotLoaded
from less_sync.volume.engine.expiry import is_expired
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.offline import PAUSE_S, Advance, OfflineVolume, bases_in, look_at
from less_sync.volume.engine.walk import WINDOW_BYTES, read_up_to
from less_sync.volume.format.fid import needle_text
from less_sync.volume.format.needle import GZIP, Needle, record_length
from less_sync.volume.format.rows import Row

NAME_BYTES_MAX: Final = 200
UNPACKED_BYTES_MAX: Final = 4 << 30
"""What unpacks to more is exported as it is stored."""
_BAD_CHARACTERS: Final = frozenset('/\\:*?"<>|\x7f')
_SECOND_NS: Final = 1_000_000_000
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


@dataclass(slots=True)
class Exported:
    """What became of the files of a directory."""

    files: int = 0
    content_bytes: int = 0
    damaged: int = 0
    """Left out."""
    expired: int = 0
    """Left out."""
    skipped_volumes: int = 0
    """That could not be opened."""


def export_directory(
    files: Files,
    directory: Path,
    target: IO[bytes],
    index_directory: Path | None = None,
    *,
    now_ns: int,
    configured_width: int = 4,
    advance: Advance = lambda amount: None,
    tell: Callable[[str], None] = lambda text: None,
    pause_s: float = PAUSE_S,
) -> Exported:
    """Write a tar: a folder for each volume, a file for each live needle.

    A file is named as it was uploaded, made safe; without a name, by its id, and so is the second one of a
    name, with the name behind it. Files that are stored packed are unpacked. What needs a repair first is
    exported as it would be after it; nothing is changed.

    Args:
        target: written from front to back, never read or sought.
        advance: told how many more bytes of the data files are done.
        tell: told, in words, of everything that is left out.

    Raises:
        OSError: the directory cannot be read, or the target takes no more.
    """
    index_directory = index_directory or directory
    exported = Exported()
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for base in bases_in(directory)[0]:
            try:
                volume = look_at(
                    files,
                    directory,
                    index_directory,
                    base,
                    configured_width=configured_width,
                    pause_s=pause_s,
                )
                data = files.open(volume.paths.data, os.O_RDONLY)
            except (VolumeNotLoaded, OSError) as error:
                exported.skipped_volumes += 1
                tell(f"{base}: left out: {error}")
                continue
            try:
                _Export(files, volume, data, tar, exported, tell).run(now_ns, advance)
            finally:
                files.close(data)
    return exported


class _Export:
    """Of one volume."""

    def __init__(
        self,
        files: Files,
        volume: OfflineVolume,
        data: int,
        tar: tarfile.TarFile,
        exported: Exported,
        tell: Callable[[str], None],
    ) -> None:
        self._files: Final = files
        self._volume: Final = volume
        self._data: Final = data
        self._records: Final = volume.records(files, data)
        self._tar: Final = tar
        self._exported: Final = exported
        self._tell: Final = tell
        self._names: Final[set[str]] = set()

    def run(self, now_ns: int, advance: Advance) -> None:
        """Write all live files of it."""
        for row in self._volume.live_by_offset(self._files):
            try:
                offset = self._records.locate(row)
                needle = self._records.verified(row, offset)
            except (DamagedRecord, OSError) as error:
                self._exported.damaged += 1
                self._tell(f"{self._volume.base}: needle {row.id:x} left out: {error}")
            else:
                if is_expired(needle, now_ns):
                    self._exported.expired += 1
                else:
                    self._add(row, offset, needle)
            advance(record_length(row.size, self._volume.superblock.version))

    def _add(self, row: Row, offset: int, needle: Needle) -> None:
        start, length = self._records.data_place(row, offset)
        stored = _Stored(self._files, self._data, start, length)
        packed = bool(needle.flags & GZIP)
        unpacked = _unpacked_bytes(stored) if packed else length
        source = _Raw(stored.pieces() if not packed or unpacked is None else _unpack(stored))
        name = self._name(row, needle)
        if unpacked is None:
            name, unpacked = f"{name}.gz", length
        entry = tarfile.TarInfo(f"{self._volume.base}/{name}")
        entry.size = unpacked
        entry.mtime = needle.last_modified or needle.append_at_ns // _SECOND_NS
        self._tar.addfile(entry, source)
        self._exported.files += 1
        self._exported.content_bytes += unpacked

    def _name(self, row: Row, needle: Needle) -> str:
        fid = f"{self._volume.id},{needle_text(row.id, needle.cookie)}"
        name = safe_name(needle.name)
        if not name:
            name = fid
        elif name.casefold() in self._names:
            name = f"{fid}_{name}"
        self._names.add(name.casefold())
        return name


def safe_name(name: bytes) -> str:
    """A name that stays in its folder on every system; empty if nothing is left of it."""
    text = "".join(
        "_" if character in _BAD_CHARACTERS or ord(character) < 32 else character
        for character in name.decode(errors="replace")
    ).strip(" .")
    while len(text.encode()) > NAME_BYTES_MAX:
        stem, dot, extension = text.rpartition(".")
        text = stem[:-1] + dot + extension if stem and len(extension) < 16 else text[:-1]
    return text


class _Stored:
    """Bytes of a data file."""

    def __init__(self, files: Files, fd: int, start: int, length: int) -> None:
        self._files: Final = files
        self._fd: Final = fd
        self._start: Final = start
        self._length: Final = length

    def pieces(self) -> Iterator[bytes]:
        """All of them; ends early if the file does."""
        for at in range(0, self._length, WINDOW_BYTES):
            wanted = min(WINDOW_BYTES, self._length - at)
            yield read_up_to(self._files, self._fd, wanted, self._start + at)


def _unpack(stored: _Stored) -> Iterator[bytes]:
    """The content of gzip, members one behind the other, in pieces of bounded size.

    Raises:
        zlib.error: it is no gzip.
    """
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    for piece in stored.pieces():
        rest = piece
        while rest:
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            yield unpacker.decompress(rest, WINDOW_BYTES)
            rest = unpacker.unconsumed_tail or unpacker.unused_data
    yield unpacker.flush()
    if not unpacker.eof:
        raise zlib.error("it ends too early")


def _unpacked_bytes(stored: _Stored) -> int | None:
    """How much it unpacks to; None if it does not, or to too much."""
    found = 0
    try:
        for piece in _unpack(stored):
            found += len(piece)
            if found > UNPACKED_BYTES_MAX:
                return None
    except zlib.error:
        return None
    return found


class _Raw(RawIOBase):
    """Pieces as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces: Final = pieces
        self._rest = BytesIO()

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all of them where there are as many."""
        found = self._rest.read(size)
        parts = [found]
        missing = size - len(found)
        while missing > 0:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece[:missing])
            if len(piece) > missing:
                self._rest = BytesIO(piece[missing:])
            missing -= len(parts[-1])
        return b"".join(parts)
