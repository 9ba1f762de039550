"""What a repr tells of a message: ids, numbers and codes as they are; of all else how large it is."""

from typing import Final

from msgspec import Struct

SHOWN_TEXT: Final = frozenset(
    {
        *("id", "space", "spaces", "record_id", "peer"),
        *("error", "reason", "created_at", "expires_at"),
        *("method", "name", "code"),
    }
)
"""The fields whose text is shown. Of a field that is not named here, a new one say, only the size is told."""
_CHARACTERS_MAX: Final = 64
_ENTRIES_MAX: Final = 3
_KEYS_MAX: Final = 8
_DEPTH_MAX: Final = 3


def shown(value: object, name: object = "", *, depth: int = 0) -> str:
    """A value in few words that hold no token, payload or key.

    Args:
        name: of the field that holds it.
        depth: how many lists and maps it lies in; below three of them only counts are told.
    """
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str():
            return _text(value, name)
        case bytes():
            return f"<{len(value)} bytes>"
        case list() if not value or depth < _DEPTH_MAX:
            entries = [shown(entry, name, depth=depth + 1) for entry in value[:_ENTRIES_MAX]]
            more = len(value) - len(entries)
            return f"[{', '.join([*entries, *([f'... {more} more'] if more else [])])}]"
        case dict() if not value or depth < _DEPTH_MAX:
            pairs = list(value.items())[:_KEYS_MAX]
            entries = [f"{_key(key)}: {shown(entry, key, depth=depth + 1)}" for key, entry in pairs]
            more = len(value) - len(entries)
            return "{" + ", ".join([*entries, *([f"... {more} more"] if more else [])]) + "}"
        case list() | dict():
            return f"<{len(value)} entries>"
        case _:
            return repr(value) if isinstance(value, Struct) else f"<{type(value).__name__}>"


def _text(text: str, name: object) -> str:
    is_shown = not text or (name in SHOWN_TEXT and len(text) <= _CHARACTERS_MAX)
    return repr(text) if is_shown else f"<{len(text)} characters>"


def _key(key: object) -> str:
    """The name of a field as it came, which anybody may have chosen."""
    return key if isinstance(key, str) and key.isidentifier() and len(key) <= _CHARACTERS_MAX else shown(key)
