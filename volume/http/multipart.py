"""The body of a multipart upload (RFC 2046 section 5.1, RFC 7578), scanned where it was received.

Nothing is copied: the answer says where the file lies. The file is the first part, unless that has no file
name and a later one has.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from less_sync.volume.format.quoting import quoted
from less_sync.volume.http import media_types

HEAD_BYTES_MAX: Final = 64 << 10
"""Of the head of one part."""
STEPS_MAX: Final = 20_000
"""Lines, parts and lookalikes of the boundary that are looked at in a body: some 30 ms of the event loop."""
LINE_BYTES_MAX: Final = 5120
"""Of a line before the first part."""
QUOTED_BYTES_MAX: Final = 1 << 20
"""Of a part that is sent as quoted-printable, which no program that uploads files does."""
FIELD_BYTES_MAX: Final = 256
"""Of the text of a field; a longer one is passed over."""
FIELDS: Final = ("ts", "ttl", "cm")
"""Text parts that count as parameters of the request."""
_BLANKS: Final = b" \t"
_NAMED_FILE: Final = re.compile(rb'form-data; name="([^"\\]*)"; filename="([^"\\]*)"')
"""What nearly all clients send."""
_TOKEN: Final = rb"[!#$%&\'*+\-.0-9A-Z^_`a-z{|}~]+"
PLAIN_BOUNDARY: Final = re.compile(_TOKEN)
PLAIN_MULTIPART: Final = re.compile(rb"multipart/form-data; boundary=(" + _TOKEN + rb")")
_USUAL: Final = re.compile(
    rb"--([^\r\n]{1,100})\r\nContent-Disposition: form-data; "
    rb'(?:name="[^"\\\x00-\x08\n-\x1f\x7f]{0,255}"; filename="([^"\\/\x00-\x08\n-\x1f\x7f]{1,255})"'
    rb"|filename=([!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,255}); name=file)\r\n"
    rb"(?:Content-Type: ([^\x00-\x20\x7f]{0,255})\r\n)?(?:Idempotency-Key: [!-~]{0,4000}\r\n)?\r\n"
)
"""How a body of one file begins that a usual client sends, browsers first, then SeaweedFS's own tools.
Bounded, because bodies are long."""
_HEADER_NAME: Final = re.compile(rb"[ !#$%&'*+\-.0-9A-Z^_`a-z|~]+")
"""Blanks are tolerated in a name, which then names nothing that is known here."""


_CONTROL: Final = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")


_TOO_LARGE: Final = "multipart: message too large"


class MultipartError(Exception):
    """The body is no multipart body; the text is what the client is told."""


class _TooMuchError(MultipartError):
    """What is behind cannot be looked at any more."""


class _Steps:
    """Counts what is looked at. A body of nothing but boundaries would keep the event loop for minutes."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = STEPS_MAX

    def take(self) -> None:
        """Raise at one too many."""
        self._left -= 1
        if self._left < 0:
            raise _TooMuchError(_TOO_LARGE)


class _CutOffError(MultipartError):
    """The content of `part` has no end."""

    def __init__(self, part: "Part") -> None:
        super().__init__("unexpected EOF")
        self.part: Final = part


@dataclass(slots=True)
class Part:
    """A part: its content is `buffer[start:end]`."""

    start: int = 0
    end: int = 0
    field_name: bytes = b""
    file_name: bytes = b""
    """The last element of the path that was sent; empty if none was."""
    mime: bytes = b""
    md5: bytes = b""
    is_gzip: bool = False
    is_quoted: bool = False
    """Sent as quoted-printable."""


@dataclass(slots=True)
class Form:
    """The file, and the text fields that count as parameters."""

    file: Part
    fields: dict[str, str] = field(default_factory=dict)


def boundary_of(content_type: bytes | None) -> bytes:
    """The boundary that a `Content-Type` tells.

    Raises:
        MultipartError: it is no multipart type, or has no boundary.
    """
    plain = PLAIN_MULTIPART.fullmatch(content_type or b"")
    if plain is not None:
        return plain[1]
    try:
        parsed = media_types.parse(content_type or b"")
    except media_types.MediaTypeError:
        parsed = media_types.MediaType("", {})
    if parsed.type not in ("multipart/form-data", "multipart/mixed"):
        raise MultipartError("request Content-Type isn't multipart/form-data")
    boundary = parsed.parameters.get("boundary")
    if boundary is None:
        raise MultipartError("no multipart boundary param in Content-Type")
    if not boundary:
        raise MultipartError("multipart: boundary is empty")
    return boundary


def scan(buffer: bytearray, start: int, end: int, boundary: bytes) -> Form:
    """Find the file in `buffer[start:end]`. Its part may have been decoded in place.

    What is behind the file is read only for its fields, and may be malformed.

    Raises:
        MultipartError: there is no part, or the file's part or one before it is malformed.
    """
    return scan_usual(buffer, start, end, boundary) or scan_any(buffer, start, end, boundary)


