"""Becomes a program under the hardening of a systemd unit, as far as the kernel does it without systemd.

`python -m tests.deploy.confined UNIT CALL,CALL... PROGRAM [ARGUMENT ...]`

CALLs are the system calls that the unit leaves (`allowed_calls`). Of the unit are taken the error of the
others, the families of addresses, that no memory is writable and executable, that no new privileges come, the
umask, and the limit of open files. The user, namespaces and mounts stay with whoever starts it.
"""

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.deploy.debian import program

PR_SET_NO_NEW_PRIVS: Final = 38
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
EQUAL: Final = 4
MASKED: Final = 7
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4


class _Compare(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def settings(unit: Path) -> dict[str, list[str]]:
    """What a unit sets, each name with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def allowed_calls(filters: list[str]) -> set[str]:
    """The system calls that these lines of `SystemCallFilter=` leave (systemd.exec(5))."""
    analyze = program("systemd-analyze", "systemd")
    command, env = [str(analyze.path), "syscall-filter", "--no-pager"], {**os.environ, **analyze.environment}
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    sets: dict[str, list[str]] = {}
    for line in told.stdout.splitlines():
        if line.startswith("@"):
            members = sets.setdefault(line.strip(), [])
        elif (name := line.strip()) and not name.startswith("#"):
            members.append(name)
    allowed: set[str] = set()
    for line in filters:
        for word in line.removeprefix("~").split():
            calls = _calls(word, sets)
            allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | _calls("@default", sets)


def _calls(word: str, sets: dict[str, list[str]]) -> set[str]:
    if not word.startswith("@"):
        return {word}
    return {call for member in sets[word] for call in _calls(member, sets)}


class _Filter:
    """A filter of libseccomp: what it does not name fails with the error."""

    def __init__(self, error: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ERRNO | error))
        assert self._context

    def allow(self, name: str, *compared: _Compare) -> None:
        """Let a call through, where its arguments compare so."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # of another kind of machine
        listed = (_Compare * len(compared))(*compared)
        done = self._library.seccomp_rule_add_array(self._context, ALLOW, number, len(compared), listed)
        assert done == 0, (name, done)

    def load(self) -> None:
        """From here on, for this process and what it becomes."""
        done = self._library.seccomp_load(self._context)
        assert done == 0, done


def confine(unit: dict[str, list[str]], calls: set[str]) -> None:
    """Give up what the unit takes away."""
    chosen = _Filter(getattr(errno, unit["SystemCallErrorNumber"][0]))
    for call in calls - {"socket", "mmap", "mprotect", "pkey_mprotect"}:
        chosen.allow(call)
    for family in unit["RestrictAddressFamilies"][0].split():
        chosen.allow("socket", _Compare(0, EQUAL, getattr(socket, family), 0))
    assert unit["MemoryDenyWriteExecute"] == ["yes"]
    for protection in (0, PROT_WRITE, PROT_EXEC):
        chosen.allow("mmap", _Compare(2, MASKED, PROT_WRITE | PROT_EXEC, protection))
    for name in ("mprotect", "pkey_mprotect"):
        chosen.allow(name, _Compare(2, MASKED, PROT_EXEC, 0))
    os.umask(int(unit["UMask"][0], 8))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = int(unit["LimitNOFILE"][0])
    if most == resource.RLIM_INFINITY or most > files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    assert unit["NoNewPrivileges"] == ["yes"]
    done = ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    assert done == 0
    chosen.load()


def main() -> None:
    """See the module."""
    unit, calls, *command = sys.argv[1:]
    confine(settings(Path(unit)), set(calls.split(",")))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
