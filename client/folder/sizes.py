"""Sizes as people write them."""

import re
from typing import Final

from less_sync.client.folder.errors import UsageProblem

_SIZE: Final = re.compile(r"([0-9]{1,12}) ?(|B|KiB|MiB|GiB)", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


def parse_size(text: str) -> int:
    """Bytes of `256 KiB`, `1MiB`, `0` and the like.

    Raises:
        UsageProblem: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageProblem(f"not a size: {text}", "for example 256KiB or 1MiB")
    return int(found[1]) * _UNITS[found[2].lower()]
