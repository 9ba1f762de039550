"""File ids: `3,01637037d6` is volume 3, needle 0x01, cookie 0x637037d6."""

import string
from typing import Final

from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.quoting import quoted

COOKIE_DIGITS: Final = 8
KEY_DIGITS_MAX: Final = 24
U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
_HEX: Final = frozenset(string.hexdigits)


def needle_text(id: int, cookie: int) -> str:  # noqa: A002
    """What stands behind the comma: the id without leading zero bytes, then 8 digits of cookie."""
    key = f"{id:x}" if id else ""
    return f"{'0' * (len(key) % 2)}{key}{cookie:08x}"


def parse_number(text: str, largest: int = U64_MAX) -> int:
    """A decimal number without sign or blanks.

    Raises:
        FormatError: it is none, or above `largest`; worded as existing servers do.
    """
    if not (text.isascii() and text.isdigit()):
        raise FormatError(f"strconv.ParseUint: parsing {quoted(text)}: invalid syntax")
    # Thousands of digits would cost seconds; a number with more than 20 significant ones is too large anyway.
    if len(text.lstrip("0")) > 20 or int(text) > largest:
        raise FormatError(f"strconv.ParseUint: parsing {quoted(text)}: value out of range")
    return int(text)


def parse_volume_id(text: str) -> int:
    """A volume id: a decimal number of up to 64 bits, of which the low 32 count.

    Raises:
        FormatError: it is no such number.
    """
    return parse_number(text) & U32_MAX


def parse_key(text: str) -> tuple[int, int]:
    """Id and cookie of the hexadecimal part, without any `_delta`.

    Raises:
        FormatError: too short, too long, or not hexadecimal.
    """
    if len(text) <= COOKIE_DIGITS:
        raise FormatError("KeyHash is too short.")
    if len(text) > KEY_DIGITS_MAX:
        raise FormatError("KeyHash is too long.")
    key, cookie = text[:-COOKIE_DIGITS], text[-COOKIE_DIGITS:]
    return _hexadecimal(key, "needleId", "needle id"), _hexadecimal(cookie, "cookie", "needle cookie")


def _hexadecimal(text: str, name: str, described: str) -> int:
    if not _HEX.issuperset(text):
        raise FormatError(
            f"Parse {name} error: {described} {text} format error: "
            f"strconv.ParseUint: parsing {quoted(text)}: invalid syntax"
        )
    return int(text, 16)


def parse_needle(text: str) -> tuple[int, int]:
    """Id and cookie of what stands behind the comma; a `_7` at its end is added to the id.

    Raises:
        FormatError: it is malformed, or the sum has more than 64 bits.
    """
    if len(text) <= COOKIE_DIGITS:
        raise FormatError(f"Invalid fid: {text}")
    bar = text.rfind("_")
    if bar <= 0:
        return parse_key(text)
    id_, cookie = parse_key(text[:bar])
    delta = parse_number(text[bar + 1 :])
    if id_ + delta > U64_MAX:
        raise FormatError(f"delta {delta} overflows needle id {id_:x}")
    return id_ + delta, cookie


def split_fid(text: str) -> tuple[str, str]:
    """The two sides of the first comma.

    Raises:
        FormatError: there is none, or nothing before it.
    """
    comma = text.find(",")
    if comma <= 0:
        raise FormatError("Wrong fid format.")
    return text[:comma], text[comma + 1 :]
