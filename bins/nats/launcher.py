"""Becomes the private `nats-server`; run as a script, never imported by the server.

`python -I -S launcher.py PARENT UID GID PROGRAM [ARGUMENT ...]`

Between fork and exec of an asyncio program little Python may run safely, so the server starts this file,
which prepares its own process and then *is* the program (same pid). It
1. as root becomes UID and GID for good: the program is opened before, since it may lie below a 0700 home;
2. asks the kernel to kill it when the server that started it dies, however that dies, stopped or not. Nothing
   is lost: a NATS keeps nothing.

A failure is one line on standard error and exit status 70.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_EXIT_FAILED: Final = 70
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def main(arguments: list[str]) -> None:
    """Prepare this process as the module says and replace it with the program."""
    parent, uid, gid = (int(text) for text in arguments[:3])
    program = arguments[3:]
    opened = os.open(program[0], os.O_RDONLY | os.O_CLOEXEC)
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.uname().sysname != "Linux":
        os.execve(program[0], program, _ENVIRONMENT)
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up privileges")
    # After the change of user: that clears the request.
    _checked(libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "follow the server")
    if os.getppid() != parent:  # it died before the request was made
        raise ProcessLookupError("the server that started this is gone")
    os.execve(opened, program, _ENVIRONMENT)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, AttributeError) as error:
        print(f"cannot start nats-server: {error}", file=sys.stderr)
        sys.exit(_EXIT_FAILED)
