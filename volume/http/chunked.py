"""The chunked coding of request bodies (RFC 9112 section 7.1), as far as existing servers read it."""

import re
from typing import Final

from less_sync.volume.http.bodies import Incoming

LINE_BYTES_MAX: Final = 4096
"""Of a chunk's length with its extensions, and of a trailer."""
TRAILERS_BYTES_MAX: Final = 64 << 10
LENGTH_DIGITS_MAX: Final = 15

_LENGTH: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;.*)?", re.DOTALL)
_LINE, _DATA, _DATA_END, _TRAILERS = range(4)


class ChunkedBody:
    """Takes chunks apart and hands their data to `incoming`, or to nobody.

    Fed until `is_done`; that the coding is broken is told by `error`, and ends it too.
    """

    __slots__ = ("_left", "_line", "_state", "_trailers_bytes", "error", "incoming", "is_done")

    def __init__(self, incoming: Incoming | None) -> None:
        self.incoming: Final = incoming
        self.is_done = False
        self.error = ""
        self._state = _LINE
        self._left = 0
        self._line = b""
        self._trailers_bytes = 0

    def feed(self, buffer: bytearray, at: int, end: int) -> int:
        """Read from `buffer[at:end]` and say where what is left begins."""
        while at < end and not self.is_done:
            if self._state == _DATA:
                count = min(self._left, end - at)
                if self.incoming is not None:
                    self.incoming.add(memoryview(buffer)[at : at + count])
                at += count
                self._left -= count
                if not self._left:
                    self._state = _DATA_END
            else:
                at = self._feed_line(buffer, at, end)
        return at

    def _feed_line(self, buffer: bytearray, at: int, end: int) -> int:
        line_end = buffer.find(b"\n", at, end)
        piece_end = end if line_end < 0 else line_end + 1
        self._line += buffer[at:piece_end]
        if len(self._line) > LINE_BYTES_MAX:
            self._fail("header line too long" if self._state == _LINE else "malformed chunked encoding")
        elif line_end >= 0:
            line, self._line = self._line.rstrip(b"\r\n"), b""
            self._take_line(line)
        return piece_end

    def _take_line(self, line: bytes) -> None:
        if self._state == _DATA_END:
            if line:
                self._fail("malformed chunked encoding")
            self._state = _LINE
        elif self._state == _TRAILERS:
            self._trailers_bytes += len(line)
            self.is_done = not line
            if self._trailers_bytes > TRAILERS_BYTES_MAX:
                self._fail("malformed chunked encoding")
        else:
            self._take_length(line)

    def _take_length(self, line: bytes) -> None:
        found = _LENGTH.fullmatch(line.rstrip(b" \t"))
        if found is None:
            empty = not line.partition(b";")[0].strip()
            self._fail("empty hex number for chunk length" if empty else "invalid byte in chunk length")
        elif len(found[1].lstrip(b"0")) > LENGTH_DIGITS_MAX:
            self._fail("http chunk length too large")
        else:
            self._left = int(found[1], 16)
            self._state = _DATA if self._left else _TRAILERS

    def _fail(self, error: str) -> None:
        self.error = error
        self.is_done = True
