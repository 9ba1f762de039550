"""The first 8 bytes of a data file.

Layout, big-endian: version u8, replica placement u8, TTL u16 (count, unit), compaction revision u16, length
of what follows u16; then that many bytes, which nobody writes today and which are kept as they are. In
version 1 records follow at once, whatever the length says.
"""

import struct
from dataclasses import dataclass
from typing import Final

from less_sync.volume.format.errors import SuperblockError

SUPERBLOCK_BYTES: Final = 8
VERSIONS: Final = (1, 2, 3)
NEWEST_VERSION: Final = 3
_HEAD: Final = struct.Struct(">BBHHH")


@dataclass(slots=True, frozen=True)
class Superblock:
    """What a volume says about itself. `ttl` as in `format.ttl`, `placement` as in `format.placement`."""

    version: int = NEWEST_VERSION
    placement: int = 0
    ttl: int = 0
    revision: int = 0
    """How often the volume was compacted, modulo 65,536."""
    extra: bytes = b""

    @property
    def end(self) -> int:
        """Where the first record begins."""
        return SUPERBLOCK_BYTES + len(self.extra)

    def encode(self) -> bytes:
        """The bytes on disk.

        Raises:
            SuperblockError: the version is none that records can be written in.
        """
        if self.version not in VERSIONS:
            raise SuperblockError(f"volume super block version {self.version} is not supported")
        return (
            _HEAD.pack(self.version, self.placement, self.ttl, self.revision & 0xFFFF, len(self.extra))
            + self.extra
        )


def decode_superblock(head: bytes) -> Superblock:
    """Read the head of a data file; give it up to 65,542 bytes, or as many as there are.

    Raises:
        SuperblockError: too few bytes, or a version other than 1, 2 or 3.
    """
    if len(head) < SUPERBLOCK_BYTES:
        raise SuperblockError(f"super block of {len(head)} bytes")
    version, placement, ttl, revision, extra_bytes = _HEAD.unpack_from(head)
    if version not in VERSIONS:
        raise SuperblockError(f"unsupported version {version}")
    if version == 1:
        extra_bytes = 0
    extra = bytes(head[SUPERBLOCK_BYTES : SUPERBLOCK_BYTES + extra_bytes])
    if len(extra) < extra_bytes:
        raise SuperblockError(f"super block ends after {len(extra)} of {extra_bytes} extra bytes")
    return Superblock(version, placement, ttl, revision, extra)
