"""The `less-sync` command: `serve`, `token`, and the commands that sync and share a folder.

Modules that a command alone needs are imported inside it, so that `less-sync token` answers at once.
"""

import re
import shlex
import shutil
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from less_sync.bins.commands.folder import add_commands
from less_sync.bins.commands.space import add_space_commands
from less_sync.bins.errors import CommandError, print_error

if TYPE_CHECKING:
    from less_sync.bins.settings.config import Settings
    from less_sync.bins.settings.parts import ListenAddress

TTL_S_MAX: Final = 10 * 365 * 86_400

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TTL: Final = re.compile(r"([0-9]{1,9})([smhd]?)\Z", re.ASCII)

app: Final = typer.Typer(
    name="less-sync",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the console command. Exit status: 0 done, 1 failure, 2 usage error, 130 interrupted."""
    try:
        app()
    except CommandError as error:
        print_error(str(error), error.causes)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"less-sync {version('less-sync')}")
        raise typer.Exit


@app.callback()
def less_sync(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Local-first, end-to-end-encrypted sync: the server, and folders kept in sync through it."""


@app.command()
def serve(
    *,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDR", help="LISTEN_ADDR: address and port, port 0 for a free one.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="DATABASE_URL: a Postgres; without it one is brought along."),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="DATA_DIR: where the server keeps its own things.")
    ] = None,
    trusted_issuers: Annotated[
        str | None, typer.Option(metavar="URLS", help="TRUSTED_ISSUERS: whose tokens are accepted.")
    ] = None,
    audiences: Annotated[
        str | None, typer.Option(metavar="NAMES", help="AUDIENCES: for whom tokens must be meant.")
    ] = None,
    dev: Annotated[
        bool,
        typer.Option("--dev", help="Accept the tokens of `less-sync token` and no others; loopback only."),
    ] = False,
    database_max_connections: Annotated[
        str | None, typer.Option(metavar="N", help="DATABASE_MAX_CONNECTIONS")
    ] = None,
    push_lanes: Annotated[str | None, typer.Option(metavar="N", help="PUSH_LANES")] = None,
    shutdown_grace_seconds: Annotated[
        str | None, typer.Option(metavar="N", help="SHUTDOWN_GRACE_SECONDS")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="LOG_LEVEL: off, error, warn, info, debug, trace.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="LOG_FORMAT: text or json.")
    ] = None,
    perf_mode: Annotated[
        bool, typer.Option("--perf-mode", help="PERF_MODE: for load tests, no connection and rate limits.")
    ] = False,
) -> None:
    """Start the server. An option wins over the variable it names; docs/settings.md lists all variables.

    Without DATABASE_URL the server starts a Postgres of its own in the data directory, and without
    TRUSTED_ISSUERS too it runs in dev mode: `less-sync token --user alice` mints tokens for it.
    """
    from less_sync.bins.server import run_server

    options = {
        "LISTEN_ADDR": listen,
        "DATABASE_URL": database_url,
        "DATA_DIR": data_dir,
        "TRUSTED_ISSUERS": trusted_issuers,
        "AUDIENCES": audiences,
        "DATABASE_MAX_CONNECTIONS": database_max_connections,
        "PUSH_LANES": push_lanes,
        "SHUTDOWN_GRACE_SECONDS": shutdown_grace_seconds,
        "LOG_LEVEL": log_level,
        "LOG_FORMAT": log_format,
        "PERF_MODE": "true" if perf_mode else None,
    }
    settings = _settings({name: value for name, value in options.items() if value is not None}, dev=dev)
    status = run_server(settings, lambda address: _print_banner(settings, address))
    raise typer.Exit(status)


def _settings(options: dict[str, str], *, dev: bool) -> "Settings":
    from less_sync.bins.settings.config import ConfigError, Settings, environment

    try:
        return Settings.from_env({**environment(), **options}, embedded=True, dev=dev)
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        raise typer.Exit(1) from None


def _print_banner(settings: "Settings", address: "ListenAddress") -> None:
    """What somebody who just started a server needs next. On standard error: standard output is the log."""
    lines = [f"less-sync listens on http://{address}"]
    if settings.database.url is None or settings.dev:
        lines.append(f"data directory: {Path(settings.data_dir).absolute()}")
    if settings.dev:
        lines[0] += " in dev mode: for this machine and tokens minted here"
        # The variable may be set in this terminal alone, so only the built-in default goes without saying.
        where = [] if settings.data_dir == Path("data") else ["--data-dir", str(settings.data_dir)]
        lines.append(f"mint a token:   {shlex.join([*_own_name(), 'token', '--user', 'alice', *where])}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _own_name() -> list[str]:
    """How this command can be called again from here: by name if that finds it, else by its path."""
    program = Path(sys.argv[0])
    if program.suffix == ".py":  # started as `python -m less_sync.bins.commands.main`
        return [sys.executable, "-m", "less_sync.bins.commands.main"]
    found = shutil.which("less-sync")
    if found and program.exists() and Path(found).samefile(program):
        return ["less-sync"]
    absolute = program.absolute()
    return [str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)]


@app.command()
def token(
    *,
    user: Annotated[str, typer.Option(metavar="NAME", help="Whose token: any name, made up on the spot.")],
    ttl: Annotated[str, typer.Option(metavar="TIME", help="Its life: seconds, or 90m, 24h, 7d.")] = "24h",
    did: Annotated[
        str | None, typer.Option(metavar="DID", help="Instead of the did:key of the user's own key.")
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="DATA_DIR", metavar="DIR", help="The server's data directory.")
    ] = Path("data"),
) -> None:
    """Mint a token for a server in dev mode and print it. Whoever can read its data directory can do this."""
    from less_sync.bins.dev import DevIssuer
    from less_sync.client.kept_key import KeyFileError

    life_s = parse_ttl(ttl, option="--ttl")
    is_new = not (data_dir / "dev").exists()
    try:
        minted = DevIssuer(data_dir).mint(user, now=datetime.now(UTC), ttl_s=life_s, did=did)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--user") from error
    if is_new:
        note = f"note: {data_dir} had no issuer yet; only a server with this data directory takes the token"
        print(note, file=sys.stderr)
    print(minted)


def parse_ttl(text: str, *, option: str) -> int:
    """Seconds of `90`, `90m`, `24h`, `7d`; anything else is a usage error of `option`."""
    match = _TTL.match(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= TTL_S_MAX:
        raise typer.BadParameter("a number of seconds, or 90m, 24h, 7d; at most ten years", param_hint=option)
    return seconds


add_commands(app)
add_space_commands(app)


if __name__ == "__main__":
    main()
