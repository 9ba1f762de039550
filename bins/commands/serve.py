"""The command `serve`: options to settings, and what somebody who just started a server needs next."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from less_sync.bins.errors import print_error
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from less_sync.bins.settings.config import Settings
    from less_sync.bins.settings.parts import ListenAddress


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
    federation_domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="FEDERATION_DOMAIN: the name other servers know us by.")
    ] = None,
    federation_trusted_keys: Annotated[
        str | None, typer.Option(metavar="KEYS", help="FEDERATION_TRUSTED_KEYS: of the servers we speak to.")
    ] = None,
    database_max_connections: Annotated[
        str | None, typer.Option(metavar="N", help="DATABASE_MAX_CONNECTIONS: for everything but pushes.")
    ] = None,
    push_lanes: Annotated[
        str | None, typer.Option(metavar="N", help="PUSH_LANES: further ones, for pushes.")
    ] = None,
    shutdown_grace_seconds: Annotated[
        str | None, typer.Option(metavar="N", help="SHUTDOWN_GRACE_SECONDS: how long an end may take.")
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
    with server_parts("less-sync serve"):
        from less_sync.bins.server import run_server

    options = {
        "LISTEN_ADDR": listen,
        "DATABASE_URL": database_url,
        "DATA_DIR": data_dir,
        "TRUSTED_ISSUERS": trusted_issuers,
        "AUDIENCES": audiences,
        "FEDERATION_DOMAIN": federation_domain,
        "FEDERATION_TRUSTED_KEYS": federation_trusted_keys,
        "DATABASE_MAX_CONNECTIONS": database_max_connections,
        "PUSH_LANES": push_lanes,
        "SHUTDOWN_GRACE_SECONDS": shutdown_grace_seconds,
        "LOG_LEVEL": log_level,
        "LOG_FORMAT": log_format,
        "PERF_MODE": "true" if perf_mode else None,
    }
    settings = _settings(options, dev=dev)
    run_server(settings, lambda address: _print_banner(settings, address))


def _settings(options: "Mapping[str, str | None]", *, dev: bool) -> "Settings":
    from less_sync.bins.settings.config import ConfigError, Settings, environment

    try:
        given = {name: value for name, value in options.items() if value is not None}
        return Settings.from_env({**environment(), **given}, embedded=True, dev=dev)
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
