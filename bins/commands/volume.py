"""The command `volume`: hands its arguments, as they are, to the program that has a parser of its own."""

from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer._click.core import Context


class AsTheyAre(TyperCommand):
    """A command whose arguments are nobody's business here, help included: they follow other rules."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Keep all of them."""
        ctx.args = list(args)
        return ctx.args


def volume(context: typer.Context) -> None:
    """Start a volume server that takes the place of SeaweedFS's.

    Takes the flags of `weed volume`; `less-sync volume -h` lists them. `less-sync volume check DIR` and
    `less-sync volume export DIR` look at a directory that no server uses.
    """
    from less_sync.bins.volume.program import run_and_leave

    run_and_leave(context.args, "less-sync volume")
