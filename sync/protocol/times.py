"""Times as results spell them (docs/protocol.md 7.9)."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(microseconds: int) -> str:
    """Return RFC 3339 text in UTC of a time given in microseconds since 1970.

    Ends in `Z`. A fraction stands there only when it is not zero, without trailing zeros: at most 6 digits.

    Raises:
        OverflowError: outside of the years 1 to 9999.
    """
    text = (_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"
