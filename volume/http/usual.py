"""The read that nearly all reads are, in one go (docs/volume.md, section 3.4).

A short file of a volume that is here, by `/vid,fid`, whole, without conditions, parameters and tokens: the
general way through `read`, `entity` and the engine takes several times as long for it. Whatever is out of the
ordinary, a fault included, is left to that way, which begins from the start and decides alone. A test holds
the answers of both against each other.
"""

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import (
    CHECKSUM_BYTES,
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    Needle,
)
from less_sync.volume.http.entity import usual_lines
from less_sync.volume.http.handlers import Begun, Handler, Immediate
from less_sync.volume.http.response import Response

if TYPE_CHECKING:
    from less_sync.volume.http.limits import InFlight
    from less_sync.volume.http.mime import Types
    from less_sync.volume.http.request import Request
    from less_sync.volume.services import Services

_USUAL_PATH: Final = re.compile(r"/([0-9]{1,9}),([0-9a-fA-F]{1,16})([0-9a-fA-F]{8})", re.ASCII)
_USUAL_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED
_UNUSUAL_FIELDS: Final = frozenset((b"range", b"if-modified-since", b"if-none-match"))
LAST_MODIFIED_BYTES: Final = 5
_COPIED_BYTES_MAX: Final = 16 << 10
"""Up to here a copy of the data costs less than a view of it."""


class UsualReads(Immediate):
    """Answers usual reads, and has `reads` answer the others."""

    def __init__(self, reads: Handler, services: "Services", downloads: "InFlight", types: "Types") -> None:
        self._reads: Final = reads
        self._volume: Final = services.store.volume
        self._wants_token: Final = services.security.wants_token
        self._downloads: Final = downloads
        self._types: Final = types

    def begin(self, request: "Request") -> Begun:
        """The answer, at once if the read is a usual one."""
        if request.query or self._downloads.is_over or self._wants_token(False):
            return self._reads.begin(request)
        return self._usual(request) or self._reads.begin(request)

    def _usual(self, request: "Request") -> Response | None:
        named = _USUAL_PATH.fullmatch(request.path)
        if named is None or not _UNUSUAL_FIELDS.isdisjoint(request.fields):
            return None
        vid, key, cookie = named.groups()
        volume = self._volume(int(vid))
        if volume is None or volume.is_closed or volume.version == 1:
            return None
        id_ = int(key, 16)
        entry = volume.needles.get(id_)
        if entry is None or not entry[0] or not 0 < entry[1] <= LARGE_BYTES:
            return None
        size = entry[1]
        try:
            record = volume.read_blob(*entry)
            if record[:HEADER_BYTES] != HEADER.pack(int(cookie, 16), id_, size):
                return None
            needle = _usual_needle(record, HEADER_BYTES + size)
        except (OSError, IndexError):  # the disk, or a damaged length that leads behind the record
            return None
        lines = usual_lines(needle, self._types) if needle is not None else ""
        if needle is None or not lines:
            return None
        self._downloads.add(size)
        response = Response(200, None, needle.data, partial(self._downloads.subtract, size))
        response.lines = lines
        return response


def _usual_needle(record: bytes, end: int) -> Needle | None:
    """The needle of a record whose body ends at `end`, unless there is anything unusual about it.

    Raises:
        IndexError: a length leads behind the record.
    """
    data_end = HEAD_BYTES + int.from_bytes(record[HEADER_BYTES:HEAD_BYTES], "big")
    checksum = int.from_bytes(record[end : end + CHECKSUM_BYTES], "big")
    if not HEAD_BYTES < data_end < end <= len(record) - CHECKSUM_BYTES:
        return None
    if data_end <= _COPIED_BYTES_MAX:
        data: bytes | memoryview = record[HEAD_BYTES:data_end]
    else:
        data = memoryview(record)[HEAD_BYTES:data_end]
    flags = record[data_end]
    if flags & ~_USUAL_FLAGS or crc32c(data) != checksum:
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
        at, time_at = at + LAST_MODIFIED_BYTES, at
        modified = int.from_bytes(record[time_at:at], "big")
    if at != end:
        return None
    return Needle(0, 0, data, flags, name, mime, modified, checksum=checksum)
