"""The commands `trash` and `trash restore`. What they need is imported when they run."""

import json as json_lines
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.folder import HERE, Json, LookedAt, fail
from less_sync.client.folder.errors import ExitCode, FolderError, UsageProblem


class _ListsByDefault(TyperGroup):
    """`less-sync trash notes` means `less-sync trash list notes`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: the type has no public name
        """Put the word in where it is left out."""
        first = args[0] if args else ""
        if first not in self.commands and first not in ctx.help_option_names:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def add_trash(app: typer.Typer) -> None:
    """Add the group `trash` to the umbrella command."""
    trash = typer.Typer(
        name="trash",
        cls=_ListsByDefault,
        help="What pulls removed or replaced, kept 30 days.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    codes = (0, 1, 2, ExitCode.DISK_FULL, ExitCode.FOLDER_BUSY)
    trash.command("list", epilog=exit_codes(*codes))(list_)
    trash.command("restore", epilog=exit_codes(*codes))(restore)
    app.add_typer(trash)


def list_(
    folder: LookedAt = HERE,
    *,
    accept: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Take over what a pull refused there: a deletion without proof, or an older version.",
        ),
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Remove everything from the trash.")] = False,
    json: Json = False,
) -> None:
    """List what is in the trash, or accept.

    The latest comes first. The word `list` may be left out: `less-sync trash notes`.
    """
    from less_sync.client.folder import refused
    from less_sync.client.folder.paths import shown
    from less_sync.client.folder.report import counted
    from less_sync.client.times import when

    try:
        if accept is not None and empty:
            raise UsageProblem("--accept and --empty do not go together")
        if accept is not None:
            place = refused.place_of(accept)
            _tell(
                json, f"accepted: {shown(place.path)}: {refused.accept(place)}", "accepted", path=place.path
            )
            return
        if empty:
            number = refused.empty(folder)
            _tell(json, f"{counted(number)} removed from the trash", "emptied", files=number)
            return
        found = refused.trashed(folder)
    except FolderError as error:
        fail(error, as_json=json)
    for one in found:
        at_s = int(one.at.timestamp())
        text = f"{when(at_s)}  {one.size_bytes:>13,}  {shown(one.path)}"
        _tell(json, text, "trashed", path=one.path, bytes=one.size_bytes, trashed_at=at_s)
    if not json:
        print(counted(len(found)) if found else "the trash is empty")


def restore(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where the file was, in its folder.")],
    *,
    json: Json = False,
) -> None:
    """Put the latest version of a file back.

    What is in its place now comes into the trash. Nothing is pushed: the next `push`
    or `watch` sends it as any edit.
    """
    from less_sync.client.folder import refused
    from less_sync.client.folder.paths import shown
    from less_sync.client.times import when

    try:
        place = refused.place_of(path)
        found = refused.restore(place)
    except FolderError as error:
        fail(error, as_json=json)
    at_s = int(found.at.timestamp())
    text = f"restored: {shown(found.path)}, in the trash since {when(at_s)}"
    _tell(json, text, "restored", path=found.path, bytes=found.size_bytes, trashed_at=at_s)


def _tell(as_json: bool, text: str, event: str, **fields: object) -> None:
    print(json_lines.dumps({"event": event, **fields}) if as_json else text)
