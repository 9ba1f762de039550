"""Heads of requests, from bytes to a `Request` (RFC 9112 sections 2 to 6). Pure.

Written by hand: parsers of others refuse methods and bytes that existing servers take, or stop at 64 KiB.
"""

import re
from typing import Final

from less_sync.volume.http.paths import text, unescape
from less_sync.volume.http.request import Request

HEAD_BYTES_MAX: Final = (1 << 20) + (4 << 10)
"""Of the request line and the headers."""
HEADERS_MAX: Final = 2_000
"""To take 250,000 apart, which is what fits into a head, would hold up everybody for 0.2 s."""
TARGET_BYTES_MAX: Final = 64 << 10
"""The same of a mebibyte of percent signs."""
BODY_DIGITS_MAX: Final = 18
"""Of a Content-Length."""
REMEMBERED_BYTES_MAX: Final = 4 << 10
"""Of the headers of a connection's last head."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(
    rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+) (?:HTTP/1\.([0-9])|HTTP/[0-9]\.[0-9]())\r?\n"
)
# A value without control characters but tabs; a line that begins with a blank continues the one before.
_VALUE: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_HEADERS: Final = re.compile(rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r?\n)*\r?\n")
_HEADER: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*(" + _VALUE + rb")\r?\n")
# Blanks are taken from the first of them on and never given back: a mebibyte of them would else be searched
# again from each of them.
_FOLD: Final = re.compile(rb"(?<![ \t])[ \t]*+\r?\n[ \t]+")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://[^/?]*")


class BadHead(Exception):
    """A head that nobody can answer but with a status; the connection ends with it."""

    def __init__(self, status: int, reason: str, body: str = "") -> None:
        super().__init__(reason)
        self.status: Final = status
        self.reason: Final = reason
        self.body: Final = body or f"{status} {reason}"

    def encode(self) -> bytes:
        """The whole answer, which tells nothing of the server."""
        head = f"HTTP/1.1 {self.status} {self.reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        return f"{head}Connection: close\r\n\r\n{self.body}".encode()


def too_long() -> BadHead:
    """The answer to a head beyond `HEAD_BYTES_MAX` or `HEADERS_MAX`."""
    return BadHead(431, "Request Header Fields Too Large")


def bad_request(why: str = "") -> BadHead:
    """The answer to a head that is none, with the reason where existing servers tell one."""
    return BadHead(400, f"Bad Request: {why}" if why else "Bad Request")


def find_end(buffer: bytearray, start: int, end: int) -> int:
    """Where the head ends that begins at `start` (behind its empty line), or -1. Line ends may lack CR."""
    found = buffer.find(b"\n\r\n", start, end)
    bare = buffer.find(b"\n\n", start, end if found < 0 else found)
    if bare >= 0:
        return bare + 2
    return found + 3 if found >= 0 else -1


def parse_head(raw: bytes) -> Request:
    """Read a whole head, empty line included.

    Raises:
        BadHead: it is malformed, of another version, or contradicts itself.
    """
    return HeadReader().read(raw)


class HeadReader:
    """Reads the heads of one connection. Headers that are the same as those before are not read again."""

    __slots__ = ("_minor", "block", "model")

    def __init__(self) -> None:
        self.block = b""
        """The headers that were read last, with their line ends and the empty line."""
        self.model: Request | None = None
        """A request with these headers."""
        self._minor = b""

    def read(self, raw: bytes) -> Request:
        """Read a whole head, empty line included.

        Raises:
            BadHead: it is malformed, of another version, or contradicts itself.
        """
        line = _REQUEST_LINE.match(raw)
        if line is None:
            raise bad_request()
        method, target, minor, other = line.groups()
        if other is not None:
            raise BadHead(505, "HTTP Version Not Supported: unsupported protocol version")
        if len(target) > TARGET_BYTES_MAX:
            raise BadHead(414, "Request URI Too Long")
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/"):
            path = _path_of(method, path)
        if b"%" in path:
            try:
                path = unescape(path)
            except ValueError:
                raise bad_request() from None
        request = Request(method.decode(), target, text(path), text(query) if query else "")
        block = raw[line.end() :]
        model = self.model
        if model is not None and block == self.block and minor == self._minor:
            request.adopt_headers(model)
            return request
        if block.count(b"\n") > HEADERS_MAX:
            raise too_long()
        request.set_headers(_HEADER.findall(block if _HEADERS.fullmatch(block) else _unfolded(block)))
        _frame(request, is_http10=minor == b"0")
        if len(block) <= REMEMBERED_BYTES_MAX:
            self.block, self._minor = block, minor
            self.model = model = Request("", b"", "", "")
            model.adopt_headers(request)
        return request


def _path_of(method: bytes, target: bytes) -> bytes:
    """The path of a target that does not begin with one (RFC 9112 section 3.2)."""
    if scheme := _SCHEME.match(target):
        return target[scheme.end() :] or b"/"
    if target == b"*" and method == b"OPTIONS":
        return b"*"
    if method == b"CONNECT":
        return b""
    raise bad_request()


def _unfolded(block: bytes) -> bytes:
    """Headers with continued lines joined (RFC 9112 section 5.2).

    Raises:
        BadHead: something else is wrong with them.
    """
    joined = _FOLD.sub(b" ", block)
    if block[:1] in (b" ", b"\t") or _HEADERS.fullmatch(joined) is None:
        raise bad_request()
    return joined


def _frame(request: Request, *, is_http10: bool) -> None:
    """What the headers say about the connection and the body."""
    fields = request.fields
    if len(fields) != request.header_count:
        _refuse_repeated(request)
    connection = fields.get(b"connection")
    if is_http10:
        request.is_http10 = True
        request.keep_alive = connection is not None and b"keep-alive" in connection.lower()
    else:
        if b"host" not in fields:
            raise bad_request("missing required Host header")
        if connection is not None and b"close" in connection.lower():
            request.keep_alive = False
    if b"content-length" in fields or b"transfer-encoding" in fields:
        _measure_body(request)
    if (expect := fields.get(b"expect")) is not None:
        request.expects_continue = expect.lower() == b"100-continue" and not is_http10
        request.unmet_expectation = bool(expect) and expect.lower() != b"100-continue"


def _measure_body(request: Request) -> None:
    encoding = request.fields.get(b"transfer-encoding")
    length = request.fields.get(b"content-length")
    if encoding is not None and request.is_http10:
        # That version knows no codings; somebody in between may, and see another end of the body.
        request.keep_alive = False
    elif encoding is not None:
        if encoding.lower() != b"chunked":
            raise BadHead(501, "Not Implemented", "Unsupported transfer encoding")
        request.content_length = None
        if length is not None:
            # Somebody in between may have believed the length: nothing that follows is to be trusted.
            request.keep_alive = False
        return
    if length is not None:
        if not length.isdigit() or len(length) > BODY_DIGITS_MAX:
            raise bad_request()
        request.content_length = int(length)


def _refuse_repeated(request: Request) -> None:
    """Refuse what may stand in a head only once, unless a length is told twice the same."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value)
    if len(values.get(b"host", ())) > 1:
        raise bad_request("too many Host headers")
    if len(set(values.get(b"content-length", ()))) > 1:
        raise bad_request()
    if len(values.get(b"transfer-encoding", ())) > 1:
        raise BadHead(501, "Not Implemented", "Unsupported transfer encoding")
