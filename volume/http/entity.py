"""The headers of a file that is read, and which part of it is sent."""

import json
import re
from collections.abc import AsyncGenerator
from typing import Final

from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.needle import Needle
from less_sync.volume.http.conditions import http_date
from less_sync.volume.http.content import Content, Held, Owned, Stored, several
from less_sync.volume.http.disposition import content_disposition
from less_sync.volume.http.mime import Types
from less_sync.volume.http.paths import text
from less_sync.volume.http.ranges import InvalidRangeError, fits, multipart, parse_ranges
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Header, Pieces, Response, plain_text
from less_sync.volume.http.sniff import SNIFFED_BYTES, sniff

MADE_RANGES_MAX: Final = 16
"""Ranges of what is inflated or collected while it is sent: each of them begins from the start."""

Headers = dict[str, str]
"""By the name in the form in which it is sent."""

_PASSED_THROUGH: Final = {
    f"response-{name.lower()}": name
    for name in (
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Expires",
    )
}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = frozenset(
    ("Connection", "Content-Length", "Date", "Server", "Transfer-Encoding", "X-Amz-Request-Id")
)
"""What a stored pair may not replace: the framing, and what every answer has."""


def first_headers(needle: Needle) -> Headers:
    """Entity tag and time of a needle, then its pairs, which may replace both."""
    headers = {"Etag": f'"{needle.checksum:08x}"'}
    if needle.last_modified:
        headers["Last-Modified"] = http_date(needle.last_modified)
    if needle.pairs:
        headers.update(pairs_as_headers(needle.pairs))
    return headers


def pairs_as_headers(pairs: bytes) -> Headers:
    """The headers that a needle's pairs stand for; none if they are no JSON object of texts."""
    try:
        told = json.loads(pairs)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        return {}
    named = {
        "-".join(part.capitalize() for part in name.split("-")): value
        for name, value in told.items()
        if _TOKEN.fullmatch(name)
    }
    return {name: value for name, value in named.items() if name not in _OWN}


def stored_type(mime: str) -> str:
    """A stored type, unless it is the one that says nothing."""
    return "" if mime.startswith("application/octet-stream") else mime


def describe(request: Request, headers: Headers, name: str, mime: str, types: Types) -> str:
    """Add type, name and what the query asks for.

    Args:
        mime: the stored type; empty or `application/octet-stream` lets the name decide.

    Returns:
        The type, for the parts of several ranges; empty if it has to be guessed.
    """
    type_ = stored_type(mime) or (types.of_name(name) if name else "")
    if type_:
        headers["Content-Type"] = type_
    headers["Accept-Ranges"] = "bytes"
    if not request.query:
        if name and "Content-Disposition" not in headers:
            headers["Content-Disposition"] = content_disposition(name)
        return type_
    for parameter, values in request.params.items():
        passed = _PASSED_THROUGH.get(parameter.lower())
        if passed is not None:
            headers[passed] = values[0]
    if name and not headers.get("Content-Disposition"):
        headers["Content-Disposition"] = content_disposition(name, request.param("dl"))
    return type_


def usual_lines(  # values and not a needle: making one costs a usual read a twentieth of its time
    stored_name: bytes, mime: bytes, modified: int, checksum: int, data: Bytes, types: Types
) -> str:
    """Header lines of a whole file in memory that has no pairs, for a request without query and name.

    They say what `first_headers` and `describe` say, with length and type, and cost a third of that: most
    reads are of this kind. Empty if a value may not stand in a header.
    """
    name = text(stored_name)
    type_ = stored_type(text(mime)) or (types.of_name(name) if name else "") or sniff(data)
    if not type_.isprintable():
        return ""
    named = f"Content-Disposition: {content_disposition(name)}\r\n" if name else ""
    changed = f"Last-Modified: {http_date(modified)}\r\n" if modified else ""
    return (
        f"Accept-Ranges: bytes\r\n{named}Content-Length: {len(data)}\r\nContent-Type: {type_}\r\n"
        f'Etag: "{checksum:08x}"\r\n{changed}'
    )


def respond(request: Request, headers: Headers, content: Content, part_type: str) -> Response:
    """Answer with all of a content, with what `Range` asks for, or with its length for a HEAD.

    The content belongs to the answer, or is released. `part_type` stands in the parts of several ranges.
    """
    size = content.size
    if request.method == "HEAD":
        content.release()
        return Response(200, [*headers.items(), ("Content-Length", str(size))])
    asked = request.fields.get(b"range")
    if not asked:
        return _part(200, headers, content, 0, size)
    try:
        ranges = parse_ranges(text(asked), size)
        if len(ranges) > MADE_RANGES_MAX and not isinstance(content, Held | Stored):
            raise InvalidRangeError("invalid range")
    except InvalidRangeError as error:
        content.release()
        kept: list[Header] = [
            header for header in headers.items() if header[0] not in ("Content-Type", "Content-Encoding")
        ]
        return plain_text(416, str(error), kept)
    if not ranges or not fits(ranges, size):
        return _part(200, headers, content, 0, 0)
    if len(ranges) == 1:
        headers["Content-Range"] = ranges[0].content_range(size)
        return _part(206, headers, content, *ranges[0])
    framed = multipart(ranges, size, part_type)
    headers["Content-Type"] = framed.content_type
    return Response(206, list(headers.items()), several(content, ranges, framed))


async def peeked(response: Response) -> Response:
    """Guess the type of a body that comes in pieces from its first bytes, if nothing else told it.

    A body that is sent whole is asked for its first piece even if its type is known, so that what fails at
    once is still answered with an error.

    Raises:
        Exception: whatever the pieces raise, if all of them were to be sent; the body is closed then.
    """
    body = response.body
    if not isinstance(body, Pieces):
        return response
    is_typed = any(name in ("Content-Type", "Content-Encoding") for name, _ in response.headers)
    if is_typed and response.status == 206:
        return response
    pieces = body.pieces
    assert isinstance(pieces, AsyncGenerator)
    first = bytearray()
    fault: Exception | None = None
    try:
        async for piece in pieces:
            first += piece
            if len(first) >= SNIFFED_BYTES:
                break
    except Exception as error:
        if response.status != 206:
            await pieces.aclose()
            raise
        fault = error
    except BaseException:
        await pieces.aclose()
        raise
    if first and not is_typed:
        response.headers.append(("Content-Type", sniff(first)))
    response.body = Pieces(Owned(_rest(first, pieces, fault), pieces.aclose), body.length)
    return response


def _part(status: int, headers: Headers, content: Content, start: int, length: int) -> Response:
    if not length:
        content.release()
        return Response(status, list(headers.items()))
    return Response(status, list(headers.items()), content.part(start, length))


async def _rest(
    first: Bytes, pieces: AsyncGenerator[Bytes], fault: Exception | None
) -> AsyncGenerator[Bytes]:
    yield first
    if fault is not None:
        raise fault
    async for piece in pieces:
        yield piece
