"""Where `less-sync` begins.

A line that only starts a server is read here: the library behind the other commands, its help and its
completion takes as long to load as half of the server. Whatever else is asked goes to it (`app`).
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from less_sync.bins.commands.output import Watch, watched_output
from less_sync.bins.commands.setting_options import OPTIONS
from less_sync.bins.errors import CommandError, print_error


class ServeLine(NamedTuple):
    """What `less-sync serve` was given."""

    options: dict[str, str]
    """By variable. Of an option that comes twice the last counts."""
    dev: bool


def serve_line(arguments: Sequence[str]) -> ServeLine | None:
    """What a line asks for that starts a server and nothing else, read as the library would read it.

    Returns:
        None: the library has to say what it means: another command, help, or a mistake.
    """
    if not arguments or arguments[0] != "serve":
        return None
    flags = {f"--{option.flag}": option for option in OPTIONS}
    options: dict[str, str] = {}
    dev = False
    rest = iter(arguments[1:])
    for argument in rest:
        flag, equals, value = argument.partition("=")
        option = flags.get(flag)
        if argument == "--dev":
            dev = True
        elif option is None:
            return None
        elif option.metavar is None:
            if equals:
                return None
            options[option.variable] = "true"
        else:
            given = value if equals else next(rest, "-")
            if given.startswith("-"):
                return None
            options[option.variable] = given
    return ServeLine(options, dev)


def main() -> None:
    """Run the console command. Exit status: 0 done, 1 failure, 2 usage error, 130 interrupted."""
    with watched_output() as watch:
        try:
            _run(watch)
        except CommandError as error:
            print_error(str(error), error.causes)
            sys.exit(1)
        except KeyboardInterrupt:
            from less_sync.client.folder.errors import INTERRUPTED

            sys.exit(INTERRUPTED)


def _run(watch: Watch) -> None:
    line = serve_line(sys.argv[1:])
    if line is None:
        from less_sync.bins.commands.app import app

        app(obj=watch)
    else:
        from less_sync.bins.commands.serve import serve

        watch.matters = False
        serve(options=line.options, dev=line.dev)


if __name__ == "__main__":
    main()
