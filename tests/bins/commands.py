"""Runs `less-sync` as a process of its own, to its end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.wire.command import ROOT, start_command

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left behind."""

    status: int
    out: str
    err: str


async def run_less_sync(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    command: str = "less-sync",
    fresh: bool = False,
) -> Finished:
    """Run `less-sync` (or another command) with exactly these variables for its settings. It has a minute."""
    process = await start_command(command, arguments, env=env or {}, cwd=cwd, stderr_apart=True, fresh=fresh)
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())
