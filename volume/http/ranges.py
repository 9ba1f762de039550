"""`Range` of a read and the parts of a `multipart/byteranges` answer (RFC 9110 section 14).

Existing servers are more lenient than the RFC in some places and stricter in others; docs/volume.md section
3.4 has the table.
"""

import re
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

RANGES_MAX: Final = 1000
"""Pieces of one header: each costs an answer some 100 bytes beside its own, and a head may have 1 MiB."""
_UNIT: Final = "bytes="
_BLANK: Final = " \t\r\n\v\f"
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_I64_MAX: Final = 2**63 - 1


class InvalidRangeError(ValueError):
    """A `Range` that cannot be read or lies behind the end."""


class ByteRange(NamedTuple):
    """`length` bytes from `start`; the length may be 0."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """Value of `Content-Range` for this part of `size` bytes."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def parse_ranges(header: str, size: int) -> list[ByteRange]:
    """The ranges that a `Range` header asks for, of `size` bytes; none when it names none (`bytes=`).

    Raises:
        InvalidRangeError: another unit, no number, a start behind the end, an end before the start, or more
            than `RANGES_MAX` pieces.
    """
    if not header.startswith(_UNIT):
        raise InvalidRangeError("invalid range")
    pieces = header[len(_UNIT) :].split(",", RANGES_MAX)
    if len(pieces) > RANGES_MAX:
        raise InvalidRangeError("invalid range")
    return [_parse(stripped, size) for piece in pieces if (stripped := piece.strip(_BLANK))]


def fits(ranges: Sequence[ByteRange], size: int) -> bool:
    """Whether the ranges together are no longer than the whole; overlapping ones may be."""
    return sum(one.length for one in ranges) <= size


def _parse(piece: str, size: int) -> ByteRange:
    first, dash, last = (part.strip(_BLANK) for part in piece.partition("-"))
    if not dash:
        raise InvalidRangeError("invalid range")
    if not first:
        length = min(_number(last), size)
        return ByteRange(size - length, length)
    start = _number(first)
    if start > size:
        raise InvalidRangeError("invalid range")
    if not last:
        return ByteRange(start, size - start)
    end = _number(last)
    if end < start:
        raise InvalidRangeError("invalid range")
    return ByteRange(start, min(end, size - 1) - start + 1)


def _number(text: str) -> int:
    """A decimal number of 63 bits, not below 0."""
    if not _NUMBER.fullmatch(text) or not 0 <= (number := int(text)) <= _I64_MAX:
        raise InvalidRangeError("invalid range")
    return number


class Multipart(NamedTuple):
    """How the parts of an answer are framed: `heads[i]`, the bytes of range `i`, ..., then `end`."""

    content_type: str
    heads: tuple[bytes, ...]
    end: bytes
    length: int
    """Of the whole body."""


def multipart(ranges: Sequence[ByteRange], size: int, part_type: str, boundary: str = "") -> Multipart:
    """Frame several ranges of `size` bytes; `part_type` stands in every part and may be empty.

    Without a `boundary` a random one of 60 digits is taken.
    """
    boundary = boundary or secrets.token_hex(30)
    heads = tuple(
        (
            f"{'' if number == 0 else chr(13) + chr(10)}--{boundary}\r\n"
            f"Content-Range: {one.content_range(size)}\r\nContent-Type: {part_type}\r\n\r\n"
        ).encode("utf-8", "surrogateescape")
        for number, one in enumerate(ranges)
    )
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(one.length for one in ranges) + len(end)
    return Multipart(f"multipart/byteranges; boundary={boundary}", heads, end, length)
