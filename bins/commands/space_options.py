"""Options and helpers that both modules of `space` commands use."""

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from less_sync.client.folder.errors import INTERRUPTED, ExitCode

if TYPE_CHECKING:
    from less_sync.client.sharing.session import Options, Output

    Work = Callable[[Output], Awaitable[int | None]]

HERE: Final = Path()
ON_THE_SERVER: Final = frozenset(
    {
        ExitCode.OK,
        ExitCode.FAILURE,
        ExitCode.USAGE,
        ExitCode.TOKEN_REFUSED,
        ExitCode.SERVER_UNREACHABLE,
        ExitCode.DISK_FULL,
        ExitCode.FOLDER_BUSY,
        ExitCode.ACCESS_LOST,
        INTERRUPTED,
    }
)
"""Exit codes of what works on the space at the server, and writes what it learns into the folder."""
_TEXT_CHARS_MAX: Final = 256 * 1024

SharedFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of the space; default this one.", show_default=False)
]

Force = Annotated[
    bool, typer.Option("--force", help="Replace the folder's own access; it is kept beside, for `recover`.")
]

Home = Annotated[
    str | None,
    typer.Option(metavar="DOMAIN", help="The space's home server, as the server of whoever enters knows it."),
]


class PermissionName(StrEnum):
    """What a token lets its holder do; each includes those before."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def options_of(
    server: tuple[str | None, bool],
    tokens: tuple[str | None, Path | None, str | None, str | None, Path],
    did_key_file: Path | None,
) -> "Options":
    """What the options of a command say together with the environment."""
    from less_sync.bins.commands.folder import token_options
    from less_sync.client.folder.access import ServerOption
    from less_sync.client.sharing.session import Options

    return Options(ServerOption(*server), token_options(*tokens), did_key_file)


def run(work: "Work", *, as_json: bool, goes_on: bool = False, until_stopped: bool = False) -> None:
    """Run a command and exit with its code; with `goes_on`, return if that is 0."""
    from less_sync.client.sharing.session import run_command

    status = run_command(work, as_json=as_json, until_stopped=until_stopped)
    if status or not goes_on:
        raise typer.Exit(status)


def text_of(argument: str) -> str:
    """The argument itself, or standard input for `-`."""
    return sys.stdin.read(_TEXT_CHARS_MAX) if argument == "-" else argument


def seconds(text: str) -> int:
    """What --expires says."""
    from less_sync.bins.commands.token import parse_ttl

    return parse_ttl(text, option="--expires")
