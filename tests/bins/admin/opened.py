"""An admin listener over a running server, in this process."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from less_sync.bins.admin.listener import AdminListener, open_admin
from less_sync.bins.settings.config import Settings
from less_sync.bins.supervisor import Supervisor
from less_sync.sync.limits import Limits
from tests.live import Live, live_server
from tests.sync.raw_http import Response, connected

TOKEN = "the-token-of-the-operator"


@dataclass(slots=True)
class Admin:
    """The listener, and how it is asked."""

    live: Live
    listener: AdminListener

    @property
    def host(self) -> str:
        return str(self.listener.address)

    async def ask(self, method: str, path: str, **headers: str) -> Response:
        """One request with the own `Host`, unless `host` is another."""
        lines = {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        async with connected(self.listener.address.port) as connection:
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


@asynccontextmanager
async def admin(
    database_url: str, data_dir: Path, limits: Limits | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Admin]:
    """A server whose public port is open, and its listener."""
    settings = Settings.from_env(
        {
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": "https://accounts.example.com",
            "ADMIN_ADDR": address,
            "ADMIN_TOKEN": TOKEN,
            "DATA_DIR": str(data_dir),
        }
    )
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
