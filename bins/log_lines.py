"""The lines of a log, as text or JSON, and how a fault is told in one. Needs nothing slow to import."""

import json
import re
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

EventDict = MutableMapping[str, Any]
_PLAIN: Final = re.compile(r"[^\s\"=\x00-\x1f\x7f]+\Z")
_CAUSES_MAX: Final = 8


def event_of(level: str, message: object, fault: BaseException | None, fields: EventDict) -> EventDict:
    """An event for the two below: time, level and message first; an exception becomes `fault`."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    event: EventDict = {"ts": now, "level": level, "msg": str(message), **fields}
    if fault is not None:
        event["fault"] = describe_fault(fault)
    return event


def describe_fault(error: BaseException) -> str:
    """Kinds and places of an exception and its causes: `StorageError at pool.py:41 in acquire < OSError`.

    Of a group, which says nothing itself, the first member takes the place of the cause.
    """
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(parts) < _CAUSES_MAX:
        frames = traceback.extract_tb(current.__traceback__)
        kind = type(current).__name__
        place = (
            f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
        )
        parts.append(kind + place)
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " < ".join(parts)


class Lines:
    """A stream whose loss (a closed pipe, a full disk) does not disturb what is being logged about."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or lose the text."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            return

    def flush(self) -> None:
        """Flush, or lose what waits."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return


def json_line(event: EventDict) -> str:
    """An event with the keys `ts` (RFC 3339, UTC), `level` and `msg` first."""
    return json.dumps(event, separators=(",", ":"), default=str)


def text_line(event: EventDict) -> str:
    """An event as time, level, message and `key=value` each; consumes it."""
    head = f"{event.pop('ts')} {str(event.pop('level')).upper():5} {_one_line(event.pop('msg'))}"
    return " ".join([head, *(f"{key}={_value(value)}" for key, value in event.items())])


def _value(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
