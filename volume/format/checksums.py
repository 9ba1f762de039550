"""CRC-32C of a needle's data (RFC 3720 appendix B.4: reflected polynomial 0x82F63B78)."""

from fastcrc import crc32

_MASK_32 = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8

COPIED_BYTES_MAX = 16 << 10
"""Up to here a copy costs less than a view."""
Bytes = bytes | bytearray | memoryview
"""Whatever a needle's data may be held in; nothing here copies it."""


def cut(data: bytes | bytearray, start: int, end: int) -> Bytes:
    """The bytes from `start` to `end`: a copy, or of many a view, which is good while `data` stays."""
    if end - start <= COPIED_BYTES_MAX:
        return bytes(data[start:end])
    return memoryview(data)[start:end]


def crc32c(data: Bytes, initial: int = 0) -> int:
    """CRC-32C of `data`, or of what `initial` is the checksum of with `data` behind it. 0 of no data."""
    return crc32.iscsi(data, initial)


def masked(checksum: int) -> int:
    """The form in which servers before 3.09 stored a checksum, and in which gRPC answers still tell it."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & _MASK_32
