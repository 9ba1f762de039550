"""Paths as they were sent: exact and case-sensitive, fixed parts never decoded, dots never resolved."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

_PARAMETER: Final = re.compile(r"\{\w+\}")


class PathTemplate:
    """A path in which each `{name}` stands for one segment, as in `/spaces/{space_id}/files/{id}`.

    The last segment must have a character; one in the middle may be empty. No parameters: that path alone.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        *middle, last = _PARAMETER.split(text)
        pattern = "([^/]*)".join(re.escape(part) for part in middle)
        if middle:
            pattern += "([^/]+)" if not last else "([^/]*)"
        self._pattern = re.compile((pattern + re.escape(last)).encode())

    def match(self, raw_path: bytes) -> tuple[bytes, ...] | None:
        """The segments that the parameters stand for, as sent; None if it is another path."""
        found = self._pattern.fullmatch(raw_path)
        return None if found is None else found.groups()


def decoded(segment: bytes) -> str | None:
    """A segment without its percent-encoding (RFC 3986 2.1); None if the result is not UTF-8.

    A `%` that no two hexadecimal digits follow stands for itself.
    """
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return None


FILE_PATH: Final = PathTemplate("/api/v1/spaces/{space_id}/files/{id}")
PEER_FILE_PATH: Final = PathTemplate("/api/v1/federation/spaces/{space_id}/files/{id}")
"""The same file, for other servers."""


class FilePath(NamedTuple):
    """What the path of a file says; None stands for a segment that is not UTF-8."""

    space: str | None
    file: str | None


def match_file_path(raw_path: bytes, template: PathTemplate = FILE_PATH) -> FilePath | None:
    """The two identifiers in the path of a file, decoded and not looked at; None if it is another path."""
    segments = template.match(raw_path)
    return None if segments is None else FilePath(*map(decoded, segments))