def scan_usual(buffer: bytearray, start: int, end: int, boundary: bytes) -> Form | None:
    """Read a body of one file in the most usual form, five times as fast; None if it is not in that form."""
    head = _USUAL.match(buffer, start, end)
    if head is None or head[1] != boundary:
        return None
    delimiter = b"\r\n--" + boundary
    content_start, content_end = head.end(), end - len(delimiter) - 4
    # The first delimiter must be the last one, at the end of the body; only a search can tell. The check
    # before it is for an empty content, which may lack the line end before its delimiter.
    if not buffer.endswith(b"--\r\n", start, end) or buffer.startswith(delimiter[2:], content_start, end):
        return None
    if buffer.find(delimiter, content_start, end) != content_end:
        return None
    _, quoted_name, plain_name, mime = head.groups()
    return Form(Part(content_start, content_end, file_name=quoted_name or plain_name, mime=mime or b""))


def scan_any(buffer: bytearray, start: int, end: int, boundary: bytes) -> Form:
    """Read a body in any form; for the usual one it tells the same."""
    parts = _parts(buffer, start, end, boundary)
    form = Form(next(parts))
    _take_field(form, form.file, buffer)
    try:
        for part in parts:
            if part.file_name and not form.file.file_name:
                form.file = part
            _take_field(form, part, buffer)
    except MultipartError as fault:
        # What is wrong behind the file does not matter. But the part that is cut off may have been the file,
        # and so may one that was not looked at.
        is_lost = isinstance(fault, _TooMuchError) or (
            isinstance(fault, _CutOffError) and fault.part.file_name
        )
        if is_lost and not form.file.file_name:
            raise
    _decode(form.file, buffer)
    return form


def _parts(buffer: bytearray, start: int, end: int, boundary: bytes) -> Iterator[Part]:
    """The parts in their order.

    Raises:
        MultipartError: at the first thing that is none.
    """
    dashes, steps = b"--" + boundary, _Steps()
    line_end, at = _preamble(buffer, start, end, dashes, steps)
    while at >= 0:
        part = Part()
        part.start = _read_head(part, buffer, at, end, steps)
        part.end = _content_end(buffer, part.start, end, line_end + dashes, steps)
        if part.end < 0:
            raise _CutOffError(part)
        yield part
        at = _next_head(buffer, part.end, end, line_end, dashes)


def _preamble(buffer: bytearray, start: int, end: int, dashes: bytes, steps: _Steps) -> tuple[bytes, int]:
    """Skip what is before the first boundary; tells how lines end, and where the first head begins."""
    at = start
    while at < end:
        steps.take()
        feed = buffer.find(b"\n", at, min(end, at + LINE_BYTES_MAX))
        if feed < 0:
            if end - at > LINE_BYTES_MAX:
                raise MultipartError("multipart: NextPart: bufio: buffer full")
            if _is_last(buffer, at, end, dashes, b"\r\n"):
                raise MultipartError("EOF")
            break
        if buffer.startswith(dashes, at, feed):
            rest = bytes(buffer[at + len(dashes) : feed + 1]).lstrip(_BLANKS)
            if rest in (b"\r\n", b"\n"):
                return rest, feed + 1
            if _is_last(buffer, at, feed + 1, dashes, b"\r\n"):
                raise MultipartError("EOF")
        at = feed + 1
    raise MultipartError("multipart: NextPart: EOF")


def _next_head(buffer: bytearray, at: int, end: int, line_end: bytes, dashes: bytes) -> int:
    """Where the head begins that follows the boundary at `at`; -1 behind the last one."""
    if buffer.startswith(line_end, at):
        at += len(line_end)
    feed = buffer.find(b"\n", at, end)
    stop = feed + 1 if feed >= 0 else end
    if _is_last(buffer, at, stop, dashes, line_end):
        return -1
    rest = bytes(buffer[at + len(dashes) : min(stop, at + len(dashes) + LINE_BYTES_MAX)]).lstrip(_BLANKS)
    if rest != line_end:
        raise MultipartError(
            "multipart: NextPart: EOF" if feed < 0 else "multipart: unexpected line in Next()"
        )
    return stop


def _is_last(buffer: bytearray, at: int, stop: int, dashes: bytes, line_end: bytes) -> bool:
    if not buffer.startswith(dashes + b"--", at, stop):
        return False
    behind = at + len(dashes) + 2
    return bytes(buffer[behind : min(stop, behind + LINE_BYTES_MAX)]).lstrip(_BLANKS) in (b"", line_end)


def _content_end(buffer: bytearray, start: int, end: int, delimiter: bytes, steps: _Steps) -> int:
    """Where the delimiter stands that ends the content; -1 if none does.

    It must be followed by a blank, a line end or two dashes (a longer boundary may begin with this one), or
    by the end of the body. An empty content needs no line end before its delimiter.
    """
    dashes = delimiter.lstrip(b"\r\n") if delimiter[:1] in b"\r\n" else delimiter
    if buffer.startswith(dashes, start, end) and _ends_content(buffer, start + len(dashes), end):
        return start
    at = start
    while (at := buffer.find(delimiter, at, end)) >= 0:
        behind = at + len(delimiter)
        if _ends_content(buffer, behind, end):
            return at
        steps.take()
        at = behind
    return -1


