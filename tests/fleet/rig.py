"""A fleet plane in this process: its application on a real socket, its database a real one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from less_sync.fleet.api.app import create_app
from less_sync.fleet.heartbeat_limit import HeartbeatLimit
from less_sync.fleet.plane import Plane
from less_sync.fleet.settings import FleetSettings

KEY: Final = "management-key-of-the-tests-of-the-fleet"
TIMEOUT_S: Final = 20.0
_EMPTY: Final = """
SELECT 'TRUNCATE ' || string_agg(quote_ident(relname), ', ') FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> 'fleet_migrations'"""


def fleet_settings(**changes: Any) -> FleetSettings:
    """Settings of a plane that a browser of this machine would reach; `changes` override."""
    given: dict[str, Any] = {
        "public_url": "http://127.0.0.1:5380",
        "management_keys": (KEY,),
        "secret_keys": (bytes(range(32)),),
    }
    return FleetSettings(**given | changes)


def registration(**changes: Any) -> dict[str, Any]:
    """The body of a registration of a server that nobody knows; `changes` override."""
    known = {"name": "sync-1", "os": "linux", "arch": "amd64", "version": "1.0.0"}
    return {"instance_id": str(uuid4()), **known, **changes}


@dataclass(slots=True)
class Agent:
    """A server that has registered, and what it sends."""

    agent_id: str
    token: str = field(repr=False)
    client: httpx.AsyncClient
    boot_id: str = field(default_factory=lambda: str(uuid4()))
    sequence: int = 0

    @property
    def path(self) -> str:
        return f"/management/v1/agents/{self.agent_id}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def heartbeat(self, report: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """The body of the next heartbeat; `changes` override."""
        self.sequence += 1
        return {
            "sequence": self.sequence,
            "boot_id": self.boot_id,
            "version": "1.0.0",
            "uptime_seconds": 60,
            "sent_at": datetime.now(UTC).isoformat(),
            "report": report or {},
            **changes,
        }

    async def beat(self, report: dict[str, Any] | None = None, **changes: Any) -> httpx.Response:
        """Send the next heartbeat."""
        return await self.send(self.heartbeat(report, **changes))

    async def send(self, body: dict[str, Any]) -> httpx.Response:
        return await self.client.post(f"{self.path}/heartbeat", json=body, headers=self.headers)


class _Swapped:
    """An application that can be exchanged while it is served."""

    def __init__(self) -> None:
        self.now: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.now is not None
        await self.now(scope, receive, send)


@dataclass(slots=True)
class Fleet:
    """A plane that is served: tests share its socket and connections, each has an application of its own.

    Attributes:
        plane: what routes and workers are handed.
        client: sends the management key, unless a request has an `Authorization` of its own.
        anonymous: sends no credentials.
    """

    plane: Plane
    url: str
    client: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    _app: _Swapped = field(repr=False)

    async def begin(self) -> None:
        """Forget every row, and what an instance keeps in memory; the settings are the usual ones again."""
        async with self.plane.database.connection() as connection:
            await connection.execute(await connection.fetchval(_EMPTY))
        self.use()

    def use(self, **changes: Any) -> Plane:
        """A fresh instance with other settings takes the place of the one that was served."""
        self.plane = Plane.on(self.plane.database, fleet_settings(**changes))
        self._app.now = create_app(self.plane)
        return self.plane

    def next_interval(self) -> None:
        """Everybody may send heartbeats again, as after an interval."""
        self.plane.heartbeat_limit = HeartbeatLimit()

    async def register(self, **changes: Any) -> Agent:
        """A new agent, made with the management key."""
        answer = await self.client.post("/management/v1/agents/register", json=registration(**changes))
        assert answer.status_code == 201, answer.text
        return Agent(answer.json()["agent_id"], answer.json()["token"], self.anonymous)

    async def events(self, prefix: str = "") -> list[dict[str, Any]]:
        """The bodies of the events that were written, oldest first, of types that begin so."""
        kept = await self.rows(
            "SELECT payload FROM webhook_events WHERE starts_with(type, $1) ORDER BY created_at, id", prefix
        )
        return [json.loads(event["payload"]) for event in kept]

    async def live_alerts(self) -> dict[str, str]:
        """The kinds of alerts that are not resolved, and how severe each is."""
        kept = await self.rows("SELECT kind, severity FROM alerts WHERE status <> 'resolved' ORDER BY kind")
        return {alert["kind"]: alert["severity"] for alert in kept}

    async def execute(self, statement: str, *args: object) -> str:
        """Change rows behind the plane's back: how tests move times."""
        async with self.plane.database.connection() as connection:
            return await connection.execute(statement, *args)

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        """All rows of one query."""
        async with self.plane.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    async def value(self, query: str, *args: object) -> Any:
        """The first value of one query."""
        async with self.plane.database.connection() as connection:
            return await connection.fetchval(query, *args)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """An application on a free port of this machine: its URL."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        loop="none",
        proxy_headers=False,  # as the program has it: the application judges these itself
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(), name="a fleet plane under test")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not server.started:
                assert not serving.done(), serving
                await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def open_fleet(database_url: str, **changes: Any) -> AsyncIterator[Fleet]:
    """A plane on a database that has its schema; `changes` are of its settings."""
    plane = await Plane.open(fleet_settings(**changes), database_url)
    app = _Swapped()
    app.now = create_app(plane)
    try:
        async with (
            served(app) as url,
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=TIMEOUT_S
            ) as client,
            httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as anonymous,
        ):
            yield Fleet(plane, url, client, anonymous, app)
    finally:
        await plane.aclose()
