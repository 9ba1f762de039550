"""`Content-Disposition` of a read (RFC 6266, RFC 8187)."""

import string
from typing import Final
from urllib.parse import quote

from less_sync.volume.http.parameters import TRUE

_MARKS: Final = "!#$&+-.^_`{|}~"
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + _MARKS + "%'*")
_PRINTABLE: Final = frozenset(map(chr, (0x09, *range(0x20, 0x7F))))


def content_disposition(name: str, download: str = "") -> str:
    """Value of the header for a file of this name, which may hold bytes as surrogate escapes.

    Args:
        download: query parameter `dl`; when it says true the file is an attachment, else shown inline.
    """
    kind = "attachment" if download in TRUE else "inline"
    if _TOKEN.issuperset(name):
        return f"{kind}; filename={name}"
    if _PRINTABLE.issuperset(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{escaped}"'
    return f"{kind}; filename*=utf-8''{quote(name, safe=_MARKS, errors='surrogateescape')}"
