"""Whether index and data file of a volume agree about the last record, which is all that a load looks at."""

from typing import Final, NamedTuple

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.width import last_in_data
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import HEADER, HEADER_BYTES, decode, record_length
from less_sync.volume.format.rows import OFFSETS_BYTES, Row

_TIMESTAMP_AT: Final = 4


class Verdict(NamedTuple):
    """What is wrong, empty if nothing is, and the append time of the last record, 0 if it has none."""

    fault: str
    last_append_ns: int


_PASSED: Final = Verdict("", 0)


def check_last_record(files: Files, data: DataFile, index: DataFile, *, version: int, width: int) -> Verdict:
    """Look at the record that lies last by the index, as existing servers do.

    In version 3 its data is not read: a wrong checksum is noticed only when the needle is.

    Raises:
        OSError: the disk failed.
    """
    row = last_in_data(files, index.fd, index.end, width, version, data.end)
    if row is None:
        return _PASSED
    offset = _place(data, row, version, width)
    if offset is None:
        return Verdict("the last row of the index points at no record of its size", 0)
    end = offset + record_length(row.size, version)
    if version == 3 or row.size < 0:
        return _by_length(data, row, offset, end, version)
    try:
        needle = decode(data.read(offset, end - offset), version)
    except DamagedNeedleError as error:
        return Verdict(str(error), 0)
    return _PASSED if needle.id == row.id else Verdict(f"the last record is of needle {needle.id:x}", 0)


def _place(data: DataFile, row: Row, version: int, width: int) -> int | None:
    """Where the record of a row lies; one wrap further on if that ends the file, or it is not there."""
    size = max(row.size, 0)
    near, far = row.offset, row.offset + OFFSETS_BYTES[width]
    ends_file = far + record_length(size, version) == data.end
    for offset in (far, near) if ends_file else (near, far):
        header = data.read(offset, HEADER_BYTES)
        if len(header) == HEADER_BYTES:
            _, id_, found_size = HEADER.unpack(header)
            if found_size == size and (row.size >= 0 or id_ == row.id):
                return offset
    return None


def _by_length(data: DataFile, row: Row, offset: int, end: int, version: int) -> Verdict:
    """The file must end where the record does."""
    if data.end > end:
        return Verdict(
            f"data file of {data.end} bytes has more behind the last record, which ends at {end}", 0
        )
    record_tail = data.read(offset + HEADER_BYTES + max(row.size, 0), _TIMESTAMP_AT + 8)
    if data.end < end or (version == 3 and len(record_tail) < _TIMESTAMP_AT + 8):
        return Verdict(f"the last record ends at {end}, the data file already at {data.end}", 0)
    return Verdict("", int.from_bytes(record_tail[_TIMESTAMP_AT:], "big") if version == 3 else 0)
