"""Volume files made and read byte by byte, with nothing of the engine but the format."""

from dataclasses import dataclass
from pathlib import Path

from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.needle import HAS_NAME, Needle, decode, encode, record_length
from less_sync.volume.format.rows import ROW_BYTES, TOMBSTONE_SIZE, Row, decode_rows, encode_row
from less_sync.volume.format.superblock import Superblock, decode_superblock

COOKIE = 0x11223344


@dataclass(slots=True)
class Plain:
    """The bytes of a volume, before they are written to files."""

    data: bytearray
    index: bytearray
    version: int
    width: int
    clock_ns: int = 1

    @classmethod
    def new(cls, version: int = 3, width: int = 4, superblock: Superblock | None = None) -> "Plain":
        """An empty one."""
        return cls(bytearray((superblock or Superblock(version)).encode()), bytearray(), version, width)

    def put(self, id: int, content: bytes, *, row: bool = True, cookie: int = COOKIE) -> int:
        """Store a needle, with its row or without; says where."""
        needle = Needle(
            id, cookie, content, HAS_NAME, b"n", checksum=crc32c(content), append_at_ns=self.clock_ns
        )
        self.clock_ns += 1
        offset = len(self.data)
        self.data += encode(needle, self.version)
        if row:
            self.row(id, offset, needle.size)
        return offset

    def delete(self, id: int, *, row: bool = True) -> None:
        """Append a tombstone."""
        offset = self.put(id, b"", row=False)
        if row:
            self.row(id, offset, TOMBSTONE_SIZE)

    def row(self, id: int, offset: int, size: int) -> None:
        """Append a row."""
        self.index += encode_row(id, offset, size, self.width)

    def write(self, directory: Path, name: str = "7") -> VolumePaths:
        """Write both files."""
        paths = VolumePaths(directory / f"{name}.dat", directory / f"{name}.idx")
        paths.data.write_bytes(self.data)
        paths.index.write_bytes(self.index)
        return paths


def rows_of(paths: VolumePaths, width: int = 4) -> list[Row]:
    """All rows; the index must have no half one."""
    content = paths.index.read_bytes()
    assert len(content) % ROW_BYTES[width] == 0
    return list(decode_rows(content, width))


def status_of(paths: VolumePaths, id: int, width: int = 4) -> int:
    """What a GET of the needle would say."""
    row = {row.id: row for row in rows_of(paths, width)}.get(id)
    if row is None or row.is_deletion:
        return 404
    data = paths.data.read_bytes()
    version = decode_superblock(data).version
    record = data[row.offset : row.offset + record_length(row.size, version)]
    try:
        return 200 if decode(record, version).size == row.size else 500
    except FormatError:
        return 500


def contents_of(paths: VolumePaths, width: int = 4) -> dict[int, bytes]:
    """Every live needle."""
    data = paths.data.read_bytes()
    version = decode_superblock(data).version
    newest = {row.id: row for row in rows_of(paths, width)}
    return {
        row.id: bytes(decode(data[row.offset : row.offset + record_length(row.size, version)], version).data)
        for row in newest.values()
        if not row.is_deletion
    }
