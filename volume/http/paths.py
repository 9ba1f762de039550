"""What a path names: a volume, a needle, a file name and an extension (docs/volume.md, section 3.2).

Texts stay as the client wrote them: a token names them letter by letter, and an error shows them. Reading
them as numbers is `format.fid`'s part.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

PATH_SAFE: Final = "$&+,/:;=@"
"""What stays as it is in a path, beside letters, digits and `-._~`."""
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")


class Named(NamedTuple):
    """The four parts of a path; each may be empty. The extension begins with its dot."""

    vid: str
    fid: str
    filename: str
    extension: str


NOTHING: Final = Named("", "", "", "")
"""Of a path whose parts contradict each other: neither text can be read as a number."""


def split_path(path: str) -> Named:
    """Take a decoded path apart, by the number of slashes in it.

    `/vid/fid/name` keeps the fid whole; `/vid/fid.ext` and `/vid,fid.ext` cut it at its last dot. A path with
    another number of slashes counts by its last segment alone, which must have no slash before it but the
    first to name a needle.
    """
    slashes = path.count("/")
    if slashes == 1 and path[0] == "/":
        return _split_segment(path[1:])
    if slashes == 2:
        _, vid, fid = path.split("/")
        dot = fid.rfind(".")
        return Named(vid, fid[:dot], "", fid[dot:]) if dot > 0 else Named(vid, fid, "", "")
    if slashes == 3:
        _, vid, fid, name = path.split("/")
        dot = name.rfind(".")
        return Named(vid, fid, name, name[dot:] if dot >= 0 else "")
    segment = path[path.rfind("/") + 1 :]
    return NOTHING if "," in segment else Named(segment, "", "", "")


def _split_segment(segment: str) -> Named:
    comma = segment.rfind(",")
    if comma <= 0:
        return Named(segment, "", "", "")
    dot = segment.rfind(".")
    if dot < 0:
        return Named(segment[:comma], segment[comma + 1 :], "", "")
    if dot < comma:
        return NOTHING
    return Named(segment[:comma], segment[comma + 1 : dot], "", segment[dot:])


def write_fid(path: str) -> str:
    """What a write takes for the needle: behind the last comma of the whole path, up to a dot behind it.

    Without a comma that is the path from its start, so that `/3/01637037d6` can be read and not written.
    """
    start = path.rfind(",") + 1
    dot = path.rfind(".")
    return path[start:dot] if dot > start else path[start:]


def unescape(raw: bytes, *, plus: bool = False) -> bytes:
    """Undo percent-encoding; with `plus` a plus sign is a blank.

    Raises:
        ValueError: a percent sign without two hexadecimal digits behind it.
    """
    if plus:
        raw = raw.replace(b"+", b" ")
    return _ESCAPE.sub(_unescaped, raw) if b"%" in raw else raw


def _unescaped(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None:
        raise ValueError("a percent sign without two digits")
    return bytes((int(digits, 16),))


def text(raw: bytes) -> str:
    """Bytes of a path or a query as text; those that are no UTF-8 become lone surrogates, and bytes again."""
    return raw.decode("utf-8", "surrogateescape")


def raw_bytes(text: str) -> bytes:
    """The bytes that `text` came from."""
    return text.encode("utf-8", "surrogateescape")


def escape_path(path: str) -> str:
    """A decoded path as it stands in a URL."""
    return quote_from_bytes(raw_bytes(path), PATH_SAFE)


def is_unclean(path: str) -> bool:
    """Whether a path that begins with a slash has empty, `.` or `..` elements."""
    return ("//" in path or "/." in path) and clean(path) != path


def clean(path: str) -> str:
    """The shortest path that means the same; a slash at the end stays.

    Elements above the root vanish. RFC 3986 section 5.2.4, and empty elements are removed too.
    """
    kept: list[str] = []
    for element in path.split("/"):
        if element == "..":
            del kept[-1:]
        elif element not in ("", "."):
            kept.append(element)
    joined = "/" + "/".join(kept)
    return joined + "/" if path.endswith("/") and joined != "/" else joined
