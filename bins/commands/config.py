"""The command `config`: what a server that was started like this would work with, without its secrets."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from less_sync.bins.commands.setting_options import settings_or_exit, takes_settings
from less_sync.bins.errors import print_warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from less_sync.bins.settings.shown import Row


@takes_settings
def config(
    *,
    options: "Mapping[str, str]",
    dev: bool,
    changed: Annotated[bool, typer.Option("--changed", help="Only what does not have its default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show every setting, and where its value comes from.

    That is what `less-sync serve` with the same options and in the same environment would work with.
    Secrets are shown as ***. Warnings are on standard error, and so are problems, all of them, with status 1.
    Nothing is started and nobody is asked: `less-sync doctor` does that.
    """
    from less_sync.bins.settings.shown import DEFAULT, rows

    settings = settings_or_exit(options, dev=dev)
    shown = [row for row in rows(settings) if not changed or row.source != DEFAULT]
    warnings = settings.warnings()
    if as_json:
        answer = {
            "dev_mode": settings.dev,
            "settings": [asdict(row) for row in shown],
            "warnings": warnings,
        }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_table(shown)))
    sys.stdout.flush()  # what deserves a word comes behind, also where both go into one file
    for warning in warnings:
        print_warning(warning)


def _table(rows: "Sequence[Row]") -> list[str]:
    """The value last: it may have any length."""
    from less_sync.bins.settings.reader import quoted

    cells = [(row.name, row.source, row.value) for row in rows]
    widths = [max((len(cell[i] or "") for cell in cells), default=0) for i in (0, 1)]
    lines = []
    for name, source, value in cells:
        shown = "-" if value is None else value if value.isprintable() else quoted(value)
        lines.append(f"{name:{widths[0]}}  {source:{widths[1]}}  {shown}")
    return lines
