"""A usual read: one look-up, one read of the whole record, one checksum (see `usual`)."""

from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.format.checksums import Bytes, crc32c, cut
from less_sync.volume.format.needle import (
    CHECKSUM_BYTES,
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HEAD,
    HEAD_BYTES,
    HEADER_BYTES,
)
from less_sync.volume.http.entity import usual_lines

if TYPE_CHECKING:
    from less_sync.volume.http.limits import InFlight
    from less_sync.volume.http.mime import Types
    from less_sync.volume.services import Services

_USUAL_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED
_LAST_MODIFIED_BYTES: Final = 5


class UsualReads:
    """Finds short files that lie here, whole and without anything special about them."""

    def __init__(self, services: "Services", downloads: "InFlight", types: "Types") -> None:
        self._volume: Final = services.store.volume
        self._wants_token: Final = services.security.wants_token
        self._downloads: Final = downloads
        self._types: Final = types

    def find(self, volume_id: int, key: int, cookie: int) -> tuple[str, Bytes, int] | None:
        """Header lines, data, and the size of the record's body; None: the general way has to answer."""
        volume = self._volume(volume_id)
        if volume is None or volume.is_closed or volume.version == 1:
            return None
        if self._downloads.is_over or self._wants_token(False):
            return None
        entry = volume.needles.get(key)
        if entry is None or not entry[0] or not 0 < entry[1] <= LARGE_BYTES:
            return None
        size = entry[1]
        try:
            record = volume.read_blob(*entry)
            if len(record) < HEAD_BYTES:
                return None
            found = HEAD.unpack_from(record)
            if found[:3] != (cookie, key, size):
                return None
            read = _described(record, found[3], HEADER_BYTES + size, self._types)
        except (OSError, IndexError):  # the disk, or a damaged length that leads behind the record
            return None
        return (*read, size) if read is not None else None


def _described(record: bytes, data_bytes: int, end: int, types: "Types") -> tuple[str, Bytes] | None:
    """Header lines and data of a record whose body ends at `end`, unless there is anything unusual about it.

    Raises:
        IndexError: a length leads behind the record.
    """
    data_end = HEAD_BYTES + data_bytes
    if not HEAD_BYTES < data_end < end <= len(record) - CHECKSUM_BYTES:
        return None
    data = cut(record, HEAD_BYTES, data_end)
    checksum = crc32c(data)
    flags = record[data_end]
    if flags & ~_USUAL_FLAGS or int.from_bytes(record[end : end + CHECKSUM_BYTES], "big") != checksum:
        return None
    at = data_end + 1
    name = mime = b""
    modified = 0
    if flags & HAS_NAME:
        at, name_at = at + 1 + record[at], at + 1
        name = record[name_at:at]
    if flags & HAS_MIME:
        at, mime_at = at + 1 + record[at], at + 1
        mime = record[mime_at:at]
    if flags & HAS_LAST_MODIFIED:
        at, time_at = at + _LAST_MODIFIED_BYTES, at
        modified = int.from_bytes(record[time_at:at], "big")
    if at != end:
        return None
    lines = usual_lines(name, mime, modified, checksum, data, types)
    return (lines, data) if lines else None
