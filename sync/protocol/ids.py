"""Record ids: stricter than other UUID texts, and kept as text.

Spaces and the like are read by `auth.parse_uuid`, which takes four spellings (docs/protocol.md 3.6).
"""

import re
from collections.abc import Sequence
from typing import Final

_RECORD_ID: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_RECORD_ID_CHARS: Final = 36
_STRICT: Final = re.compile(_RECORD_ID).fullmatch
_ALL_STRICT: Final = re.compile(f"{_RECORD_ID}(?:,{_RECORD_ID})*+").fullmatch


def parse_record_id(text: str) -> str | None:
    """Return the one spelling of a record id: 36 characters, lower case, hyphens at 8, 13, 18 and 23.

    Either case is accepted, nothing else (docs/protocol.md 3.6); None for anything else. Equal texts are
    equal ids. Text and no `UUID`: the driver packs it, and encoders write it, at a fraction of the cost.
    """
    return text.lower() if _STRICT(text) else None


def parse_record_ids(texts: Sequence[str]) -> Sequence[str] | None:
    """`parse_record_id` of each text, at a third of the cost.

    None when one of them is no record id, or there are none.
    """
    joined = ",".join(texts)
    # By its length, no text is two ids with a comma between them.
    if len(joined) != _RECORD_ID_CHARS * len(texts) + len(texts) - 1 or not _ALL_STRICT(joined):
        return None
    lower = joined.lower()
    return texts if lower == joined else lower.split(",")
