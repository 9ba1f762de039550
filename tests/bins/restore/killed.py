"""`python -m tests.bins.restore.killed JSON`: a restore that kills itself when it comes to a point."""

import asyncio
import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from less_sync.bins.backup.load import Wanted, restore
from less_sync.bins.backup.load_upgrade import Upgrade, upgrade
from less_sync.bins.backup.manifest import read_manifest
from less_sync.bins.backup.watching import Doing
from less_sync.storage import LocalBlobs


class Killing:
    """Kills the process when a part begins, or after so many steps of it."""

    def __init__(self, at: Doing, after: int) -> None:
        self._at = at
        self._after = after
        self._doing: Doing | None = None
        self._steps = 0

    def begin(self, doing: Doing, total: int) -> None:
        self._doing, self._steps = doing, 0
        self._look()

    def advance(self, amount: int) -> None:
        self._steps += 1
        self._look()

    def _look(self) -> None:
        if self._doing is self._at and self._steps == self._after:
            os.kill(os.getpid(), signal.SIGKILL)


async def _main(job: dict[str, Any]) -> None:
    progress = Killing(Doing(job["at"]), job["after"])
    folder, store = Path(job["backup"]), LocalBlobs.at(Path(job["store"]))
    wanted = Wanted(folder, read_manifest(folder))
    if job["data_dir"] is None:
        await restore(job["url"], store, wanted, progress)
    else:
        await upgrade(Upgrade(Path(job["data_dir"]), wanted, nullcontext(store), force=False), progress)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
