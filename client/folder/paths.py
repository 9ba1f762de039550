"""Which names a synced file may have, and how a conflict copy is called.

A path comes out of a record that anybody with the key could have written, on a system with other rules than
this one. It is used only when it cannot leave the folder, cannot reach `.less-sync/`, and means the same file
on every system: relative, `/` between names, NFC, no `.` or `..`, no control characters.
"""

import unicodedata
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

STATE_DIR: Final = ".less-sync"
_NAME_BYTES_MAX: Final = 255
_PATH_BYTES_MAX: Final = 3072


def path_problem(path: str) -> str | None:
    """Say why a path may not be synced, or None when it may. The text completes '<path>: ...'."""
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    if len(encoded) > _PATH_BYTES_MAX:
        return f"the path is longer than {_PATH_BYTES_MAX} bytes"
    if any(character < " " or character == "\x7f" for character in path):
        return "the name has control characters"
    if unicodedata.normalize("NFC", path) != path:
        return "the name is not in Unicode normal form C"
    for name in path.split("/"):
        problem = _name_problem(name)
        if problem is not None:
            return problem
    return None


def _name_problem(name: str) -> str | None:
    if name in ("", ".", ".."):
        return "the path is absolute, empty or leads out of the folder"
    if len(name.encode("utf-8")) > _NAME_BYTES_MAX:
        return f"a name is longer than {_NAME_BYTES_MAX} bytes"
    if is_state_dir(name):
        return f"{STATE_DIR} belongs to the command itself"
    return None


def is_state_dir(name: str) -> bool:
    """Whether some file system takes `name` for `.less-sync`: case, invisible or full-width characters."""
    visible = "".join(character for character in name if unicodedata.category(character) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold().rstrip(" .")
    return folded == STATE_DIR


def shown(path: str) -> str:
    """A path fit for a terminal: control characters and undecodable bytes are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in path
    )


def conflict_path(path: str, at: datetime, attempt: int = 1) -> str:
    """Name the copy that keeps an edit which lost: `name (conflict YYYY-MM-DD HHMMSS).ext`.

    From the second `attempt` on a number follows the time. A stem that would make the name too long is cut
    at a character's end.
    """
    original = PurePosixPath(path)
    number = f" {attempt}" if attempt > 1 else ""
    mark = f" (conflict {at:%Y-%m-%d %H%M%S}{number})"
    suffix = original.suffix if len(original.suffix.encode()) < 64 else ""
    stem = original.name.removesuffix(suffix)
    room = _NAME_BYTES_MAX - len((mark + suffix).encode())
    stem = stem.encode()[:room].decode("utf-8", errors="ignore")
    return str(original.with_name(stem + mark + suffix))
