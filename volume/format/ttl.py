"""Times to live: two bytes, a count (0 to 255) and a unit. Held here as one number, `count << 8 | unit`."""

from typing import Final

from less_sync.volume.format.errors import FormatError

NO_TTL: Final = 0
_LETTERS: Final = "mhdwMy"
_MINUTE_S: Final = 60
_SECONDS: Final = (60, 3_600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400)
"""Seconds of units 1 to 6: minute, hour, day, week, month, year."""
_COUNT_MAX: Final = 255


def ttl_minutes(ttl: int) -> int:
    """How long that is, in minutes; 0, of no count or an unknown unit, never ends."""
    count, unit = ttl >> 8, ttl & 0xFF
    return count * _SECONDS[unit - 1] // _MINUTE_S if 1 <= unit <= len(_SECONDS) else 0


def ttl_number(ttl: int) -> int:
    """What heartbeats and requests say: 0 when the count is 0, whatever the unit."""
    return ttl if ttl >> 8 else NO_TTL


def ttl_text(ttl: int) -> str:
    """`3d`, say; empty when there is no count or the unit is unknown."""
    count, unit = ttl >> 8, ttl & 0xFF
    return f"{count}{_LETTERS[unit - 1]}" if count and 1 <= unit <= len(_LETTERS) else ""


def parse_ttl(text: str) -> int:
    """Read `3d`, `90` (minutes) or nothing; an unknown unit is no TTL.

    The count is brought to the largest unit that divides it with a count below 256 (`7d` is `1w`), else to
    the first unit in which the truncated count is small enough.

    Raises:
        FormatError: what stands before the unit is no decimal number.
    """
    if not text:
        return NO_TTL
    digits, letter = (text, "m") if text[-1] in "0123456789" else (text[:-1], text[-1])
    unsigned = digits[1:] if digits[:1] in {"+", "-"} else digits
    if not (unsigned.isascii() and unsigned.isdigit()):
        raise FormatError(f'strconv.Atoi: parsing "{digits}": invalid syntax')
    if not -(2**63) <= int(digits) < 2**63:
        raise FormatError(f'strconv.Atoi: parsing "{digits}": value out of range')
    if letter not in _LETTERS:
        return NO_TTL
    return _normalised(int(digits) * _SECONDS[_LETTERS.index(letter)])


def _normalised(seconds: int) -> int:
    if seconds <= 0:
        return NO_TTL
    for unit in range(len(_SECONDS), 1, -1):
        count, rest = divmod(seconds, _SECONDS[unit - 1])
        if not rest and count <= _COUNT_MAX:
            return count << 8 | unit
    for unit, unit_s in enumerate(_SECONDS, start=1):
        if seconds // unit_s <= _COUNT_MAX:
            return (seconds // unit_s) << 8 | unit
    return NO_TTL
