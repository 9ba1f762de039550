"""How a command fails: `Error:` on standard error, and why, without a traceback (docs/operations.md 3.2)."""

import os
import sys
from collections.abc import Sequence


class CommandError(Exception):
    """A command cannot do its work. `str()` is worded for the operator; `causes` are shown indented below."""

    def __init__(self, message: str, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


def os_error_text(error: OSError) -> str:
    """The operating system's message and number, as `Address already in use (os error 98)`."""
    # getaddrinfo numbers its failures by itself, below zero.
    if error.errno is not None and error.errno > 0:
        return f"{os.strerror(error.errno)} (os error {error.errno})"
    return error.strerror or str(error)


def with_causes(message: str, causes: Sequence[str]) -> str:
    """The message with its causes below it; several are numbered."""
    lines = [message]
    if causes:
        lines += ["", "Caused by:"]
        numbered = len(causes) > 1
        lines += [f"    {f'{i}: ' if numbered else ''}{cause}" for i, cause in enumerate(causes)]
    return "\n".join(lines)


def print_error(message: str, causes: Sequence[str] = ()) -> None:
    """Write one `Error:` block to standard error."""
    print(f"Error: {with_causes(message, causes)}", file=sys.stderr, flush=True)


def print_warning(message: str) -> None:
    """Write what an operator has to know, though nothing failed, to standard error."""
    print(f"Warning: {message}", file=sys.stderr, flush=True)
