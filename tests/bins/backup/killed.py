"""A process that makes a backup and is killed before its n-th step on the disk.

    python -m tests.bins.backup.killed STEP URL DATA_DIR FILES

With step 0 it comes to its end, and says how many steps there were.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

from less_sync.bins.backup.take import Backup, Wanted
from less_sync.storage import LocalBlobs
from tests.bins.backup.source import Seen

STEPS: Final = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.truncate"})
WRITING: Final = os.O_WRONLY | os.O_RDWR


class Steps:
    """Counts what is done to files below a folder; the interpreter tells of each before it is done."""

    def __init__(self, below: str, last: int) -> None:
        self._below = below
        self._last = last
        self.count = 0

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """Take an audit event (PEP 578)."""
        if not args or not str(args[0]).startswith(self._below):
            return
        if event in STEPS or (event == "open" and isinstance(args[2], int) and args[2] & WRITING):
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


async def _make(url: str, data_dir: Path, files: Path) -> None:
    wanted = Wanted(data_dir)
    await Backup(wanted, LocalBlobs(files), Seen(), chosen=lambda _: None).make(url)


def main() -> None:
    """Do it."""
    step, url, data_dir, files = sys.argv[1:]
    steps = Steps(data_dir, int(step))
    sys.addaudithook(steps.hear)
    asyncio.run(_make(url, Path(data_dir), Path(files)))
    print(steps.count)


if __name__ == "__main__":
    main()
