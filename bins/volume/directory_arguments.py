"""What `check` and `export` have in common: their arguments, and how they end."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from less_sync.bins.errors import os_error_text, print_error

FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


def parser(name: str, description: str, statuses: str) -> argparse.ArgumentParser:
    """A parser with the arguments that both have."""
    found = argparse.ArgumentParser(
        prog=f"less-sync volume {name}", description=description, epilog=statuses, allow_abbrev=False
    )
    found.add_argument("directory", metavar="DIR", type=Path, help="data directory of a volume server")
    found.add_argument(
        "--index-dir",
        metavar="DIR",
        type=Path,
        help="where the server has its indexes (its -dir.idx), if not beside the data",
    )
    found.add_argument(
        "--offset-bytes",
        type=int,
        choices=(4, 5),
        default=4,
        help="width of offsets in an index that does not tell itself (default: 4)",
    )
    return found


def run(
    parse: argparse.ArgumentParser, arguments: Sequence[str], work: Callable[[argparse.Namespace], int]
) -> int:
    """Parse, check that the directories are there, do the work; every end has its status and no traceback."""
    try:
        given = parse.parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    for directory in (given.directory, given.index_dir):
        if directory is not None and not directory.is_dir():
            print_error(f"{directory} is not a directory")
            return USAGE
    # What the engine logs is said again, in other words, by what these commands print.
    logging.getLogger("less_sync").addHandler(logging.NullHandler())
    try:
        status = work(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not try to flush it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILURE
    except OSError as error:
        print_error(f"{error.filename or given.directory}: {os_error_text(error)}")
        return FAILURE
    return status
