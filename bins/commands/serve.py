"""The command `serve`: options to settings, and what somebody who just started a server needs next."""

import shlex
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from less_sync.bins.commands.setting_options import settings_or_exit
from less_sync.bins.hangups import hold_hangups
from less_sync.bins.heap import hold_collector
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from less_sync.bins.settings.config import Settings
    from less_sync.bins.settings.parts import ListenAddress

    Announce = Callable[[ListenAddress], None]


def serve(*, options: "Mapping[str, str]", dev: bool) -> None:
    """Start the server. An option wins over the variable it names; docs/settings.md lists all variables.

    Without DATABASE_URL the server starts a Postgres of its own in the data directory; without issuers too
    (TRUSTED_ISSUERS, ISSUERS_FILE) it runs in dev mode: `less-sync token --user alice` mints tokens for it.
    """
    hold_hangups()
    hold_collector()
    with server_parts("less-sync serve"):
        settings = settings_or_exit(options, dev=dev)
    run = serving("less-sync serve", settings)
    run(settings, partial(_print_banner, settings), partial(_print_admin_address, settings))


def serving(command: str, settings: "Settings") -> "Callable[[Settings, Announce, Announce], None]":
    """What serves with these settings: this process alone, or workers that it supervises.

    Raises:
        CommandError: what that needs is not installed.
    """
    # Whoever asks for new workers before the first ones are there, or where there are none, ends no server.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with server_parts(command):
        if settings.cluster.workers > 1:
            from less_sync.bins.node import run_node

            return run_node
        from less_sync.bins.server import run_server

        return run_server


def _print_banner(settings: "Settings", address: "ListenAddress") -> None:
    """What somebody who just started a server needs next. On standard error: standard output is the log."""
    lines = [f"less-sync listens on http://{address}"]
    if settings.database.url is None or settings.dev:
        lines.append(f"data directory: {Path(settings.data_dir).absolute()}")
    if settings.dev:
        from less_sync.bins.dev import dev_start_secret

        lines[0] += " in dev mode: for this machine and tokens minted here"
        # A browser sends nobody what follows the #. The server has kept it before it listened.
        lines.append(f"start page:     http://{address}/#{dev_start_secret(settings.data_dir)}")
        # The variable may be set in this terminal alone, so only the built-in default goes without saying.
        where = [] if settings.data_dir == Path("data") else ["--data-dir", str(settings.data_dir)]
        lines.append(f"mint a token:   {shlex.join([*own_name(), 'token', '--user', 'alice', *where])}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _print_admin_address(settings: "Settings", address: "ListenAddress") -> None:
    """In dev mode the port is another one each time; else the operator has chosen it."""
    if settings.dev:
        print(f"for operators:  http://{address}/", file=sys.stderr, flush=True)


def own_name() -> list[str]:
    """How this command can be called again from here: by name if that finds it, else by its path."""
    program = Path(sys.argv[0])
    if program.suffix == ".py":  # started as `python -m less_sync.bins.commands.main`
        return [sys.executable, "-m", "less_sync.bins.commands.main"]
    found = shutil.which("less-sync")
    if found and program.exists() and Path(found).samefile(program):
        return ["less-sync"]
    absolute = program.absolute()
    return [str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)]
