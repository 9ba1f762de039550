"""`less-sync volume export`: a tar of the live files in a data directory."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from less_sync.bins.amounts import counted, shown_bytes
from less_sync.bins.errors import print_error, print_warning
from less_sync.bins.volume.directory_arguments import FAILURE, USAGE, parser, run
from less_sync.bins.volume.reading_bar import ReadingBar
from less_sync.volume.engine.check import bytes_in
from less_sync.volume.engine.export import Exported, export_directory
from less_sync.volume.engine.files import Files

_DESCRIPTION: Final = """
Writes the live files of a data directory into a tar: a folder for each volume, files named as they were
uploaded, or by their id. Files that are stored packed are unpacked. Nothing in the directory is changed.
"""
_STATUSES: Final = (
    "Exit codes: 0 done, 1 failed or something was left out (it is named on standard error), 2 wrong usage, "
    "130 interrupted."
)


def export_volumes(arguments: Sequence[str]) -> int:
    """Run `export` with what stands behind that word; returns the exit status."""
    found = parser("export", _DESCRIPTION, _STATUSES)
    found.add_argument(
        "--to",
        metavar="FILE",
        type=Path,
        help="the tar to write, which must not be there yet (default: standard output)",
    )
    return run(found, arguments, _export)


def _export(given: argparse.Namespace) -> int:
    if given.to is None:
        if sys.stdout.isatty():
            print_error("a tar is not for a terminal: redirect the output, or name a file with --to")
            return USAGE
        exported = _write(given, sys.stdout.fileno())
    elif given.to.exists():
        print_error(f"{given.to} is there already")
        return USAGE
    else:
        exported = _write_file(given, given.to)
    left_out = exported.damaged + exported.skipped_volumes
    print(
        f"{counted(exported.files, 'file')} exported, {shown_bytes(exported.content_bytes)}; "
        f"{exported.expired:,} expired, {exported.damaged:,} damaged",
        file=sys.stderr,
    )
    return FAILURE if left_out else 0


def _write_file(given: argparse.Namespace, path: Path) -> Exported:
    """Write under a temporary name, so that a tar under its own name is a whole one."""
    partial = path.with_name(f"{path.name}.part")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        exported = _write(given, fd)
        os.fsync(fd)
        os.rename(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return exported


def _write(given: argparse.Namespace, fd: int) -> Exported:
    with (
        os.fdopen(fd, "wb", closefd=False) as target,
        ReadingBar("exporting", bytes_in(given.directory)) as bar,
    ):
        return export_directory(
            Files(),
            given.directory,
            target,
            given.index_dir,
            now_ns=time.time_ns(),
            configured_width=given.offset_bytes,
            advance=bar.advance,
            tell=print_warning,
        )
