"""The type of a file by its first bytes, guessed in the order of existing servers (WHATWG MIME Sniffing)."""

import re
from typing import Final

from less_sync.volume.format.checksums import Bytes

SNIFFED_BYTES: Final = 512
"""Nothing behind these is looked at."""
PLAIN: Final = "text/plain; charset=utf-8"
UNKNOWN: Final = "application/octet-stream"

_BLANK: Final = b"\t\n\x0c\r "
_HTML: Final = re.compile(
    rb"<(?:(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--)[ >])",
    re.IGNORECASE,
)
_CONTROL: Final = bytes((*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
"""Bytes that no text has."""

_BEFORE_MP4: Final = (
    (rb"%PDF-", "application/pdf"),
    (rb"%!PS-Adobe-", "application/postscript"),
    (rb"\xfe\xff..", "text/plain; charset=utf-16be"),
    (rb"\xff\xfe..", "text/plain; charset=utf-16le"),
    (rb"\xef\xbb\xbf.", PLAIN),
    (rb"\x00\x00[\x01\x02]\x00", "image/x-icon"),
    (rb"BM", "image/bmp"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBPVP", "image/webp"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"FORM....AIFF", "audio/aiff"),
    (rb"ID3", "audio/mpeg"),
    (rb"OggS\x00", "application/ogg"),
    (rb"MThd\x00\x00\x00\x06", "audio/midi"),
    (rb"RIFF....AVI ", "video/avi"),
    (rb"RIFF....WAVE", "audio/wave"),
)
_AFTER_MP4: Final = (
    (rb"\x1a\x45\xdf\xa3", "video/webm"),
    (rb".{34}LP", "application/vnd.ms-fontobject"),
    (rb"\x00\x01\x00\x00", "font/ttf"),
    (rb"OTTO", "font/otf"),
    (rb"ttcf", "font/collection"),
    (rb"wOFF", "font/woff"),
    (rb"wOF2", "font/woff2"),
    (rb"\x1f\x8b\x08", "application/x-gzip"),
    (rb"PK\x03\x04", "application/zip"),
    (rb"Rar!\x1a\x07(?:\x00|\x01\x00)", "application/x-rar-compressed"),
    (rb"\x00asm", "application/wasm"),
)


def _either(table: tuple[tuple[bytes, str], ...]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(" + pattern + b")" for pattern, _ in table), re.DOTALL)


_FIRST: Final = _either(_BEFORE_MP4)
_LATER: Final = _either(_AFTER_MP4)
_BEGINNINGS: Final = frozenset(b"%\xfe\xff\xef\x00BGR\x89FIOM\x1aotwP\x1f")
"""First bytes of all signatures that have one; most files begin otherwise, and need no search."""


def sniff(data: Bytes) -> str:
    """The MIME type of a file that begins with `data`; of no bytes it is plain text.

    Only leading white space may stand before the tags of HTML and XML. Bytes from 0x80 on count as text.
    """
    head = bytes(data[:SNIFFED_BYTES])
    stripped = head.lstrip(_BLANK)
    if stripped.startswith(b"<"):
        if _HTML.match(stripped):
            return "text/html; charset=utf-8"
        if stripped.startswith(b"<?xml"):
            return "text/xml; charset=utf-8"
    if (head and head[0] in _BEGINNINGS) or head[34:36] == b"LP":
        found = _FIRST.match(head)
        if found:
            return _BEFORE_MP4[(found.lastindex or 0) - 1][1]
        # The size of the box comes first, and fits into 512 bytes: its first byte is 0.
        if head[4:8] == b"ftyp" and _is_mp4(head):
            return "video/mp4"
        found = _LATER.match(head)
        if found:
            return _AFTER_MP4[(found.lastindex or 0) - 1][1]
    return PLAIN if len(stripped.translate(None, _CONTROL)) == len(stripped) else UNKNOWN


def _is_mp4(head: bytes) -> bool:
    """Whether the first box lies in `head` whole and names a brand that begins with `mp4`."""
    box_bytes = int.from_bytes(head[:4], "big")
    if len(head) < 12 or len(head) < box_bytes or box_bytes % 4:
        return False
    # Four bytes of a version stand between the first brand and the others.
    return any(head[at : at + 3] == b"mp4" for at in range(8, box_bytes, 4) if at != 12)
