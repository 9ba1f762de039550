"""Compressing what is uploaded, and looking into what came compressed (RFC 1952)."""

import zlib
from collections.abc import Callable
from typing import Final

from less_sync.volume.format.checksums import Bytes

LOOP_BYTES_MAX: Final = 64 << 10
"""Data up to this length is compressed where it is, in some 0.7 ms; what is longer belongs into a thread."""
LOOP_PACKED_BYTES_MAX: Final = 4 << 10
"""The same of what is unpacked: a thousand times as much may be in it."""
UNPACKED_BYTES_MAX: Final = 1 << 30
"""A stream that unpacks to more counts as one that cannot be unpacked."""
MEMBERS_MAX: Final = 1000
_PIECE_BYTES: Final = 256 << 10
_SAMPLE_BYTES: Final = 64 << 10
_GZIP: Final = 16 + zlib.MAX_WBITS
_SOUNDS: Final = frozenset({"audio/wave", "audio/wav", "audio/x-wav", "audio/x-pn-wav"})
_TEXT_NAMES: Final = frozenset({
    ".pdf", ".txt", ".html", ".htm", ".css", ".js", ".json",
    ".php", ".java", ".go", ".rb", ".c", ".cpp", ".h", ".hpp",
})  # fmt: skip
_RAW_NAMES: Final = frozenset({".svg", ".bmp", ".wav"})
_PACKED_NAMES: Final = frozenset({
    ".zip", ".rar", ".gz", ".bz2", ".xz", ".zst", ".br", ".png", ".jpg", ".jpeg"
})  # fmt: skip


def is_compressible(name: str, mime: str) -> bool:
    """Whether compressing is worth trying, by the stored type or, without one, the guessed one.

    A name counts only if it is nothing but an extension: existing servers take all of it for one.
    """
    if mime.startswith("text/") or name in _RAW_NAMES:
        return True
    if mime.startswith("image/") or name in _PACKED_NAMES:
        return False
    if name in _TEXT_NAMES:
        return True
    if mime.startswith("application/"):
        return mime.endswith(("xml", "script"))
    return mime in _SOUNDS


def compress(data: Bytes) -> bytes | None:
    """`data` as gzip, at the fastest level, without name and time; None unless that saves a tenth."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    packed = packer.compress(data) + packer.flush()
    return packed if len(packed) * 10 < len(data) * 9 else None


class UnpackError(Exception):
    """It is no gzip, damaged, cut off, or too large."""


def unpack(data: Bytes, take: Callable[[bytes], object], bytes_max: int = UNPACKED_BYTES_MAX) -> int:
    """Unpack gzip and give what is inside to `take`, at most 256 KiB at a time.

    Returns:
        The length of all of it.

    Raises:
        UnpackError: also in the middle; what was given until then counts for nothing.
    """
    view, at, total = memoryview(data), 0, 0
    try:
        for _ in range(MEMBERS_MAX):
            at, total = _unpack_member(view, at, take, total, bytes_max)
            if at == len(view):
                return total
    except zlib.error as fault:
        raise UnpackError(str(fault)) from fault
    raise UnpackError("too many members")


def _unpack_member(
    view: memoryview, at: int, take: Callable[[bytes], object], total: int, bytes_max: int
) -> tuple[int, int]:
    """One member of a gzip stream from `at` on; tells where the next begins and the new sum."""
    unpacker = zlib.decompressobj(_GZIP)
    waiting: Bytes = b""
    while not unpacker.eof:
        if not waiting:
            waiting, at = view[at : at + _SAMPLE_BYTES], min(at + _SAMPLE_BYTES, len(view))
            if not len(waiting):
                raise UnpackError("cut off")
        piece = unpacker.decompress(waiting, _PIECE_BYTES)
        total += len(piece)
        if total > bytes_max:
            raise UnpackError("too large")
        take(piece)
        waiting = unpacker.unconsumed_tail
    return at - len(unpacker.unused_data), total