def _ends_content(buffer: bytearray, behind: int, end: int) -> bool:
    return behind == end or buffer[behind] in b" \t\r\n" or buffer.startswith(b"--", behind, end)


def _read_head(part: Part, buffer: bytearray, start: int, end: int, steps: _Steps) -> int:
    """Read the header lines that begin at `start`; tells where the content begins.

    A line that begins with a blank goes on with the line before it (RFC 5322 section 2.2.3).
    """
    at, header, headers = start, b"", dict[bytes, bytes]()
    while at < end:
        steps.take()
        feed = buffer.find(b"\n", at, min(end, start + HEAD_BYTES_MAX))
        if feed < 0 and end - start > HEAD_BYTES_MAX:
            raise MultipartError(_TOO_LARGE)
        line = bytes(buffer[at:feed]).removesuffix(b"\r") if feed >= 0 else bytes(buffer[at:end])
        at = feed + 1 if feed >= 0 else end
        if line[:1] in (b" ", b"\t"):
            if not header:
                raise MultipartError(f"malformed MIME header initial line: {_quoted(line)}")
            header += b" " + line.strip(_BLANKS)
            continue
        if header:
            _take_header(headers, header)
        if not line:
            _describe(part, headers)
            return at
        if b":" not in line:
            raise MultipartError(f"malformed MIME header: missing colon: {_quoted(line)}")
        header = line.strip(_BLANKS)
    if header:
        _take_header(headers, header)
    raise MultipartError("EOF")


def _take_header(headers: dict[bytes, bytes], line: bytes) -> None:
    name, _, value = line.partition(b":")
    if _HEADER_NAME.fullmatch(name) is None:
        raise MultipartError(f"malformed MIME header line: {_quoted(line)}")
    if _CONTROL.search(value) is not None:
        # By then existing servers have brought the name into its usual form.
        usual = name if b" " in name else b"-".join(part.capitalize() for part in name.split(b"-"))
        raise MultipartError(f"malformed MIME header line: {_quoted(usual + b':' + value)}")
    headers.setdefault(name.lower(), value.strip(_BLANKS))


def _describe(part: Part, headers: dict[bytes, bytes]) -> None:
    """Read what the headers say of the part; of repeated ones the first counts."""
    part.mime = headers.get(b"content-type", b"")
    part.md5 = headers.get(b"content-md5", b"")
    part.is_gzip = headers.get(b"content-encoding") == b"gzip"
    part.is_quoted = headers.get(b"content-transfer-encoding", b"").lower() == b"quoted-printable"
    if b"content-disposition" in headers:
        _take_disposition(part, headers[b"content-disposition"])


def _take_disposition(part: Part, value: bytes) -> None:
    usual = _NAMED_FILE.fullmatch(value)
    if usual is not None:
        part.field_name, sent = usual[1], usual[2]
    else:
        try:
            parsed = media_types.parse(value)
        except media_types.MediaTypeError:
            return
        if parsed.type == "form-data":
            part.field_name = parsed.parameters.get("name", b"")
        sent = parsed.parameters.get("filename", b"")
    part.file_name = last_element(sent) if sent else b""


def last_element(path: bytes) -> bytes:
    """The last element of a path whose elements slashes or backslashes part; `/` if there is none."""
    if b"\\" in path:
        path = path.replace(b"\\", b"/")
    return path.rstrip(b"/").rpartition(b"/")[2] or b"/" if b"/" in path else path


def _take_field(form: Form, part: Part, buffer: bytearray) -> None:
    """Keep the text of a field, copied: the record's fields are written over what is behind the file."""
    if part.file_name or part.end - part.start > FIELD_BYTES_MAX:
        return
    name = part.field_name.decode("latin-1")
    if name in FIELDS:
        form.fields.setdefault(name, bytes(buffer[part.start : part.end]).decode("utf-8", "surrogateescape"))


def _decode(part: Part, buffer: bytearray) -> None:
    """Undo quoted-printable where it stands: what it means is never longer than how it is written."""
    if not part.is_quoted:
        return
    if part.end - part.start > QUOTED_BYTES_MAX:
        raise MultipartError(f"quoted-printable: more than {QUOTED_BYTES_MAX} bytes")
    lines = bytes(buffer[part.start : part.end]).split(b"\n")
    # Blanks before a line end were added on the way (RFC 2045 section 6.7, rule 3).
    trimmed = (
        line.rstrip(_BLANKS) if not line.endswith(b"\r") else line[:-1].rstrip(_BLANKS) + b"\r"
        for line in lines
    )
    decoded = binascii.a2b_qp(b"\n".join(trimmed))
    part.end = part.start + len(decoded)
    buffer[part.start : part.end] = decoded


def _quoted(line: bytes) -> str:
    return quoted(line[:LINE_BYTES_MAX].decode("utf-8", "surrogateescape"))
