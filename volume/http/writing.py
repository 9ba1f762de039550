"""The head of an answer: status line, common headers, the handler's, and the framing."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from less_sync.volume.format.checksums import Bytes
from less_sync.volume.http.paths import text
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import FilePart, Header, Pieces, Response
from less_sync.volume.http.sniff import SNIFFED_BYTES, sniff

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLIENT_CLOSED: Final = 499
"""For a client that is gone, which will not read it."""
STATUS_LINES: Final = {
    **{status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus},
    416: "HTTP/1.1 416 Requested Range Not Satisfiable\r\n",
    CLIENT_CLOSED: "HTTP/1.1 499 status code 499\r\n",
}
_BODYLESS: Final = (204, 304)
_NS: Final = 1_000_000_000


class _DateLine:
    """The `Date` header of the current second."""

    second = -1
    line = ""


def date_line(now_ns: int) -> str:
    """The header `Date` for a time in Unix nanoseconds; made once a second."""
    second = now_ns // _NS
    if second != _DateLine.second:
        _DateLine.line = f"Date: {formatdate(second, usegmt=True)}\r\n"
        _DateLine.second = second
    return _DateLine.line


def encode_head(request: Request, response: Response, length: int | None, *, closes: bool) -> bytes:
    """The head of an answer whose body has `length` bytes (None: nobody knows), empty line included.

    Adds what the handler did not say: the length of the body, or that it is chunked; a `Content-Type`
    guessed from the first bytes of a body that has none, is not encoded and does not come in pieces; that the
    connection ends.
    """
    status = response.status
    now_ns = time.time_ns()
    lines = response.lines or _lines(request, response, length)
    if closes:
        lines += "Connection: close\r\n"
    elif request.is_http10:
        lines += "Connection: keep-alive\r\n"
    line = STATUS_LINES.get(status) or f"HTTP/1.1 {status} status code {status}\r\n"
    if request.is_http10:
        line = "HTTP/1.0" + line[8:]
    if request.common:
        request_id = request._request_id or request.identify(now_ns)
        return joined_head(f"{line}{request.common}", request_id, lines, now_ns)
    return f"{line}{lines}{date_line(now_ns)}\r\n".encode("utf-8", "surrogateescape")


def joined_head(begin: str, request_id: str, lines: str, now_ns: int) -> bytes:
    """The head of an answer from its status line and the lines common to all, and from its own lines."""
    head = f"{begin}X-Amz-Request-Id: {request_id}\r\n{lines}{date_line(now_ns)}\r\n"
    return head.encode("utf-8", "surrogateescape")


def _lines(request: Request, response: Response, length: int | None) -> str:
    """What the handler says, then length and type as far as it does not."""
    headers = response.headers
    status = response.status
    lines = ""
    has_type = has_length = False
    for name, value in headers:
        shown = value if isinstance(value, str) else text(value)
        lines += f"{name}: {shown}\r\n"
        if name == "Content-Type" or name == "Content-Encoding":
            has_type = True
        elif name == "Content-Length":
            has_length = True
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        lines = _without_line_ends(headers)
    if length and request.method != "HEAD" and status not in _BODYLESS:
        if not has_length:
            lines += f"Content-Length: {length}\r\n"
        if not has_type:
            lines += f"Content-Type: {sniff(_first_bytes(response))}\r\n"
    elif not has_length and status not in _BODYLESS:
        lines += _framing(request, length)
    return lines


def _framing(request: Request, length: int | None) -> str:
    """How a body ends that is empty, of unknown length, or left out (HEAD)."""
    if length is None:
        return "" if request.is_http10 or request.method == "HEAD" else "Transfer-Encoding: chunked\r\n"
    return f"Content-Length: {length}\r\n" if length or request.method != "HEAD" else ""


def _first_bytes(response: Response) -> Bytes:
    """What the type of a body is guessed from; nothing of one that comes in pieces."""
    body = response.body
    if isinstance(body, FilePart):
        return body.file.read(body.start, min(SNIFFED_BYTES, body.length))
    return b"" if isinstance(body, Pieces) else body[:SNIFFED_BYTES]


def _without_line_ends(headers: list[Header]) -> str:
    """The same lines when a name or a value holds line ends, which would begin a header of their own."""
    lines = ""
    for name, value in headers:
        plain = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        if not ("\r" in name or "\n" in name):
            lines += f"{name}: {plain.replace(chr(13), ' ').replace(chr(10), ' ').strip()}\r\n"
    return lines
