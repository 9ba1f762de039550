"""Standard output that takes no more, for a full disk or a closed pipe: one line, and exit status 1."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from less_sync.bins.errors import print_error


class OutputGone(OSError):
    """Standard output takes no more; `str()` says why.

    It has no error number, by which the command line library would end in silence at a closed pipe.
    """


class _Watched(io.FileIO):
    """The file behind standard output; tells its own failure from all other errors of the system."""

    def write(self, content: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # any buffer
        try:
            return super().write(content)
        except OSError as error:
            raise OutputGone((error.strerror or str(error)).lower()) from error


@dataclass(slots=True)
class Watch:
    """What becomes of a command whose output is lost."""

    matters: bool = True
    """Off for a server, whose log is its output: it does its work without."""


@contextmanager
def watched_output() -> Iterator[Watch]:
    """Run a command within: what it printed is written when this ends, or the process exits with status 1.

    Names of files that the output's encoding does not have are escaped.
    """
    if sys.stdout is None:
        print_error("standard output is closed")
        sys.exit(1)
    former, watch = sys.stdout, Watch()
    number = former.fileno()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Watched(number, "wb", closefd=False)),
        encoding=former.encoding,
        errors="backslashreplace",
        line_buffering=former.isatty(),
    )
    try:
        try:
            yield watch
        finally:
            _flush(number, watch)
    except OutputGone as gone:
        with suppress(OSError):
            print_error(f"cannot write to standard output: {gone}")
        sys.exit(1)


def _flush(number: int, watch: Watch) -> None:
    try:
        sys.stdout.flush()
    except OutputGone:
        # What is left in buffers would fail once more, and aloud, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        if watch.matters:
            raise
