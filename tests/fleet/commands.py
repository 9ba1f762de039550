"""Runs commands that ask a fleet plane, in a thread of this process: the plane of its loop answers them."""

import asyncio
import json
from typing import Any, Final

import structlog.testing
import typer
from typer.testing import CliRunner, Result

from less_sync.bins.commands.fleet import add_fleet
from tests.fleet.rig import KEY, Fleet

APP: Final = typer.Typer(rich_markup_mode=None)
"""The group alone: each run builds all commands of its application anew."""
add_fleet(APP)


async def run(
    fleet: Fleet, *arguments: str, given: str | bytes | None = None, key: str | None = KEY, **variables: str
) -> Result:
    """`less-sync fleet` and these arguments; the plane and its key come from the environment."""
    env = {"LESS_SYNC_FLEET_URL": fleet.url, "LESS_SYNC_FLEET_KEY": key, **variables}
    # The plane's log would be on the standard output of the command.
    with structlog.testing.capture_logs():
        return await asyncio.to_thread(CliRunner().invoke, APP, ["fleet", *arguments], input=given, env=env)


async def good(fleet: Fleet, *arguments: str, **options: Any) -> str:
    """What a command printed that did what it was asked to."""
    result = await run(fleet, *arguments, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


async def listed(fleet: Fleet, *arguments: str) -> list[dict[str, Any]]:
    """The objects that a command with `--json` printed, one a line."""
    return [json.loads(line) for line in (await good(fleet, *arguments, "--json")).splitlines()]
