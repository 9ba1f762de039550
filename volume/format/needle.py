"""One stored file, and the record that holds it in a data file.

Layout of a record, big-endian (docs/volume-format.md):

    cookie u32, id u64, size i32        header; `size` is the length of the body
    body                                version 1: the data; later: the fields below, or nothing without data
    checksum u32                        CRC-32C of the data as stored
    append time u64                     version 3 only; Unix nanoseconds
    padding                             1 to 8 bytes, so that the next record begins at a multiple of 8

    body: data length u32, data, flags u8, then as the flags say: name length u8, name; MIME length u8,
          MIME type; last modified u40 (Unix seconds); TTL u16; pairs length u16, pairs (JSON)

A deletion and an upload of no bytes look the same here: a record whose size is 0. Only the index tells.
"""

import struct
from dataclasses import dataclass
from typing import Final

from less_sync.volume.format.checksums import Bytes, crc32c, masked
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.rows import ALIGNMENT

HEADER: Final = struct.Struct(">IQi")
HEADER_BYTES: Final = HEADER.size
HEAD: Final = struct.Struct(">IQiI")
"""The header and the length of the data, with which the bodies of versions 2 and 3 begin."""
CHECKSUM_BYTES: Final = 4
TIMESTAMP_BYTES: Final = 8
DATA_LENGTH_BYTES: Final = 4
HEAD_BYTES: Final = HEADER_BYTES + DATA_LENGTH_BYTES
"""What stands before the data in versions 2 and 3."""

GZIP: Final = 0x01
HAS_NAME: Final = 0x02
HAS_MIME: Final = 0x04
HAS_LAST_MODIFIED: Final = 0x08
HAS_TTL: Final = 0x10
HAS_PAIRS: Final = 0x20
MANIFEST: Final = 0x80

TEXT_BYTES_MAX: Final = 255
"""Of a name and of a MIME type."""
PAIRS_BYTES_MAX: Final = 65_535
TAIL_BYTES_MAX: Final = (
    1
    + 2 * (1 + TEXT_BYTES_MAX)
    + 5
    + 2
    + (2 + PAIRS_BYTES_MAX)
    + CHECKSUM_BYTES
    + TIMESTAMP_BYTES
    + ALIGNMENT
)
"""The most that can stand behind the data."""

_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_U16: Final = struct.Struct(">H")
_TRAILER: Final = struct.Struct(">IQI4x")
"""Of version 3: checksum, append time, and the eight bytes of which the padding is the first."""
_EMPTY_BYTES: Final = HEADER_BYTES + CHECKSUM_BYTES
_EMPTY_BYTES_3: Final = _EMPTY_BYTES + TIMESTAMP_BYTES
"""Of a record without a body, without the padding."""
_USUAL_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED
_LOW_40_BITS: Final = (1 << 40) - 1


@dataclass(slots=True)
class Needle:
    """A file as it is stored.

    `data` may be gzip (flag `GZIP`). `last_modified` is in Unix seconds, `ttl` as in `format.ttl`, `pairs` a
    JSON object. A field counts only when its flag is set. `size` and `append_at_ns` are those of the record
    it was read from or written to; `checksum` is the plain CRC-32C of `data`.

    `room` is the buffer that `data` lies in, at `room_at`, if the buffer has at least `HEAD_BYTES` before the
    data and `TAIL_BYTES_MAX` behind it that may be overwritten: the record is then built around the data.
    """

    id: int
    cookie: int
    data: Bytes = b""
    flags: int = 0
    name: bytes = b""
    mime: bytes = b""
    last_modified: int = 0
    ttl: int = 0
    pairs: bytes = b""
    checksum: int = 0
    append_at_ns: int = 0
    size: int = 0
    room: bytearray | memoryview | None = None
    room_at: int = 0


def trailer_bytes(version: int) -> int:
    """Checksum and, in version 3, append time."""
    return CHECKSUM_BYTES + TIMESTAMP_BYTES if version == 3 else CHECKSUM_BYTES


