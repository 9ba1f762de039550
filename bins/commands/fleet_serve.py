"""The command `fleet serve`: options to settings, and what somebody who just started a plane needs next."""

import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from less_sync.bins.commands.serve import own_name
from less_sync.bins.commands.setting_options import SettingOption
from less_sync.bins.errors import print_error
from less_sync.bins.hangups import hold_hangups
from less_sync.bins.heap import hold_collector
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from less_sync.bins.settings.fleet import FleetServer
    from less_sync.bins.settings.parts import ListenAddress

OPTIONS: Final = (
    SettingOption("FLEET_LISTEN_ADDR", "listen", "ADDR", "address and port, port 0 for a free one."),
    SettingOption("DATABASE_URL", "database-url", "URL", "a Postgres; without it one is brought along."),
    SettingOption("DATA_DIR", "data-dir", "DIR", "the plane's own things are in fleet/ below it."),
    SettingOption("FLEET_PUBLIC_URL", "public-url", "URL", "how agents and browsers reach the plane."),
    SettingOption("FLEET_ADMIN_ADDR", "admin-addr", "ADDR", "where /metrics and /readyz are."),
    SettingOption("LOG_LEVEL", "log-level", "LEVEL", "off, error, warn, info, debug, trace."),
    SettingOption("LOG_FORMAT", "log-format", "FORMAT", "text or json."),
    SettingOption("ENV_FILE", "env-file", "FILE", "variables; they win over the others."),
)
DEFAULT_URL: Final = "http://127.0.0.1:5380"
"""Where the other commands look for a plane that they are not told of."""


def serve(*, options: Mapping[str, str]) -> None:
    """Start the fleet plane. An option wins over the variable it names; docs/settings.md lists all variables.

    Without DATABASE_URL it runs in dev mode: with a Postgres and keys of its own in fleet/ of the data
    directory, on loopback. With it, MANAGEMENT_KEY, FLEET_SECRET_KEY and FLEET_PUBLIC_URL are needed.
    """
    hold_hangups()
    hold_collector()
    try:
        with server_parts("less-sync fleet serve"):
            from less_sync.bins.settings.config import ConfigError
            from less_sync.bins.settings.fleet import read_fleet_settings
        settings = read_fleet_settings(options)
        with server_parts("less-sync fleet serve"):
            from less_sync.bins.fleet import run_fleet
        run_fleet(settings, partial(_print_banner, settings), partial(_print_admin_address, settings))
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        sys.exit(1)


def _print_banner(settings: "FleetServer", address: "ListenAddress") -> None:
    """On standard error: standard output is the log."""
    print("\n".join(banner(settings, address, own_name())), file=sys.stderr, flush=True)


def banner(settings: "FleetServer", address: "ListenAddress", program: list[str]) -> list[str]:
    """What somebody who just started a plane needs next.

    Args:
        address: the one really bound.
        program: how this command can be called again.
    """
    from less_sync.bins.fleet_keys import MANAGEMENT_KEY_FILE, SECRET_KEY_FILE

    url = settings.public_url(address)
    mode = ""
    where = [] if url == DEFAULT_URL else ["--url", url]
    kept_key = not settings.plane.management_keys[0]
    if kept_key and settings.data_dir != Path("data/fleet"):
        where += ["--data-dir", str(settings.data_dir.parent)]
    lines = []
    if settings.dev:
        mode = " in dev mode: with a database and keys of its own"
        lines.append(f"data directory:  {settings.data_dir.absolute()}")
    if kept_key:
        lines.append(f"management key:  {(settings.data_dir / MANAGEMENT_KEY_FILE).absolute()}")
    if not settings.plane.secret_keys[0]:
        lines.append(f"secret key:      {(settings.data_dir / SECRET_KEY_FILE).absolute()} (keep a copy)")
    if not kept_key:
        lines.append("management key:  LESS_SYNC_FLEET_KEY tells it to the commands below")
    return [
        f"the fleet plane listens on http://{address}{mode}",
        *lines,
        f"pages:           {url}/admin/",
        f"first operator:  {shlex.join([*program, 'fleet', 'admin', 'create', 'alice', *where])}",
        f"enrol a server:  {shlex.join([*program, 'fleet', 'enrol', *where])}",
    ]


def _print_admin_address(settings: "FleetServer", address: "ListenAddress") -> None:
    """In dev mode the port is another one each time; else somebody has chosen it."""
    if settings.dev:
        print(f"for tools:       http://{address}/metrics", file=sys.stderr, flush=True)
