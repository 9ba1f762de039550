"""How a command fails: `Error:` on standard error, and why, without a traceback (docs/operations.md 3.2)."""

import sys
from collections.abc import Sequence


class CommandError(Exception):
    """A command cannot do its work. `str()` is worded for the operator; `causes` are shown indented below."""

    def __init__(self, message: str, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


def print_error(message: str, causes: Sequence[str] = ()) -> None:
    """Write one `Error:` block to standard error; several causes are numbered."""
    lines = [f"Error: {message}"]
    if causes:
        lines += ["", "Caused by:"]
        numbered = len(causes) > 1
        lines += [f"    {f'{i}: ' if numbered else ''}{cause}" for i, cause in enumerate(causes)]
    print("\n".join(lines), file=sys.stderr, flush=True)
