"""The program `less-sync-server`: the server as deployments of the existing one start it.

It is configured by the environment, and by the file of `ENV_FILE`, and has no Postgres of its own and no dev
mode. Under whatever other name it is linked, it is the same.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.output import watched_output
from less_sync.bins.commands.serve import serving
from less_sync.bins.errors import CommandError, print_error
from less_sync.bins.hangups import hold_hangups
from less_sync.bins.heap import hold_collector
from less_sync.bins.installed import server_parts
from less_sync.client.folder.errors import INTERRUPTED, ExitCode

USAGE: Final = f"""\
Usage: {{name}} [-perf-mode] [--pprof-addr ADDR]

Starts the server with the settings of the environment (docs/settings.md): DATABASE_URL is needed, and
TRUSTED_ISSUERS or ISSUERS_FILE. `less-sync serve` has more options, and works without any setting.

  -perf-mode, --perf-mode  for load tests: no connection and rate limits (PERF_MODE)
  --pprof-addr ADDR        where the profiler listens, loopback only (PPROF_ADDR)
  --version                show the version and exit
  -h, --help               show this and exit

{exit_codes(ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE)}
"""


class _Shown(Exception):
    """Something is to be printed instead of a start."""


class WrongUsage(Exception):
    """The line is not understood."""


def parse_line(arguments: Sequence[str], name: str) -> dict[str, str]:
    """Read a command line into variables; of an option that comes twice the last counts."""
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        match argument:
            case "-perf-mode" | "--perf-mode":
                options["PERF_MODE"] = "true"
            case "--version":
                raise _Shown(f"less-sync {version('less-sync')}")
            case "-h" | "--help":
                raise _Shown(USAGE.format(name=name).rstrip())
            case _ if option == "--pprof-addr":
                options["PPROF_ADDR"] = value if equals else _value_of(rest)
            case _:
                raise WrongUsage
    return options


def _value_of(rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None or value.startswith("-"):
        raise WrongUsage
    return value


def run(arguments: Sequence[str], name: str) -> int:
    """Do what the line says, until a signal; return the exit status.

    Raises:
        CommandError: the start failed, or something vital ended.
    """
    try:
        options = parse_line(arguments, name)
    except _Shown as shown:
        print(shown)
        return ExitCode.OK
    except WrongUsage:
        print(USAGE.format(name=name), end="", file=sys.stderr)
        return ExitCode.USAGE
    hold_hangups()
    hold_collector()
    with server_parts(name):
        from less_sync.bins.settings.config import ConfigError, read_settings
    try:
        settings = read_settings(options)
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        return ExitCode.FAILURE
    # The log says where it listens; scripts of the existing server expect nothing else.
    serving(name, settings)(settings, lambda _address: None, lambda _address: None)
    return ExitCode.OK


def main() -> None:
    """Run the program. Exit status: 0 stopped in order, 1 failure, 2 usage error."""
    with watched_output() as watch:
        watch.matters = False
        try:
            sys.exit(run(sys.argv[1:], Path(sys.argv[0]).name))
        except CommandError as error:
            print_error(str(error), error.causes)
            sys.exit(ExitCode.FAILURE)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
