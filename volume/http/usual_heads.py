"""What the last head of a connection says of the next: nearly all heads of one are alike but for the path."""

import re
from typing import Final

from less_sync.volume.http.multipart import PLAIN_BOUNDARY, PLAIN_MULTIPART
from less_sync.volume.http.parameters import ParameterError, is_form
from less_sync.volume.http.request import Request

_LENGTH: Final = re.compile(rb"(?:^|\r\n)(?i:content-length):[ \t]*([0-9]+)[ \t]*\r\n")
_LENGTH_DIGITS_MAX: Final = 9
_UNUSUAL_READ: Final = frozenset((b"range", b"if-modified-since", b"if-none-match", b"origin"))
_UNUSUAL_WRITE: Final = frozenset((b"content-disposition", b"content-encoding", b"content-md5", b"origin"))
_BODY: Final = frozenset((b"content-length", b"transfer-encoding"))
_PAIRS: Final = b"seaweed-"


class Known:
    """Headers that were read before, and what usual requests with the same headers ask for.

    `block` is all of them with their line ends, the empty line included. A usual read has exactly `read`
    behind its first line, which is empty if these headers are none of one. A usual write has `before`, the
    length of its body, then `after`; in a POST of a form `between`, a boundary, then `after`. `before` is
    empty if these headers are none of one, `mime` is the type, `has_form` whether a POST sends a form.
    """

    __slots__ = ("after", "before", "between", "block", "has_form", "mime", "read")

    def __init__(self, block: bytes, request: Request | None) -> None:
        self.block: Final = block
        self.read = self.before = self.between = self.after = self.mime = b""
        self.has_form = False
        if request is None or request.is_http10 or not request.keep_alive:
            return
        if request.expects_continue or request.unmet_expectation:
            return
        fields = request.fields
        if len(fields) != request.header_count or b"\n" in block.replace(b"\r\n", b""):
            return
        if _BODY.isdisjoint(fields):
            if _UNUSUAL_READ.isdisjoint(fields):
                self.read = block
        elif request.content_length and _UNUSUAL_WRITE.isdisjoint(fields):
            self._learn_write(request)

    def _learn_write(self, request: Request) -> None:
        fields, block = request.fields, self.block
        length = _LENGTH.search(block)
        mime = fields.get(b"content-type", b"")
        if length is None or any(name.startswith(_PAIRS) for name in fields):
            return
        try:
            if is_form(mime):
                return
        except ParameterError:
            return
        start, end = length.span(1)
        form = PLAIN_MULTIPART.fullmatch(mime)
        if form is not None:
            at = block.find(form[0], end)
            if at < 0:  # the type comes first, which no known client does
                return
            self.between = block[end : at + form.start(1)]
            end = at + form.end(1)
        self.mime = mime
        self.has_form = form is not None
        self.before, self.after = block[:start], block[end:]

    def measure(self, buffer: bytearray, at: int) -> tuple[int, int, bytes]:
        """Where the body begins, its length and its boundary, of a usual write whose headers begin at `at`.

        The length is 0 if it is none.
        """
        if not self.before or not buffer.startswith(self.before, at):
            return 0, 0, b""
        at += len(self.before)
        stop = buffer.find(b"\r", at, at + _LENGTH_DIGITS_MAX + 1)
        digits = buffer[at:stop] if stop >= 0 else b""
        if not digits.isdigit():
            return 0, 0, b""
        boundary = b""
        if self.has_form:
            found = None
            if buffer.startswith(self.between, stop):
                found = PLAIN_BOUNDARY.match(buffer, stop + len(self.between))
            if found is None:
                return 0, 0, b""
            stop, boundary = found.end(), found[0]
        if not buffer.startswith(self.after, stop):
            return 0, 0, b""
        return stop + len(self.after), int(digits), boundary


NOTHING: Final = Known(b"", None)
"""Of a connection that has not sent anything yet."""
