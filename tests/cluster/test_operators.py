"""What operators see of a server of two workers, with real processes."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types

from tests.bins.admin.scrape import Scrape, scrape
from tests.bins.test_server import push, signed_in
from tests.cluster.node import TIMEOUT_S, node, said, until, workers_of
from tests.sync.raw_http import Response, connected
from tests.wire.process import ServerProcess

TOKEN = "the-token-of-the-operator"
CLIENTS = 16


@dataclass(slots=True)
class Operated:
    """A running server and where its operators ask."""

    running: ServerProcess
    port: int

    async def ask(self, method: str, path: str) -> Response:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nX-Admin-Token: {TOKEN}\r\n\r\n"
        async with connected(self.port) as connection:
            connection.send(head.encode())
            return await connection.receive()

    async def json(self, method: str, path: str) -> Any:
        return json.loads((await self.ask(method, path)).body)

    async def told(self) -> Scrape:
        return scrape((await self.ask("GET", "/metrics")).body)


@asynccontextmanager
async def operated(database_url: str, data_dir: Path) -> AsyncIterator[Operated]:
    async with node(
        data_dir, DATABASE_URL=database_url, ADMIN_TOKEN=TOKEN, ADMIN_ADDR="127.0.0.1:0"
    ) as running:
        await until(lambda: said(running, "for operators:"))
        [line] = said(running, "for operators:")
        found = re.search(r":(\d+)/$", line)
        assert found is not None
        yield Operated(running, int(found[1]))


async def counted(server: Operated, pushes: int, answering: int) -> Scrape:
    """What is told once so many pushes are counted and so many workers answer."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            told = await server.told()
            states = told.values("less_sync_workers", "state")
            found = told.value("less_sync_rpc_total", method="push", code="ok")
            if (states["answering"], found) == (answering, pushes):
                return told
            await asyncio.sleep(0.2)


async def restarted(server: Operated) -> None:
    """Wait until the end of a worker is noticed and another takes its place."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if (await server.told()).value("less_sync_worker_restarts_total"):
                return
            await asyncio.sleep(0.2)


async def test_operators_see_one_server_while_its_workers_are_killed_stopped_and_replaced(
    database_url: str, tmp_path: Path
) -> None:
    async with operated(database_url, tmp_path) as server:
        for number in range(CLIENTS):
            client = await signed_in(server.running, tmp_path, f"user{number}")
            await push(client, str(uuid4()), f"user{number}")
            client.abort()
        told = await counted(server, CLIENTS, 2)
        assert told.value("less_sync_bus_connections", state="disconnected") is not None
        assert set(told.values("process_open_fds", "worker")) == {"1", "2", "supervisor"}
        assert (await server.ask("GET", "/")).header("content-type") == "text/html; charset=utf-8"

        killed, stopped = workers_of(server.running)
        await server.json("POST", "/log-level/debug")
        killed.send_signal(signal.SIGKILL)
        await restarted(server)
        told = await counted(server, CLIENTS, 2)
        assert told.value("less_sync_worker_restarts_total") == 1
        await until(lambda: len(said(server.running, "the log level was changed by an operator")) >= 4)

        stopped.send_signal(signal.SIGSTOP)
        await counted(server, CLIENTS, 1)  # its counts stay, and nobody waits for it for long
        ready = await server.json("GET", "/readyz")
        assert (ready["status"], sorted(one["status"] for one in ready["workers"])) == (
            "degraded",
            ["ready", "unavailable"],
        )
        stopped.send_signal(signal.SIGCONT)
        await counted(server, CLIENTS, 2)

        await server.json("POST", "/drain")
        psutil.Process(server.running.pid).send_signal(signal.SIGUSR2)
        await until(lambda: said(server.running, "the workers were replaced"))
        await until(lambda: len(said(server.running, " draining ", "worker=")) == 4)
        assert (await server.json("GET", "/readyz"))["status"] == "draining"
        await server.json("DELETE", "/drain")
        assert (await server.json("GET", "/readyz"))["status"] == "ready"
        told = await counted(server, CLIENTS, 2)
        assert told.value("less_sync_worker_restarts_total") == 1  # who is replaced has not ended by itself
