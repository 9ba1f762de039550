"""`GET /admin/`: the pages for operators (docs/fleet.md 10).

Files of `fleet/ui/`, read once. A request's path is looked up in a map and never made into the name of a
file: there is nothing to walk out of. The pages speak to the same routes as everybody else.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from less_sync.fleet.api.call import Answer, Call
from less_sync.fleet.api.routing import Route
from less_sync.fleet.errors import not_found

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

INDEX: Final = "index.html"
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
"""By the end of a file's name."""
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The pages are made of files of this plane alone, and nobody frames them (CSP level 3)."""
_HEADERS: Final = (
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", CONTENT_POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
)


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    media_type: str
    etag: str


@cache
def _assets() -> Mapping[str, _Asset]:
    found = {}
    for entry in files("less_sync.fleet").joinpath("ui").iterdir():
        media_type = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            content = entry.read_bytes()
            found[entry.name] = _Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


async def page(_plane: "Plane", call: Call) -> Answer:
    """A file, 304 to a browser that has it (RFC 9110 8.8.3).

    Raises:
        Refused: 404, there is no such file.
    """
    asset = _assets().get(call.params.get("file", INDEX))
    if asset is None:
        raise not_found("page")
    headers = [*_HEADERS, ("ETag", asset.etag)]
    known = {tag.strip().removeprefix("W/") for tag in (call.header(b"if-none-match") or "").split(",")}
    if asset.etag in known:
        return Answer(304, headers=headers)
    return Answer(200, asset.content, [*headers, ("Content-Type", asset.media_type)])


ROUTES: Final = (
    Route("GET", "/admin/", page, quiet=True),
    Route("GET", "/admin/{file}", page, quiet=True),
)
