"""`less-sync volume check`: reads every byte of a data directory, and changes nothing."""

import argparse
from collections.abc import Sequence
from typing import Final

from less_sync.bins.amounts import counted, shown_bytes
from less_sync.bins.volume.directory_arguments import FAILURE, parser, run
from less_sync.bins.volume.reading_bar import ReadingBar
from less_sync.volume.engine.check import Checked, bytes_in, check_directory
from less_sync.volume.engine.files import Files

_DESCRIPTION: Final = """
Reads every byte of the volumes in a data directory, says of each what is wrong with it, and what a start of
the server would repair. Nothing is repaired and nothing is written. A server may run meanwhile.
"""
_STATUSES: Final = (
    "Exit codes: 0 nothing is wrong, 1 something is wrong or cannot be read, 2 wrong usage, 130 interrupted."
)


def check_volumes(arguments: Sequence[str]) -> int:
    """Run `check` with what stands behind that word; returns the exit status."""
    return run(parser("check", _DESCRIPTION, _STATUSES), arguments, _check)


def _check(given: argparse.Namespace) -> int:
    volumes = wrong = 0
    with ReadingBar("checking", bytes_in(given.directory)) as bar:
        for checked in check_directory(
            Files(),
            given.directory,
            given.index_dir,
            configured_width=given.offset_bytes,
            advance=bar.advance,
        ):
            volumes += 1
            wrong += bool(checked.wrong)
            print(_words(checked), flush=True)
    print(f"{counted(volumes, 'volume')}, {'nothing is wrong' if not wrong else f'{wrong:,} with faults'}")
    return FAILURE if wrong else 0


def _words(checked: Checked) -> str:
    needles = f"{counted(checked.needles, 'file')}, {shown_bytes(checked.content_bytes)}"
    lines = [f"{checked.name}: {needles}{'' if checked.wrong else ', in order'}"]
    lines += [f"  wrong: {text}" for text in checked.wrong]
    lines += [f"  a start would: {text}" for text in checked.repairs]
    lines += [f"  note: {text}" for text in checked.notes]
    return "\n".join(lines)
