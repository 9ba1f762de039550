"""Lists, a page at a time. The cursor is the key of the last row, so rows inserted meanwhile hide none."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from less_sync.auth import MalformedText, b64url_decode, b64url_encode
from less_sync.fleet.api.body import Fields, wrong

LIMIT_MAX: Final = 200
LIMIT: Final = 50
CURSOR_CHARACTERS_MAX: Final = 512

Key = TypeVar("Key", bound=tuple[Any, ...])


def read_page(query: Fields, key: type[Key]) -> tuple[int, Key | None]:
    """`limit` and `cursor` of a query.

    Args:
        key: the type of what the list is ordered by, `tuple[datetime, UUID]` say.

    Returns:
        how many rows are wanted, and behind which one; None: from the beginning.
    """

    def limit(value: object) -> int:
        if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 3:
            raise wrong(f"must be between 1 and {LIMIT_MAX}")
        number = int(value)
        if not 1 <= number <= LIMIT_MAX:
            raise wrong(f"must be between 1 and {LIMIT_MAX}")
        return number

    def cursor(value: object) -> Key:
        try:
            if not isinstance(value, str) or len(value) > CURSOR_CHARACTERS_MAX:
                raise MalformedText
            decoded: Key = msgspec.json.decode(b64url_decode(value), type=key)
            if not all(map(_can_be_asked_for, decoded)):
                raise MalformedText
            return decoded
        except (MalformedText, msgspec.DecodeError):
            raise wrong("not a cursor of this list") from None

    return query.custom("limit", limit) or LIMIT, query.custom("cursor", cursor)


def page(
    name: str, rows: Sequence[Any], limit: int, shown: Callable[[Any], object], key: Callable[[Any], Key]
) -> dict[str, object]:
    """The answer of a list.

    Args:
        rows: one more than `limit`, if there are more.
        shown: what is told of a row.
        key: what the list is ordered by, of a row.
    """
    told = rows[:limit]
    more = len(rows) > limit
    cursor = b64url_encode(msgspec.json.encode(key(told[-1]))) if more else None
    return {name: [shown(row) for row in told], "next_cursor": cursor}


def _can_be_asked_for(part: object) -> bool:
    """Whether the database takes a part of a key: a time in UTC, as cursors have, an integer of 64 bits."""
    if isinstance(part, datetime):
        return part.utcoffset() == timedelta(0)
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return not isinstance(part, str) or "\0" not in part
