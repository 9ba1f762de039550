"""What the exit codes of the commands mean, in words: each command lists those it can return."""

from typing import Final

from less_sync.client.folder.errors import INTERRUPTED, ExitCode

WORDS: Final[dict[int, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.SKIPPED: "done but files were skipped",
    ExitCode.KEY_MISMATCH: "another key file is needed",
    ExitCode.TOKEN_REFUSED: "token refused",
    ExitCode.SERVER_UNREACHABLE: "server unreachable",
    ExitCode.DISK_FULL: "disk full",
    ExitCode.FOLDER_BUSY: "folder in use",
    ExitCode.ACCESS_LOST: "no access to the shared space",
    ExitCode.ROLLED_BACK: "the server shows older versions than seen before",
    ExitCode.TOO_MANY_DELETIONS: "too many deletions, none was made",
    INTERRUPTED: "interrupted",
}


def exit_codes(*codes: int) -> str:
    """The line of a command's help about its exit codes, in their order."""
    return f"Exit codes: {', '.join(f'{int(code)} {WORDS[code]}' for code in sorted(codes))}."
