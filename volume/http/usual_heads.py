"""What the last head of a connection says of the next: nearly all heads of one are alike but for the path."""

import re
from typing import Final

from less_sync.volume.http.request import Request

_LENGTH: Final = re.compile(rb"(?:^|\r\n)(?i:content-length):[ \t]*([0-9]+)[ \t]*\r\n")
_UNUSUAL_READ: Final = frozenset((b"range", b"if-modified-since", b"if-none-match", b"origin"))
_UNUSUAL_WRITE: Final = frozenset((b"content-disposition", b"content-encoding", b"content-md5", b"origin"))
_BODY: Final = frozenset((b"content-length", b"transfer-encoding"))
_PAIRS: Final = b"seaweed-"


class Known:
    """Headers that were read before, and what usual requests with the same headers ask for.

    `block` is all of them with their line ends, the empty line included. A usual read has exactly `read`
    behind its first line, which is empty if these headers are none of one. A usual write has `before`, the
    length of its body, and `after`; `before` is empty if these headers are none of one, and `mime` its type.
    """

    __slots__ = ("after", "before", "block", "mime", "read")

    def __init__(self, block: bytes, request: Request | None) -> None:
        self.block: Final = block
        self.read = self.before = self.after = self.mime = b""
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
            length = _LENGTH.search(block)
            if length is not None and not any(name.startswith(_PAIRS) for name in fields):
                self.before, self.after = block[: length.start(1)], block[length.end(1) :]
                self.mime = fields.get(b"content-type", b"")


NOTHING: Final = Known(b"", None)
"""Of a connection that has not sent anything yet."""
