"""The version that this server tells: that of the existing servers whose behaviour it has."""

from typing import Final

NUMBER: Final = "4.44"
_REACHES: Final = {4: "30GB", 5: "8000GB"}
"""How large a volume may grow, by the width of the offsets in its index."""


def server_version(offset_bytes: int) -> str:
    """`30GB 4.44`, as the header `Server` has it."""
    return f"{_REACHES[offset_bytes]} {NUMBER}"


def version_text(offset_bytes: int) -> str:
    """The same with the commit behind it, which nobody needs and is empty."""
    return server_version(offset_bytes) + " "
