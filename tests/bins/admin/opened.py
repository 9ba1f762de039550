"""An admin listener over a running server, in this process."""

import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from less_sync.bins.admin.listener import AdminListener, open_admin
from less_sync.bins.admin.merged import MergedListener, Workers, merged_server, open_merged
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.bins.workers.places import WorkerPlace
from less_sync.sync.limits import Limits
from tests.live import Live, live_server
from tests.sync.raw_http import Response, connected

TOKEN = "the-token-of-the-operator"


class Asked:
    """How a listener is asked, whoever's it is."""

    @property
    def address(self) -> ListenAddress:
        """Where it is."""
        raise AssertionError("each kind says where it is")

    @property
    def host(self) -> str:
        return str(self.address)

    async def ask(self, method: str, path: str, **headers: str) -> Response:
        """One request with the own `Host`, unless `host` is another."""
        lines = {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        async with connected(self.address.port) as connection:
            connection.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
            return await connection.receive(body=method != "HEAD")

    async def act(self, method: str, path: str = "/drain") -> tuple[int, Any]:
        """An action with the token: status and JSON."""
        response = await self.ask(method, path, x_admin_token=TOKEN)
        return response.status, json.loads(response.body)

    async def ready(self) -> tuple[int, Any]:
        """Status and JSON of `/readyz`."""
        response = await self.ask("GET", "/readyz")
        return response.status, json.loads(response.body)


@dataclass(slots=True)
class Admin(Asked):
    """The listener of a server of one process."""

    live: Live
    listener: AdminListener

    @property
    def address(self) -> ListenAddress:
        """Where it is."""
        return self.listener.address


@dataclass(slots=True)
class Worker:
    """A worker in this process: a server, and its admin application on a Unix socket."""

    live: Live
    place: WorkerPlace
    listener: AdminListener


@dataclass(slots=True)
class Merged(Asked):
    """The listener of a server of several workers."""

    listener: MergedListener
    workers: list[Worker]
    living: list[WorkerPlace]
    """What the listener is told when it asks who lives."""

    @property
    def address(self) -> ListenAddress:
        """Where it is."""
        return self.listener.address


def settings_of(database_url: str, data_dir: Path, address: str) -> Settings:
    """Of a server with an admin listener."""
    return Settings.from_env(
        {
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": "https://accounts.example.com",
            "ADMIN_ADDR": address,
            "ADMIN_TOKEN": TOKEN,
            "DATA_DIR": str(data_dir),
        }
    )


@asynccontextmanager
async def worker(
    database_url: str, data_dir: Path, number: int, limits: Limits | None = None
) -> AsyncIterator[Worker]:
    """A worker whose public port is open. Its socket has a name of its own, whatever its number."""
    path = data_dir / f"{number}-{secrets.token_hex(4)}.sock"
    async with (
        live_server(database_url, limits) as live,
        Supervisor() as vital,
        AsyncExitStack() as stack,
    ):
        listener = await open_admin(
            settings_of(database_url, data_dir, "127.0.0.1:0"),
            live.services,
            stack,
            vital,
            pool=live.pool,
            lanes=live.lanes,
            within=unix_listener(path),
            worker=number,
        )
        assert listener is not None
        listener.public_port_is_open()
        yield Worker(live, WorkerPlace(number, os.getpid(), path), listener)
        vital.expect_ends()
    assert vital.first is None


def unix_listener(path: Path) -> socket.socket:
    """A Unix socket that listens."""
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(path))
    found.listen(16)
    return found


@asynccontextmanager
async def merged(
    database_url: str, data_dir: Path, limits: Limits | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Merged]:
    """Two workers, and the listener of their supervisor."""
    living: list[WorkerPlace] = []
    async with (
        worker(database_url, data_dir, 1, limits) as one,
        worker(database_url, data_dir, 2, limits) as two,
        Supervisor() as vital,
        AsyncExitStack() as stack,
    ):
        living += [one.place, two.place]
        server = merged_server(
            Workers(lambda: living, 2, lambda: 7),
            stack,
            vital,
            clock=count(step=10).__next__,  # no look is fresh when the next one is asked for
        )
        listener = await open_merged(settings_of(database_url, data_dir, address), server, stack, vital)
        yield Merged(listener, [one, two], living)
        vital.expect_ends()
    assert vital.first is None


@asynccontextmanager
async def admin(
    database_url: str, data_dir: Path, limits: Limits | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Admin]:
    """A server whose public port is open, and its listener."""
    settings = settings_of(database_url, data_dir, address)
    async with (
        live_server(database_url, limits) as live,
        Supervisor() as vital,
        AsyncExitStack() as stack,
    ):
        listener = await open_admin(settings, live.services, stack, vital, pool=live.pool, lanes=live.lanes)
        assert listener is not None
        yield Admin(live, listener)
        vital.expect_ends()
    assert vital.first is None
