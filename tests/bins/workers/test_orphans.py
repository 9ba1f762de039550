"""Process 1 collects what it inherits, and leaves the children alone that somebody waits for."""

import os
import subprocess
import sys
from pathlib import Path

COLLECTING = """
import asyncio, ctypes, subprocess, sys
from less_sync.bins.workers import orphans

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # it inherits orphans, as process 1 does
# A grandchild whose parent has gone.
subprocess.run(["/bin/sh", "-c", "sleep 0.1 & echo"], check=True, stdout=subprocess.DEVNULL)


def ended():
    return [pid for pid in orphans._children() if orphans._has_ended(pid)]


async def main():
    own = await asyncio.create_subprocess_exec("/bin/sh", "-c", "sleep 0.3; exit 7")
    while not ended():
        await asyncio.sleep(0.01)
    collecting = asyncio.create_task(orphans.collect_orphans(0.05))
    while ended():
        await asyncio.sleep(0.01)
    assert await own.wait() == 7
    collecting.cancel()
    print("collected")


asyncio.run(main())
"""


def test_orphans_are_collected_and_the_status_of_an_own_child_is_kept() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", COLLECTING],
        cwd=root,
        env={"PATH": os.defpath},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"collected\n"), done.stderr
