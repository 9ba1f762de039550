"""How a test knows that one worker has told another: somebody at each asks the other to hear him.

NATS takes what one worker sends in order, and gives it to another in order. So whoever hears an event of each
worker at the other one has behind him all that these had sent before.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

CONNECTIONS_MAX: Final = 16
"""The kernel chooses a worker for each connection: all of so many with one would be odd indeed.

A mailbox may have no more at a worker.
"""


class Asker(Protocol):
    """An authenticated connection, as `tests.live.Client` is one."""

    @property
    def local_port(self) -> int: ...

    def notify(self, method: str, params: dict[str, object], /) -> None: ...

    async def next(self) -> Any: ...


class BetweenWorkers:
    """Two connections of a server of two workers, one at each, in a space where nobody else is."""

    def __init__(self, supervisor: int, port: int, space: str, join: Callable[[], Awaitable[Asker]]) -> None:
        """`join` connects and subscribes to `space`; `supervisor` is the server's process, `port` its own."""
        self._supervisor = supervisor
        self._port = port
        self._space = space
        self._join = join
        self._askers: dict[int, Asker] = {}
        self._rounds = 0

    async def told(self) -> None:
        """Return once each worker has heard what the other one had to say, and what it answered to that."""
        for _ in range(CONNECTIONS_MAX):
            if len(self._askers) > 1:
                break
            asker = await self._join()
            self._askers.setdefault(self._worker_of(asker.local_port), asker)
        assert len(self._askers) == 2, "no two workers were to be had"
        for _ in range(2):
            self._rounds += 1
            data = str(self._rounds).encode()
            for asker in self._askers.values():
                asker.notify("event.send", {"space": self._space, "data": data})
            for asker in self._askers.values():
                notice = await asker.next()
                assert (notice.method, notice.params["data"]) == ("event", data)

    def _worker_of(self, client_port: int) -> int:
        """The process that has the server's end of a connection."""
        inode = self._inode_of(client_port)
        children = Path(f"/proc/{self._supervisor}/task/{self._supervisor}/children").read_text().split()
        for child in map(int, children):
            for descriptor in Path(f"/proc/{child}/fd").iterdir():
                with suppress(FileNotFoundError):  # closed meanwhile
                    if os.readlink(descriptor) == f"socket:[{inode}]":
                        return child
        raise AssertionError(f"no worker among {children} has the connection")

    def _inode_of(self, client_port: int) -> str:
        """The server's end as the kernel numbers it."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, *more = line.split()
            ports = [int(end.rpartition(":")[2], 16) for end in (local, remote)]
            if ports == [self._port, client_port]:
                return more[6]
        raise AssertionError("no such connection")
