"""The pictures of the page, and redirects of paths that are not clean (docs/volume.md, section 3.8)."""

from html import escape
from pathlib import Path
from typing import Final

from less_sync.volume.http.handlers import Immediate
from less_sync.volume.http.paths import clean, escape_path
from less_sync.volume.http.ranges import InvalidRangeError, fits, multipart, parse_ranges
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Header, Response, plain_text

FAVICON: Final = "/favicon.ico"
STATIC: Final = "/seaweedfsstatic"
HTML: Final = "text/html; charset=utf-8"
_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".ico": "image/x-icon", ".png": "image/png"}


class StaticHandler(Immediate):
    """Serves the files, whole or in ranges, whatever the method. They are read once, at the first request."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def begin(self, request: Request) -> Response:
        """The file, or a text that says that there is none."""
        if not self._files:
            self._files = {
                f"/{path.name}": path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES
            }
        name = request.path.removeprefix(STATIC)
        content = self._files.get(name)
        if content is None:
            return plain_text(404, "404 page not found")
        return _ranged(request, content, _TYPES[Path(name).suffix])


def _ranged(request: Request, content: bytes, media_type: str) -> Response:
    headers: list[Header] = [("Accept-Ranges", "bytes"), ("Content-Type", media_type)]
    asked = request.header(b"range")
    size = len(content)
    if asked is None:
        return _whole(request, headers, content)
    try:
        ranges = parse_ranges(asked.decode("latin-1"), size)
        if any(not one.length for one in ranges):
            raise InvalidRangeError("invalid range")
    except InvalidRangeError as fault:
        return plain_text(416, str(fault), [("Content-Range", f"bytes */{size}")])
    if not ranges or not fits(ranges, size):
        return _whole(request, headers, content)
    if len(ranges) == 1:
        start, length = ranges[0]
        partial: Header = ("Content-Range", ranges[0].content_range(size))
        return Response(206, [headers[0], partial, headers[1]], content[start : start + length])
    framed = multipart(ranges, size, media_type)
    parts = [
        piece
        for head, (start, length) in zip(framed.heads, ranges, strict=True)
        for piece in (head, content[start : start + length])
    ]
    return Response(206, [headers[0], ("Content-Type", framed.content_type)], b"".join((*parts, framed.end)))


def _whole(request: Request, headers: list[Header], content: bytes) -> Response:
    return Response(200, headers, content)


class CleanHandler(Immediate):
    """Sends a client to the clean form of its path; the body of a write is not read."""

    def begin(self, request: Request) -> Response:
        """The redirect."""
        location = escape_path(f"{STATIC}/" if request.path == STATIC else clean(request.path))
        if request.query:
            location += f"?{request.query}"
        headers: list[Header] = [("Location", location)]
        if request.method not in ("GET", "HEAD"):
            return Response(307, headers)
        headers.append(("Content-Type", HTML))
        link = f'<a href="{escape(location)}">Temporary Redirect</a>.\n\n'
        return Response(307, headers, link.encode("utf-8", "surrogateescape"))
