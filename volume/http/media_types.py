"""Header values of the form `type; name=value`: `Content-Type` and `Content-Disposition`.

RFC 2045 section 5.1 and RFC 2231, read as leniently as existing servers read them. Bytes in, bytes out.
"""

import re
from typing import Final, NamedTuple

from less_sync.volume.http.paths import unescape

PARAMETERS_MAX: Final = 100
CONTINUATIONS_MAX: Final = 100
_TOKEN: Final = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_TYPE: Final = re.compile(rb"%b(?:/%b)?" % (_TOKEN, _TOKEN))
_PARAMETER: Final = re.compile(
    rb'\s*;\s*(%b)\s*=\s*(?:(%b)|"((?:[^"\\\r\n]++|\\[^\r\n])*+)")' % (_TOKEN, _TOKEN)
)
_NEEDLESSLY_QUOTED: Final = re.compile(rb'\\([()<>@,;:\\"/\[\]?=])')
"""A backslash counts only before a character that a token may not have: old browsers send whole Windows paths
with bare backslashes."""


class MediaTypeError(ValueError):
    """It is no such value; the text says why as existing servers do."""


class MediaType(NamedTuple):
    """The type and the names of the parameters are in lower case."""

    type: str
    parameters: dict[str, bytes]


def parse(value: bytes) -> MediaType:
    """Take a header value apart.

    Raises:
        MediaTypeError: the type or a parameter is malformed, or a parameter comes twice with two values.
    """
    base = value.partition(b";")[0]
    type_ = base.strip().lower()
    if _TYPE.fullmatch(type_) is None:
        raise MediaTypeError(_refusal(type_))
    plain: dict[str, bytes] = {}
    extended: dict[str, dict[str, bytes]] = {}
    at = len(base)
    for _ in range(PARAMETERS_MAX):
        found = _PARAMETER.match(value, at)
        if found is None:
            break
        at = found.end()
        name = found[1].decode("ascii").lower()
        content = found[2] if found[2] is not None else _NEEDLESSLY_QUOTED.sub(rb"\1", found[3])
        stem, star, _ = name.partition("*")
        known = extended.setdefault(stem, {}) if star else plain
        if known.setdefault(name, content) != content:
            raise MediaTypeError("mime: duplicate parameter name")
    if value[at:].strip() not in (b"", b";"):
        raise MediaTypeError("mime: invalid media parameter")
    for stem, pieces in extended.items():
        if (joined := _joined(stem, pieces)) is not None:
            plain[stem] = joined
    return MediaType(type_.decode("ascii"), plain)


def _refusal(type_: bytes) -> str:
    if re.match(_TOKEN, type_) is None:
        return "mime: no media type"
    if (slash := re.match(rb"%b/" % _TOKEN, type_)) is None:
        return "mime: expected slash after first token"
    if re.match(_TOKEN, type_[slash.end() :]) is None:
        return "mime: expected token after slash"
    return "mime: unexpected content after media subtype"


def _joined(stem: str, pieces: dict[str, bytes]) -> bytes | None:
    """RFC 2231: `stem*` alone, or `stem*0`, `stem*1*`, ... one after another; None if there is neither."""
    whole = pieces.get(f"{stem}*")
    if whole is not None:
        return _with_charset(whole)
    collected: list[bytes] = []
    for number in range(CONTINUATIONS_MAX):
        piece = pieces.get(f"{stem}*{number}")
        if piece is not None:
            collected.append(piece)
            continue
        piece = pieces.get(f"{stem}*{number}*")
        if piece is None:
            break
        collected.append((_with_charset(piece) if number == 0 else _unescaped(piece)) or b"")
    return b"".join(collected) if collected else None


def _with_charset(value: bytes) -> bytes | None:
    """Decode `utf-8'language'percent-encoded`; None for another character set."""
    charset, quote, rest = value.partition(b"'")
    _, second, text = rest.partition(b"'")
    if not quote or not second or charset.lower() not in (b"us-ascii", b"utf-8"):
        return None
    return _unescaped(text)


def _unescaped(value: bytes) -> bytes | None:
    try:
        return unescape(value)
    except ValueError:
        return None
