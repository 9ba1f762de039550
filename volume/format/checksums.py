"""CRC-32C of a needle's data (RFC 3720 appendix B.4: reflected polynomial 0x82F63B78)."""

from fastcrc import crc32

_MASK_32 = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8

Bytes = bytes | bytearray | memoryview
"""Whatever a needle's data may be held in; nothing here copies it."""


def crc32c(data: Bytes, initial: int = 0) -> int:
    """CRC-32C of `data`, or of what `initial` is the checksum of with `data` behind it. 0 of no data."""
    return crc32.iscsi(data, initial)


def masked(checksum: int) -> int:
    """The form in which servers before 3.09 stored a checksum, and in which gRPC answers still tell it."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & _MASK_32
