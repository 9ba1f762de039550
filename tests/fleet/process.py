"""The real fleet plane: as a process of its own, and in the loop of a test."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from less_sync.bins.fleet import Parts, serve_fleet
from less_sync.bins.fleet_keys import MANAGEMENT_KEY_FILE
from less_sync.bins.settings.fleet import fleet_settings
from less_sync.bins.settings.parts import ListenAddress
from tests.sync.raw_http import Response, fetch
from tests.wire.process import ServerProcess

KEY: Final = "a-management-key-of-32-characters"
SECRET: Final = "ab" * 32
TIMEOUT_S: Final = 30.0
GIVEN: Final = {
    "MANAGEMENT_KEY": KEY,
    "FLEET_SECRET_KEY": SECRET,
    "FLEET_PUBLIC_URL": "http://127.0.0.1:5380",
    "ADMIN_TOKEN": "an-admin-token-of-the-tests",
}
"""What is needed beside DATABASE_URL."""


class FleetProcess(ServerProcess):
    """`less-sync fleet serve` on a free loopback port, with exactly the given variables for its settings."""

    def __init__(
        self, settings: Mapping[str, str], arguments: Sequence[str] = (), *, fresh: bool = False
    ) -> None:
        super().__init__(settings, arguments, fresh=fresh)
        self._arguments = ("fleet", *self._arguments)


def bearer(key: str) -> str:
    """A header line that shows a management key or a token."""
    return f"Authorization: Bearer {key}\r\n"


async def admin(port: int, path: str) -> Response:
    """Ask an admin listener that was given the token of `GIVEN`."""
    return await fetch(port, "GET", path, f"X-Admin-Token: {GIVEN['ADMIN_TOKEN']}\r\n")


def kept_key(data_dir: Path) -> str:
    """The management key that a plane in dev mode keeps below this DATA_DIR."""
    return (data_dir / "fleet" / MANAGEMENT_KEY_FILE).read_text().strip()


@dataclass(slots=True)
class Served:
    """A plane that runs in this loop."""

    port: int
    admin_port: int
    stop: asyncio.Event
    serving: asyncio.Task[None]

    async def ended(self) -> None:
        """Wait for its end; raises what it raises."""
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.shield(self.serving)


@asynccontextmanager
async def serving(
    url: str, data_dir: Path, *, parts: Parts | None = None, **env: str
) -> AsyncIterator[Served]:
    """A plane on a free loopback port and one for its admin listener; stopped at the end."""
    given = {"DATABASE_URL": url, "DATA_DIR": str(data_dir), **GIVEN}
    places = {"FLEET_LISTEN_ADDR": "127.0.0.1:0", "FLEET_ADMIN_ADDR": "127.0.0.1:0"}
    settings = fleet_settings({**given, **places, **env})
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    address: asyncio.Future[ListenAddress] = loop.create_future()
    asked: asyncio.Future[ListenAddress] = loop.create_future()
    task = asyncio.create_task(
        serve_fleet(settings, address.set_result, stop, announce_admin=asked.set_result, parts=parts)
    )
    waits: set[asyncio.Future[Any]] = {task, asked}
    await asyncio.wait(waits, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    served = Served(address.result().port, asked.result().port, stop, task)
    try:
        yield served
    finally:
        stop.set()
        if not task.done():
            await served.ended()