def record_length(size: int, version: int) -> int:
    """Length of a record whose body has `size` bytes, padding included; a negative size counts as 0."""
    unpadded = _EMPTY_BYTES_3 if version == 3 else _EMPTY_BYTES
    if size > 0:
        unpadded += size
    return unpadded + ALIGNMENT - unpadded % ALIGNMENT


def unpadded_length(size: int, version: int) -> int:
    """The same without the padding, which a record may lose without a loss."""
    return HEADER_BYTES + max(size, 0) + trailer_bytes(version)


def frame(needle: Needle, version: int) -> tuple[bytes, bytes]:
    """What stands before and behind the data in the record of a needle, whose `size` this sets.

    The padding is what existing servers leave in it, so that records are the same byte for byte.
    """
    fields = b""
    size = data_bytes = len(needle.data)
    if version == 1 or not data_bytes:
        head = HEADER.pack(needle.cookie, needle.id, size)
    else:
        fields = _fields(needle)
        size += DATA_LENGTH_BYTES + len(fields)
        head = HEAD.pack(needle.cookie, needle.id, size, data_bytes)
    needle.size = size
    end = len(head) + data_bytes + len(fields)
    if version == 3:
        trailer = _TRAILER.pack(needle.checksum, needle.append_at_ns, size)
    else:
        trailer = _U32.pack(needle.checksum) + _padding(needle, version)
    return head, fields + trailer[: record_length(size, version) - end]


def encode(needle: Needle, version: int) -> bytes:
    """The whole record; sets the needle's `size`."""
    head, tail = frame(needle, version)
    return b"".join((head, needle.data, tail))


def decode(record: Bytes, version: int, *, check: bool = True) -> Needle:
    """Read a record, of which the padding may be missing. `data` is a view of `record`, not a copy.

    A stored checksum in the older form is taken as well (`format.checksums.masked`); the needle gets the
    plain one. With `check` off, or without data, it gets what is stored.

    Raises:
        DamagedNeedleError: a length runs past the end, or the checksum is wrong.
    """
    view = memoryview(record)
    if len(view) < HEADER_BYTES:
        raise DamagedNeedleError("EOF")
    cookie, id_, size = HEADER.unpack_from(view)
    end = HEADER_BYTES + max(size, 0)
    if len(view) < end + trailer_bytes(version):
        raise DamagedNeedleError("EOF")
    needle = Needle(id_, cookie, size=size)
    if version == 1:
        needle.data = view[HEADER_BYTES:end]
    elif size > 0:
        _read_body(needle, view[HEADER_BYTES:end])
    _read_trailer(needle, view[end:], version)
    if check and len(needle.data):
        verify(needle, crc32c(needle.data))
    return needle


def decode_around(head: Bytes, tail: Bytes, version: int) -> tuple[Needle, int]:
    """Read a record of version 2 or 3 without its data: its first 20 bytes and all that is behind the data.

    Returns:
        The needle, its `data` empty and its checksum as stored, and the length of the data.

    Raises:
        DamagedNeedleError: a length runs past the end.
    """
    cookie, id_, size = HEADER.unpack_from(head)
    needle = Needle(id_, cookie, size=size)
    (data_bytes,) = _U32.unpack_from(head, HEADER_BYTES)
    view = memoryview(tail)
    fields_end = size - DATA_LENGTH_BYTES - data_bytes
    if fields_end < 0 or len(view) < fields_end + trailer_bytes(version):
        raise DamagedNeedleError("index out of range 1: needle data corrupted")
    _read_fields(needle, view[:fields_end])
    _read_trailer(needle, view[fields_end:], version)
    return needle, data_bytes


