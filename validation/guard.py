"""Becomes a program that must not outlive whoever started it; run as a script, never imported.

`python -I -S guard.py PARENT PROGRAM [ARGUMENT ...]`

On Linux the kernel is asked for SIGTERM when the parent dies, however it dies; elsewhere the program is just
started. A failure is one line on standard error, and exit status 127 if there is no such program.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_EXIT_NOT_FOUND: Final = 127


def main(arguments: list[str]) -> None:
    """Ask for the signal and become the program."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            raise SystemExit(1)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(_EXIT_NOT_FOUND) from None


if __name__ == "__main__":
    main(sys.argv[1:])
