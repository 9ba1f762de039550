"""How times are told to people: to the minute, in UTC."""

from datetime import UTC, datetime


def when(at_s: float) -> str:
    """A time given in Unix seconds."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "the end of days"
