"""Files that pages are made of: read once, found by their whole path, served from memory.

A request's path is looked up in a map of what was found at the start, and is never made into the name of a
file: there is nothing to walk out of. What lies behind a page is part of this program, so it may be kept by a
browser only as long as the server says that it is still the same (`ETag`, RFC 9110 8.8.3).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
"""By the end of a file's name: what has another one is no part of a page."""
FOLDER_DEPTH_MAX: Final = 4

_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "Asset":
        """A file of this name and content.

        Raises:
            KeyError: the end of its name is none of `MEDIA_TYPES`.
        """
        media_type = MEDIA_TYPES[name[name.rindex(".") :]]
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, request: Request, *, connect: str = "'self'") -> Response:
        """The answer to a GET or HEAD: 304 without content when the client has this version.

        Args:
            connect: what the scripts of a page may talk to, as `content_policy` takes it.
        """
        headers = {**_HEADERS, "Content-Security-Policy": content_policy(connect), "ETag": self.etag}
        known = {
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        }
        if self.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers | {"Content-Type": self.media_type})


def content_policy(connect: str) -> str:
    """A page is made of files of this server alone, and nobody frames it (CSP level 3).

    Args:
        connect: where its scripts may send requests to: sources of `connect-src`, such as `'self'`.
    """
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src {connect}; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def assets_in(folder: str) -> dict[str, Asset]:
    """Every file of `bins/pages/FOLDER` and the folders in it, by path: `index.js`, `sharing/bundle.js`.

    Files of other kinds than `MEDIA_TYPES` are left out.
    """
    return dict(_found(files("less_sync.bins.pages") / folder, "", FOLDER_DEPTH_MAX))


def _found(folder: Traversable, prefix: str, depth_max: int) -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir() and depth_max > 1:
            yield from _found(entry, f"{path}/", depth_max - 1)
        elif entry.is_file() and entry.name.endswith(tuple(MEDIA_TYPES)):
            yield path, Asset.of(entry.name, entry.read_bytes())
