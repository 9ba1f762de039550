"""A life of a volume with a vacuum in it, ended by SIGKILL at a chosen operation on its files.

    python -m tests.volume.long.vacuum_life DIRECTORY

makes a directory below for each operation there is, and ends when a life came to its end. What a life had
acknowledged is in `acknowledged` beside the data: a line `put ID` or `delete ID`, preceded by `try` lines.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

from less_sync.volume.engine import vacuum
from tests.volume.engine.open_volumes import COOKIE, FailingSteps, new_volume, put

OPERATIONS_MAX: Final = 1_000


def content(id_: int, round_: int) -> bytes:
    """What a needle holds."""
    return b"round %d of needle %d " % (round_, id_) * id_


class _Deadly(FailingSteps):
    """Kills the process before an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        """Operations to its death; 0: it is not counted yet."""
        self.before = self._count

    def _count(self, name: str) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


async def live(directory: Path, last: int) -> None:
    """Write, delete, vacuum, write; every step is told before and behind."""
    told = os.open(directory / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    data = directory / "data"
    data.mkdir()
    files = _Deadly()
    volume = new_volume(data, files=files)
    files.left = last

    def write(id_: int, round_: int) -> None:
        os.write(told, b"try put %d %d\n" % (id_, round_))
        put(volume, id_, content(id_, round_))
        os.write(told, b"put %d %d\n" % (id_, round_))

    def delete(id_: int) -> None:
        os.write(told, b"try delete %d 0\n" % id_)
        volume.try_delete(id_, COOKIE)
        os.write(told, b"delete %d 0\n" % id_)

    for id_ in range(1, 9):
        write(id_, 1)
    delete(2)
    write(3, 2)
    for round_ in (3, 4):
        await vacuum.compact(volume)
        write(4, round_)
        write(10 + round_, round_)
        delete(round_ + 2)
        await vacuum.commit(volume)
        write(7, round_)
    await volume.close()
    os.write(told, b"end 0 0\n")


def main(directory: Path) -> None:
    """One fork a life: importing everything each time would take minutes."""
    for last in range(1, OPERATIONS_MAX):
        life = directory / f"{last:03}"
        life.mkdir()
        child = os.fork()
        if not child:
            asyncio.run(live(life, last))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
