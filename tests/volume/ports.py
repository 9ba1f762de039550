"""Ports of servers that are stopped and come back: held for as long as a test needs them."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from random import Random
from typing import Final, Self

LOWEST: Final = 10_240
HIGHEST: Final = 22_000
GRPC_OFFSET: Final = 10_000
"""Where a peer looks for gRPC if it is told the HTTP port alone."""
TRIES: Final = 2_000


class Ports:
    """Pairs of free ports (HTTP, gRPC = HTTP + 10,000), below those that the kernel gives to clients.

    A port between two lives of a server is free for everybody; a locked file per port keeps other tests of
    this user away from it.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        self._random = Random(os.urandom(8))
        self._directory = Path(tempfile.gettempdir(), f"less-sync-test-ports-{os.getuid()}")

    def __enter__(self) -> Self:
        self._directory.mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def take(self) -> int:
        """Return the lower port of a free pair; it stays ours until the end."""
        for _ in range(TRIES):
            port = self._random.randrange(LOWEST, HIGHEST)
            descriptor = os.open(self._directory / str(port), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _bind(port)
                _bind(port + GRPC_OFFSET)
            except OSError:
                os.close(descriptor)
                continue
            self._held.append(descriptor)
            return port
        raise RuntimeError(f"no free pair of ports in {TRIES} tries")


def _bind(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        pass
