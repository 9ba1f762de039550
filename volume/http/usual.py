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
    GZIP,
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HAS_PAIRS,
    HAS_TTL,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    MANIFEST,
)
from less_sync.volume.http.conditions import http_date
from less_sync.volume.http.disposition import content_disposition
from less_sync.volume.http.entity import stored_type
from less_sync.volume.http.handlers import Begun, Handler, Immediate
from less_sync.volume.http.paths import text
from less_sync.volume.http.response import Response
from less_sync.volume.http.sniff import SNIFFED_BYTES, sniff

if TYPE_CHECKING:
    from less_sync.volume.http.limits import InFlight
    from less_sync.volume.http.mime import Types
    from less_sync.volume.http.request import Request
    from less_sync.volume.services import Services

_USUAL_PATH: Final = re.compile(r"/([0-9]{1,9}),([0-9a-fA-F]{1,16})([0-9a-fA-F]{8})", re.ASCII)
_UNUSUAL_FLAGS: Final = GZIP | MANIFEST | HAS_PAIRS | HAS_TTL | 0x40
_UNUSUAL_FIELDS: Final = frozenset((b"range", b"if-modified-since", b"if-none-match"))
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
        except OSError:
            return None
        if record[:HEADER_BYTES] != HEADER.pack(int(cookie, 16), id_, size):
            return None
        try:
            return self._answer(record, HEADER_BYTES + size)
        except IndexError:  # a length of a damaged field leads behind the record
            return None

    def _answer(self, record: bytes, end: int) -> Response | None:
        """The answer of a record whose body ends at `end`, unless there is anything unusual about it."""
        data_end = HEAD_BYTES + int.from_bytes(record[HEADER_BYTES:HEAD_BYTES], "big")
        checksum = int.from_bytes(record[end : end + 4], "big")
        if not HEAD_BYTES < data_end < end <= len(record) - 4:
            return None
        if data_end <= _COPIED_BYTES_MAX:
            data: bytes | memoryview = record[HEAD_BYTES:data_end]
        else:
            data = memoryview(record)[HEAD_BYTES:data_end]
        flags = record[data_end]
        if flags & _UNUSUAL_FLAGS or crc32c(data) != checksum:
            return None
        at = data_end + 1
        name = mime = ""
        if flags & HAS_NAME:
            at, name_at = at + 1 + record[at], at + 1
            name = text(record[name_at:at])
        if flags & HAS_MIME:
            at, mime_at = at + 1 + record[at], at + 1
            mime = stored_type(text(record[mime_at:at]))
        lines = f'Etag: "{checksum:08x}"\r\n'
        if flags & HAS_LAST_MODIFIED:
            at, time_at = at + 5, at
            if modified := int.from_bytes(record[time_at:at], "big"):
                lines += f"Last-Modified: {http_date(modified)}\r\n"
        media_type = mime or (self._types.of_name(name) if name else "")
        if at != end or not (media_type.isascii() and media_type.isprintable()):
            return None
        if media_type:
            lines += f"Content-Type: {media_type}\r\n"
        lines += "Accept-Ranges: bytes\r\n"
        if name:
            lines += f"Content-Disposition: {content_disposition(name)}\r\n"
        if not media_type:
            lines += f"Content-Type: {sniff(data[:SNIFFED_BYTES])}\r\n"
        size = end - HEADER_BYTES
        self._downloads.add(size)
        response = Response(200, None, data, partial(self._downloads.subtract, size))
        response.lines = lines
        return response
