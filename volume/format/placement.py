"""Replica placement: one byte, 100 x copies in other data centres + 10 x other racks + other servers."""

from typing import NamedTuple

from less_sync.volume.format.errors import FormatError

_DIGITS = 3
_BYTE_MAX = 255


class Placement(NamedTuple):
    """How many further copies a volume has, and where."""

    data_centres: int
    racks: int
    servers: int

    @property
    def copies(self) -> int:
        """All of them, the one here included."""
        return sum(self) + 1


def placement_of(byte: int) -> Placement:
    """The three counts of a byte (255 is 2, 5, 5)."""
    return Placement(byte // 100, byte // 10 % 10, byte % 10)


def placement_text(byte: int) -> str:
    """Three digits."""
    return "".join(str(count) for count in placement_of(byte))


def parse_placement(text: str) -> int:
    """Read up to three digits, padded on the left with 0; what stands behind the third is ignored.

    Raises:
        FormatError: a character below `0`, or a value above 255.
    """
    padded = text.rjust(_DIGITS, "0")
    if any(character < "0" for character in padded):
        raise FormatError(f"unknown replication type: {padded}")
    first, second, third = (ord(character) - ord("0") for character in padded[:_DIGITS])
    value = first * 100 + second * 10 + third
    if value > _BYTE_MAX:
        raise FormatError(f"unexpected replication type: {padded}")
    return value
