"""Record ids: stricter than other UUID texts, and kept as text.

Spaces and the like are read by `auth.parse_uuid`, which takes four spellings (docs/protocol.md 3.6).
"""

import re
from typing import Final

_STRICT: Final = re.compile(
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
).fullmatch


def parse_record_id(text: str) -> str | None:
    """Return the one spelling of a record id: 36 characters, lower case, hyphens at 8, 13, 18 and 23.

    Either case is accepted, nothing else (docs/protocol.md 3.6); None for anything else. Equal texts are
    equal ids. Text and no `UUID`: the driver packs it, and encoders write it, at a fraction of the cost.
    """
    return text.lower() if _STRICT(text) else None
