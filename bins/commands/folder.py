"""The commands of a folder, and `key`. What they need is imported when they run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.client.folder.errors import INTERRUPTED, ExitCode, FolderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from less_sync.client.folder.access import TokenOptions
    from less_sync.client.folder.engine import WatchTimes

_LOOKS: Final = (0, 1, 2, 3, 4, 5, 6, 9, 10, INTERRUPTED)
_PUSHES: Final = (*_LOOKS, ExitCode.DISK_FULL, ExitCode.FOLDER_BUSY)
PULLS: Final = (*_PUSHES, ExitCode.TOO_MANY_DELETIONS)
"""Exit codes of a command that pulls."""
_WATCHES: Final = (0, 1, 2, 4, 5, 6, 7, 8, 9, ExitCode.TOO_MANY_DELETIONS)

DATA_DIR: Final = Path("data")
HERE: Final = Path()

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder.", show_default=False)]
LookedAt = Annotated[
    Path, typer.Argument(metavar="[DIR]", help="The folder; default this one.", show_default=False)
]
Server = Annotated[
    str | None,
    typer.Option(
        envvar="LESS_SYNC_SERVER",
        metavar="URL",
        help="The server; default 127.0.0.1:5379. A host alone is https, port 443.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="LESS_SYNC_INSECURE",
        help="Send the token unencrypted to a server on another machine.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(metavar="JWT", help="A session token; else LESS_SYNC_TOKEN, out of sight of `ps`."),
]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Read the token from here at every connect.")
]
TokenCommand = Annotated[
    str | None, typer.Option(metavar="COMMAND", help="Run this at every connect; it prints the token.")
]
User = Annotated[
    str | None,
    typer.Option(envvar="LESS_SYNC_USER", metavar="NAME", help="Without a token: whose, of a dev server."),
]
DataDir = Annotated[
    Path, typer.Option(envvar="DATA_DIR", metavar="DIR", help="The dev server's data directory.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar="LESS_SYNC_KEY_FILE", metavar="FILE", help="The key file; made when missing. Devices share it."
    ),
]
DidKeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar="LESS_SYNC_DID_KEY_FILE",
        metavar="FILE",
        help="The key behind your DID; default that of --user at a dev server, else less-sync/did.pem.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Go on with another server than the folder was synced with.")
]
AcceptDeletions = Annotated[
    bool, typer.Option("--accept-deletions", help="Delete files here even if it is most of the folder.")
]
StorageAbove = Annotated[
    str | None,
    typer.Option(
        "--file-storage-above",
        envvar="LESS_SYNC_FILE_STORAGE_ABOVE",
        metavar="SIZE",
        help="Content of more than this goes to the server's file storage; default 256KiB, 4MiB at most.",
        show_default=False,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add the folder commands to the umbrella command."""
    app.command(epilog=exit_codes(*_PUSHES))(push)
    app.command(epilog=exit_codes(*PULLS))(pull)
    app.command(epilog=exit_codes(*_WATCHES), short_help="Keep a folder and its space alike, both ways.")(
        watch
    )
    app.command(epilog=exit_codes(*_LOOKS))(status)
    app.command(epilog=exit_codes(*_LOOKS), name="ls")(ls)
    key = typer.Typer(
        name="key",
        help="Carry the key file to another device; show your DID.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name, command in (("export", key_export), ("import", key_import), ("did", key_did)):
        key.command(name, epilog=exit_codes(0, 1, 2))(command)
    app.add_typer(key)


def push(
    folder: Folder,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    key_file: KeyFile = None,
    did_key_file: DidKeyFile = None,
    storage_above: StorageAbove = None,
    json: Json = False,
) -> None:
    """Push what changed in a folder to its space, encrypted.

    Files here are left alone. A file that changed on the server too is named and left for `pull`.
    """
    tokens = (token, token_file, token_command, user, data_dir)
    run_verb(
        "push",
        folder,
        (server, insecure),
        tokens,
        key_file,
        did_key_file,
        json=json,
        dry_run=dry_run,
        yes=yes,
        storage_above=storage_above,
    )


def pull(
    folder: Folder,
    *,
    dry_run: DryRun = False,
    accept_deletions: AcceptDeletions = False,
    yes: Yes = False,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    key_file: KeyFile = None,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Bring a folder up to what is in its space.

    Nothing is pushed. A file that changed on both sides is kept twice: the server's under its name, the one
    from here as `name (conflict DATE TIME).ext`. What is removed or replaced here goes to `less-sync trash`.
    """
    tokens = (token, token_file, token_command, user, data_dir)
    run_verb(
        "pull",
        folder,
        (server, insecure),
        tokens,
        key_file,
        did_key_file,
        json=json,
        dry_run=dry_run,
        yes=yes,
        accept_deletions=accept_deletions,
    )


def watch(
    folder: Folder,
    *,
    accept_deletions: AcceptDeletions = False,
    yes: Yes = False,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    key_file: KeyFile = None,
    did_key_file: DidKeyFile = None,
    storage_above: StorageAbove = None,
    json: Json = False,
    interval: Annotated[
        float, typer.Option(min=0.05, max=3600, metavar="SECONDS", help="How often to look at the folder.")
    ] = 2.0,
) -> None:
    """Keep a folder and its space alike, both ways, until Ctrl-C.

    Survives restarts of the server, and with --token-file, --token-command or --user also the end of a token.
    """
    from less_sync.client.folder.engine import WatchTimes

    tokens = (token, token_file, token_command, user, data_dir)
    times = WatchTimes(scan_interval_s=interval)
    run_verb(
        "watch",
        folder,
        (server, insecure),
        tokens,
        key_file,
        did_key_file,
        json=json,
        times=times,
        yes=yes,
        accept_deletions=accept_deletions,
        storage_above=storage_above,
    )


def status(
    folder: LookedAt = HERE,
    *,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    key_file: KeyFile = None,
    did_key_file: DidKeyFile = None,
    storage_above: StorageAbove = None,
    json: Json = False,
) -> None:
    """Say what a folder and its space differ in.

    That is what is to push, to pull, and in conflict. Tells the server, the space, its epoch and the person
    too. Changes nothing, and works beside a `watch`.
    """
    tokens = (token, token_file, token_command, user, data_dir)
    run_verb(
        "status",
        folder,
        (server, insecure),
        tokens,
        key_file,
        did_key_file,
        json=json,
        storage_above=storage_above,
    )


def ls(
    folder: LookedAt = HERE,
    *,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    key_file: KeyFile = None,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """List the files of a folder's space.

    Size, time and path, as the server has them. The files are read for it, as a pull would.
    """
    tokens = (token, token_file, token_command, user, data_dir)
    run_verb("ls", folder, (server, insecure), tokens, key_file, did_key_file, json=json)


def key_export(
    file: Annotated[Path | None, typer.Argument(help="Write here instead of printing.")] = None,
    *,
    key_file: KeyFile = None,
) -> None:
    """Print the key, or write it to a new file with mode 0600. Whoever has it can read your files."""
    from less_sync.client.folder.errors import UsageProblem
    from less_sync.client.folder.keyfile import default_key_path, load_key, save_key

    path = key_file or default_key_path()
    try:
        try:
            key = load_key(path)
        except FileNotFoundError:
            raise UsageProblem(
                f"there is no key file {path} yet", "the first push, pull or watch makes it"
            ) from None
        if file is None:
            print(key.line())
        elif not save_key(file, key):
            raise UsageProblem(f"{file} exists already")
    except FolderError as error:
        fail(error)


def key_import(
    file: Annotated[Path | None, typer.Argument(help="Read from here instead of standard input.")] = None,
    *,
    key_file: KeyFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another key; it is kept beside.")] = False,
) -> None:
    """Take over the key of another device."""
    from less_sync.client.folder.errors import UsageProblem
    from less_sync.client.folder.keyfile import default_key_path, import_key, load_key, parse_key

    path = key_file or default_key_path()
    try:
        try:
            key = parse_key(sys.stdin.read(4096)) if file is None or str(file) == "-" else load_key(file)
        except FileNotFoundError:
            raise UsageProblem(f"there is no file {file}") from None
        kept = import_key(path, key, force=force)
    except FolderError as error:
        fail(error)
    print(f"key {key.fingerprint} is in {path}")
    if kept is not None:
        print(f"the former one is in {kept}")


def key_did(
    *,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
) -> None:
    """Print your DID, by which others let you in.

    Makes its key if there is none.
    """
    from less_sync.bins.dev import DevPeople
    from less_sync.client.sharing.person import person_from

    issuer = DevPeople.found_in(data_dir)
    try:
        print(person_from(did_key_file, user=user, issuer=issuer, make=True).did)
    except FolderError as error:
        fail(error)


def token_options(
    token: str | None, file: Path | None, command: str | None, user: str | None, data_dir: Path
) -> "TokenOptions":
    """Options about tokens with what the environment adds."""
    from less_sync.bins.dev import DevPeople
    from less_sync.bins.settings.config import environment
    from less_sync.client.folder.access import TokenOptions

    if token is None and file is None and command is None:
        token = environment().get("LESS_SYNC_TOKEN") or None
    return TokenOptions(token, file, command, user, data_dir, DevPeople.found_in(data_dir))


def run_verb(
    verb: str,
    folder: Path,
    server: tuple[str | None, bool],
    tokens: tuple[str | None, Path | None, str | None, str | None, Path],
    key_file: Path | None,
    did_key_file: Path | None,
    *,
    json: bool,
    times: "WatchTimes | None" = None,
    dry_run: bool = False,
    accept_deletions: bool = False,
    yes: bool = False,
    storage_above: str | None = None,
) -> NoReturn:
    """Run a folder command and exit with its code."""
    from less_sync.client.folder.access import ServerOption
    from less_sync.client.folder.changes import FILE_STORAGE_ABOVE_BYTES
    from less_sync.client.folder.engine import WatchTimes
    from less_sync.client.folder.job import Job, Verb
    from less_sync.client.folder.keyfile import default_key_path
    from less_sync.client.folder.report import JsonReporter, TextReporter
    from less_sync.client.folder.run import run_job
    from less_sync.client.folder.sizes import parse_size

    try:
        above_bytes = FILE_STORAGE_ABOVE_BYTES if storage_above is None else parse_size(storage_above)
    except FolderError as error:
        fail(error, as_json=json)
    job = Job(
        verb=Verb(verb),
        folder=folder,
        server=ServerOption(*server),
        tokens=token_options(*tokens),
        key_file=key_file or default_key_path(),
        did_key_file=did_key_file,
        times=times or WatchTimes(),
        confirm=_confirm(yes=yes, json=json),
        dry_run=dry_run,
        accept_deletions=accept_deletions,
        storage_above_bytes=above_bytes,
    )
    to_do = job.looks
    raise typer.Exit(run_job(job, JsonReporter(to_do=to_do) if json else TextReporter(to_do=to_do)))


def _confirm(*, yes: bool, json: bool) -> "Callable[[str], bool] | None":
    """How a question is answered: by --yes, by who sits at the terminal, or by nobody."""
    if yes:
        return lambda _: True
    if json or not sys.stdin.isatty():
        return None
    return _ask


def _ask(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def fail(error: FolderError, *, as_json: bool = False) -> NoReturn:
    """Print the error of a command and exit with its code."""
    from less_sync.client.folder.report import JsonReporter, TextReporter

    (JsonReporter() if as_json else TextReporter()).fail(error)
    raise typer.Exit(int(error.exit_code))