def verify(needle: Needle, computed: int) -> None:
    """Compare a stored checksum with the computed one, which the needle then has.

    Raises:
        DamagedNeedleError: they differ, in either form.
    """
    if computed != needle.checksum and masked(computed) != needle.checksum:
        raise DamagedNeedleError(
            f"invalid CRC for needle {needle.id:x} (got {computed:08x}, want {needle.checksum:08x}), "
            "data on disk corrupted: needle data corrupted"
        )
    needle.checksum = computed


def _fields(needle: Needle) -> bytes:
    """Flags and the fields that they name."""
    flags = needle.flags
    if flags == _USUAL_FLAGS:  # of nearly all; three times as fast
        name, mime = needle.name, needle.mime
        modified = (needle.last_modified & _LOW_40_BITS).to_bytes(5, "big")
        return b"%c%c%b%c%b%b" % (flags, len(name), name, len(mime), mime, modified)
    parts = [bytes((flags,))]
    if flags & HAS_NAME:
        parts += (bytes((len(needle.name),)), needle.name)
    if flags & HAS_MIME:
        parts += (bytes((len(needle.mime),)), needle.mime)
    if flags & HAS_LAST_MODIFIED:
        parts.append((needle.last_modified & _LOW_40_BITS).to_bytes(5, "big"))
    if flags & HAS_TTL:
        parts.append(_U16.pack(needle.ttl))
    if flags & HAS_PAIRS:
        parts += (_U16.pack(len(needle.pairs)), needle.pairs)
    return b"".join(parts)


def _padding(needle: Needle, version: int) -> bytes:
    """Eight bytes, of which a record takes the first: what a buffer of existing encoders happens to hold.

    In version 3 that is the size and zeros (`_TRAILER`).
    """
    if version == 1:
        return _U64.pack(needle.id)
    has_time = needle.size > 0 and needle.flags & HAS_LAST_MODIFIED
    first = needle.last_modified & 0xFFFFFFFF if has_time else needle.id >> 32
    return _U32.pack(first) + _U32.pack(needle.id & 0xFFFFFFFF)


def _read_body(needle: Needle, body: memoryview) -> None:
    if len(body) < DATA_LENGTH_BYTES:
        return
    (data_bytes,) = _U32.unpack_from(body)
    end = DATA_LENGTH_BYTES + data_bytes
    if end > len(body):
        raise DamagedNeedleError("index out of range 1: needle data corrupted")
    needle.data = body[DATA_LENGTH_BYTES:end]
    _read_fields(needle, body[end:])


def _read_fields(needle: Needle, fields: memoryview) -> None:
    """Read what the flags name, each only while bytes remain."""
    if not len(fields):
        return
    needle.flags = flags = fields[0]
    at = 1
    if flags & HAS_NAME and at < len(fields):
        needle.name, at = _text(fields, at, 2)
    if flags & HAS_MIME and at < len(fields):
        needle.mime, at = _text(fields, at, 3)
    if flags & HAS_LAST_MODIFIED and at < len(fields):
        needle.last_modified, at = int.from_bytes(_piece(fields, at, 5, 4), "big"), at + 5
    if flags & HAS_TTL and at < len(fields):
        needle.ttl, at = int.from_bytes(_piece(fields, at, 2, 5), "big"), at + 2
    if flags & HAS_PAIRS and at < len(fields):
        length = int.from_bytes(_piece(fields, at, 2, 6), "big")
        needle.pairs = bytes(_piece(fields, at + 2, length, 7))


def _text(fields: memoryview, at: int, place: int) -> tuple[bytes, int]:
    length = fields[at]
    return bytes(_piece(fields, at + 1, length, place)), at + 1 + length


def _piece(fields: memoryview, at: int, length: int, place: int) -> memoryview:
    if at + length > len(fields):
        raise DamagedNeedleError(f"index out of range {place}: needle data corrupted")
    return fields[at : at + length]


def _read_trailer(needle: Needle, trailer: memoryview, version: int) -> None:
    (needle.checksum,) = _U32.unpack_from(trailer)
    if version == 3:
        (needle.append_at_ns,) = _U64.unpack_from(trailer, CHECKSUM_BYTES)
