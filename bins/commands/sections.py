"""The list of all commands in the help: those for operators first, whatever order they were added in."""

from typing import TYPE_CHECKING, Final

from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

OPERATORS: Final = (
    "serve",
    "config",
    "doctor",
    "stats",
    "migrate",
    "backup",
    "restore",
    "upgrade-data",
    "validate",
    "admin",
    "fleet",
    "token",
    "federation-keygen",
    "space-home",
)


class Sections(TyperGroup):
    """Commands under two headings."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write both lists, their columns alike."""
        others = [name for name in self.list_commands(ctx) if name not in OPERATORS]
        width = max(map(len, self.commands))
        for title, names in (("Server", OPERATORS), ("Folders", others)):
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(200)) for name in names]
                )
