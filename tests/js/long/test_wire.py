"""The JavaScript client against what breaks: kills, half-open connections, messages twice or out of order."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from less_sync.sync.limits import Limits
from tests.js.nodes import run_node, server_for_node
from tests.live import ISSUER, claims
from tests.wire.issuer import AUDIENCE, new_issuer, served_key_set
from tests.wire.process import ServerProcess

HERE: Final = Path(__file__).parent
LOAD_S: Final = 25
LIFE_S_MAX: Final = 4.0
PIECE_BYTES: Final = 1 << 16


class Relay:
    """One address for a server that comes back at another port each time; without a server it hangs up."""

    def __init__(self) -> None:
        self.target: int | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        try:
            if self.target is None:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            ways = [_copy(reader, far_writer), _copy(far_reader, writer)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        except OSError:
            pass  # killed just now
        finally:
            writer.close()
            if far_writer is not None:
                far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


async def _killed_at_random(settings: Mapping[str, str], relay: Relay, calm: asyncio.Event) -> None:
    """Run servers, one after another, each for a random time; the one of the calm until it is cancelled."""
    chance = random.Random(14)
    while True:
        async with ServerProcess(settings) as server:
            relay.target = server.port
            with suppress(TimeoutError):
                await asyncio.wait_for(calm.wait(), chance.uniform(0.5, LIFE_S_MAX))
                await asyncio.Event().wait()
            relay.target = None
            await server.kill()


async def test_what_was_acknowledged_survives_servers_that_are_killed_at_random(tmp_path: Path) -> None:
    issuer, relay, calm = new_issuer(), Relay(), asyncio.Event()
    mine = claims("killed")
    told = {"token": issuer.token(mine), "space": mine["personal_space_id"]}
    async with served_key_set(issuer) as key_set_url, relay.serving() as port, asyncio.TaskGroup() as tasks:
        settings = {
            "TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}",
            "AUDIENCES": AUDIENCE,
            "DATA_DIR": str(tmp_path / "data"),
            "FILE_STORAGE_PATH": str(tmp_path / "files"),
            "FILE_STORAGE_BACKEND": "local",
        }
        servers = tasks.create_task(_killed_at_random(settings, relay, calm))
        asyncio.get_running_loop().call_later(LOAD_S, calm.set)
        variables = {
            "LESS_SYNC_SERVER": f"http://127.0.0.1:{port}",
            "LESS_SYNC_TOKEN": json.dumps(told),
            "LESS_SYNC_SECONDS": str(LOAD_S),
        }
        try:
            done = await run_node(HERE / "killed.test.js", variables=variables)
        finally:
            servers.cancel()
    assert done.all_passed, done.output


@pytest.mark.parametrize("name", ["half_open", "reordered"])
async def test_every_test_of_the_file_passes(name: str, database_url: str, tmp_path: Path) -> None:
    limits = Limits(keepalive_interval_s=4.0)  # half_open.test.js counts on it
    async with server_for_node(database_url, tmp_path, limits) as variables:
        done = await run_node(HERE / f"{name}.test.js", variables=variables)
    assert done.all_passed, done.output
