"""Becomes a program of the embedded Postgres; run as a script, never imported by the server.

`python -I -S launcher.py PARENT LOCK_FD UID GID PROGRAM [ARGUMENT ...]`

Between fork and exec of an asyncio program little Python may run safely, so the server starts this file,
which prepares its own process and then *is* the program (same pid). It
1. takes the two locks on the open file LOCK_FD by which a later server knows who is alive: a record lock
   (fcntl), which belongs to this process alone and so names the postmaster's pid, and a flock, which its
   children share;
2. as root gives up every right but one: it becomes UID and GID and keeps `CAP_DAC_OVERRIDE` as an ambient
   capability, so that Postgres, which refuses to run as root, still reaches a data directory below a 0700
   home;
3. asks the kernel for SIGINT (to Postgres: fast shutdown) when the server that started it dies, however it
dies.

A failure is one line on standard error (the log of Postgres) and exit status 70.
"""

import ctypes
import fcntl
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAP_DAC_OVERRIDE: Final = 1
_CAPABILITY_VERSION_3: Final = 0x20080522
_EXIT_FAILED: Final = 70


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _has_dac_override() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_DAC_OVERRIDE & 1)
    return False


def _become(libc: ctypes.CDLL, *, uid: int, gid: int) -> None:
    keep = _has_dac_override()
    if keep:
        _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep:
        bit = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        # effective, permitted, inheritable; once for the low and once for the high 32 capabilities
        sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        _checked(libc.capset(header, sets), "reduce capabilities")
        _checked(
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0),
            "pass on CAP_DAC_OVERRIDE",
        )


def _follow_parent(libc: ctypes.CDLL, parent: int) -> None:
    # After the change of user: that clears the request.
    _checked(libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0), "follow the server")
    if os.getppid() != parent:  # it died before the request was made
        raise ProcessLookupError("the server that started this is gone")


def main(arguments: list[str]) -> None:
    """Prepare this process as the module says and replace it with the program."""
    parent, lock_fd, uid, gid = (int(text) for text in arguments[:4])
    os.umask(0o077)
    fcntl.lockf(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.set_inheritable(lock_fd, True)
    # A server started in the background of a script ignores these; Postgres must obey them.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    is_linux = os.uname().sysname == "Linux"
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        if not is_linux:
            raise PermissionError("Postgres does not run as root; start the server as an ordinary user")
        _become(libc, uid=uid, gid=gid)
    if is_linux:
        _follow_parent(libc, parent)
    os.execv(arguments[4], arguments[4:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, AttributeError) as error:
        print(f"FATAL:  cannot start {os.path.basename(sys.argv[5])}: {error}", file=sys.stderr)
        sys.exit(_EXIT_FAILED)
