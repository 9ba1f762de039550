"""The chunked coding of request bodies (RFC 9112 section 7.1), as far as existing servers read it.

Lines end with CR LF and hold no other CR: whoever stands before this server may take a bare one for the end
of a line where it is none here, or the reverse, and then both see different requests.
"""

import re
from typing import Final

from less_sync.volume.http.bodies import Incoming

LINE_BYTES_MAX: Final = 4096
"""Of a chunk's length with its extensions, and of a trailer."""
TRAILERS_BYTES_MAX: Final = 64 << 10
LENGTH_DIGITS_MAX: Final = 15
FED_LINES_MAX: Final = 1000
"""Lines that are read at once; each costs some microseconds, and a chunk may have a single byte."""

_LENGTH: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;.*)?", re.DOTALL)
_MALFORMED: Final = "malformed chunked encoding"
_LONG_TRAILER: Final = "http: suspiciously long trailer after chunked body"
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
        """Read from `buffer[at:end]` and say where what is left begins: `FED_LINES_MAX` are read at once."""
        lines_left = FED_LINES_MAX
        while at < end and not self.is_done and lines_left:
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
                lines_left -= 1
        return at

    def _feed_line(self, buffer: bytearray, at: int, end: int) -> int:
        line_end = buffer.find(b"\n", at, end)
        piece_end = end if line_end < 0 else line_end + 1
        self._line += buffer[at:piece_end]
        if len(self._line) > LINE_BYTES_MAX:
            too_long = {_LINE: "header line too long", _TRAILERS: _LONG_TRAILER}
            self._fail(too_long.get(self._state, _MALFORMED))
        elif line_end >= 0:
            line, self._line = self._line, b""
            self._take_line(line)
        return piece_end

    def _take_line(self, line: bytes) -> None:
        content = line[:-2]
        if self._state == _DATA_END:
            if line != b"\r\n":
                self._fail(_MALFORMED)
            self._state = _LINE
        elif not line.endswith(b"\r\n"):
            self._fail("chunked line ends with bare LF")
        elif b"\r" in content:
            self._fail("invalid CR in chunked line")
        elif self._state == _LINE:
            self._take_length(content)
        else:
            self._take_trailer(content)

    def _take_trailer(self, line: bytes) -> None:
        self._trailers_bytes += len(line)
        self.is_done = not line
        if line and b":" not in line:
            self._fail(_MALFORMED)
        elif self._trailers_bytes > TRAILERS_BYTES_MAX:
            self._fail(_LONG_TRAILER)

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
