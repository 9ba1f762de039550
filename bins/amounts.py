"""Amounts, ages and tables as operators read them."""

from collections.abc import Sequence
from typing import Final

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")


def shown_bytes(count: int) -> str:
    """A number of bytes in the unit that leaves it between 1 and 1024: `12 B`, `4.2 MiB`."""
    value, unit = float(count), "B"
    for larger in _UNITS:
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 file`, `1,200 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def shown_age(seconds: float) -> str:
    """How long ago something was: `8.0 days`, `2.0 h`, `5 min`."""
    if seconds >= 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(0, int(seconds / 60))} min"


def share(part: int, whole: int) -> str:
    """A part in percent of the whole: `4.2 %`."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, their columns below each other and two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
