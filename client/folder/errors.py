"""What can stop a folder command, and the exit code each cause has.

    FolderError                 1   anything else that stops the work
    ├── UsageProblem            2   the command cannot mean this folder, key or option
    ├── KeyMismatch             4   the records were encrypted with another key file
    ├── TokenProblem            5   no token, or the server refused it
    ├── ServerDown              6   the server cannot be reached
    ├── DiskFull                7   no space left; nothing was lost
    ├── FolderBusy              8   another command works in the same folder
    ├── AccessLost              9   a shared space does not let us in (any more)
    └── TooManyDeletions       11   a pull would have deleted most of the folder

Exit codes 3 and 10 are no errors of this kind: the work is done, except for the files that were named. They
were skipped, or the server shows an older version of them than this device has seen.
"""

from enum import IntEnum
from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""Exit code of a command that was stopped before its end, as shells give it for Ctrl-C."""


class ExitCode(IntEnum):
    """Exit codes of the folder commands, `key` and `space`; stable, listed in `--help` and documented."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    SKIPPED = 3
    KEY_MISMATCH = 4
    TOKEN_REFUSED = 5
    SERVER_UNREACHABLE = 6
    DISK_FULL = 7
    FOLDER_BUSY = 8
    ACCESS_LOST = 9
    ROLLED_BACK = 10
    TOO_MANY_DELETIONS = 11


class FolderError(Exception):
    """The work cannot go on. `str()` is one sentence for the user, `hint` what they can do about it."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageProblem(FolderError):
    """The folder, the key file or an option is not what the command needs."""

    exit_code = ExitCode.USAGE


class KeyMismatch(FolderError):
    """The space holds records that this key file does not decrypt."""

    exit_code = ExitCode.KEY_MISMATCH


class TokenProblem(FolderError):
    """No token could be had, or the server refused the one that was sent."""

    exit_code = ExitCode.TOKEN_REFUSED


class ServerDown(FolderError):
    """The server cannot be reached, or went away and did not come back."""

    exit_code = ExitCode.SERVER_UNREACHABLE


class DiskFull(FolderError):
    """The disk (or the quota on it) has no space left."""

    exit_code = ExitCode.DISK_FULL


class FolderBusy(FolderError):
    """Another command holds the folder's lock."""

    exit_code = ExitCode.FOLDER_BUSY


class AccessLost(FolderError):
    """The server refuses this member of a shared space: revoked, expired, or never let in."""

    exit_code = ExitCode.ACCESS_LOST


class TooManyDeletions(FolderError):
    """A pull would delete more than half of the folder; nothing was deleted."""

    exit_code = ExitCode.TOO_MANY_DELETIONS
