"""Reading a record without its data, at a place that a client names."""

from typing import Final

from less_sync.volume.engine.errors import DamagedRecord
from less_sync.volume.engine.reading import AROUND_BYTES_MAX
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    Needle,
    decode,
    decode_around,
    record_length,
)
from less_sync.volume.format.rows import OFFSETS_BYTES

_END: Final = "EOF"


def read_meta(volume: Volume, offset: int, size: int) -> Needle:
    """The needle without its data, and its checksum as stored, not compared.

    An offset of 4 bytes wraps at 32 GiB: where another record lies at the place, the one beyond is tried.

    Raises:
        DamagedRecord: no record with a body of `size` bytes lies there.
        OSError: the disk failed.
    """
    head = _pread(volume, offset, HEAD_BYTES)
    _, id_, found_size = HEADER.unpack_from(head)
    if found_size != size:
        reach = OFFSETS_BYTES[4]
        if volume.offset_bytes == 4 and offset < reach:
            return read_meta(volume, offset + reach, size)
        raise DamagedRecord(
            f"size mismatch for entry at offset {offset}: found id {f'{id_:x}'.encode().hex()} "
            f"size {found_size}, expected size {size}"
        )
    if not size or volume.version == 1:
        return _without_fields(volume, offset, head, size)
    data_bytes = int.from_bytes(head[HEADER_BYTES:], "big")
    behind = record_length(size, volume.version) - HEAD_BYTES - data_bytes
    if not 0 < behind <= AROUND_BYTES_MAX:
        raise DamagedRecord(f"invalid needle meta size {behind}")
    tail = _pread(volume, offset + HEAD_BYTES + data_bytes, behind)
    try:
        return decode_around(head, tail, volume.version)[0]
    except DamagedNeedleError as error:
        raise DamagedRecord(str(error)) from None


def _without_fields(volume: Volume, offset: int, head: bytes, size: int) -> Needle:
    """A record that has nothing but data, or not even that: what stands behind it is all there is."""
    empty_length = record_length(0, volume.version)
    tail = _pread(volume, offset + HEADER_BYTES + size, empty_length - HEADER_BYTES)
    needle = decode(head[:12] + bytes(4) + tail, volume.version, check=False)
    needle.size = size
    return needle


def _pread(volume: Volume, offset: int, length: int) -> bytes:
    if offset < 0:
        raise DamagedRecord(f"readat {volume.data.path}: negative offset")
    # A file position has 63 bits; whatever is behind the end of the file is not asked for.
    found = volume.data.read(offset, length) if offset < volume.data_bytes else b""
    if len(found) < length:
        raise DamagedRecord(_END)
    return found
