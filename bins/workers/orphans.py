"""Process 1 of a container inherits processes whose parents died, and collects them when they end."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 10.0
_CHILDREN_BYTES_MAX: Final = 1 << 20


async def collect_orphans(look_every_s: float = LOOK_EVERY_S) -> None:
    """Collect every child that has stood there ended for a whole round.

    Children of one's own are collected at once, by whoever waits for them: their status is not taken away.
    """
    seen: set[int] = set()
    while True:
        ended = {pid for pid in _children() if _has_ended(pid)}
        for pid in ended & seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # does not wait
        seen = ended - seen
        await asyncio.sleep(look_every_s)


def _children() -> list[int]:
    """Of this process; empty where the kernel does not tell."""
    try:
        with Path(f"/proc/self/task/{os.getpid()}/children").open("rb") as file:
            return [int(pid) for pid in file.read(_CHILDREN_BYTES_MAX).split()]
    except OSError:
        return []


def _has_ended(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]
