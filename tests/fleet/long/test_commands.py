"""The commands that ask a plane, as processes: dev mode is found without a word, and webhooks arrive."""

import asyncio
import json
import re
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.bins.commands import Finished, run_less_sync
from tests.fleet.process import FleetProcess
from tests.fleet.rig import registration
from tests.ports import free_ports
from tests.wire.command import Command, start_command

PATIENCE_S: Final = 30.0


@asynccontextmanager
async def listening(port: int, directory: Path) -> AsyncIterator[Command]:
    """`webhook listen` while the block lasts."""
    line = ("fleet", "webhook", "listen", "--port", str(port), "--json")
    command = await start_command("less-sync", line, env={}, cwd=directory)
    try:
        yield command
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()


async def test_a_plane_in_dev_mode_is_found_and_its_webhooks_arrive(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = {
        "DATA_DIR": str(tmp_path),
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    }
    async with AsyncExitStack() as running:
        plane = await running.enter_async_context(FleetProcess(settings))

        async def fleet(*arguments: str) -> Finished:
            """A command without options, as it would be typed beside the plane."""
            env = {"DATA_DIR": str(tmp_path), "LESS_SYNC_FLEET_URL": f"127.0.0.1:{plane.port}"}
            return await run_less_sync("fleet", *arguments, env=env)

        listener = await running.enter_async_context(listening(port, tmp_path))
        async with asyncio.timeout(PATIENCE_S):
            told = ""
            while "deliver here" not in told:
                told = (await listener.stdout.readline()).decode()
        # The very line that the receiver prints; its program is the one of this checkout.
        secret, *line = shlex.split(told.partition("here:")[2])
        name, _, text = secret.partition("=")
        env = {"DATA_DIR": str(tmp_path), "LESS_SYNC_FLEET_URL": f"127.0.0.1:{plane.port}", name: text}
        added = await run_less_sync(*line[line.index("fleet") :], env=env)
        assert added.status == 0, added.err

        enrolled = await fleet("enrol", "rack 7")
        variables = dict(one.split("=", 1) for one in shlex.split(enrolled.out)[:-2])
        async with httpx.AsyncClient(base_url=variables["FLEET_URL"]) as client:
            shown = {"Authorization": f"Bearer {variables['FLEET_ENROLMENT_TOKEN']}"}
            body = registration(name="sync-1")
            assert (await client.post("/management/v1/agents/register", json=body, headers=shown)).is_success
        async with asyncio.timeout(PATIENCE_S):
            event = json.loads(await listener.stdout.readline())
        assert (event["type"], event["data"]["name"], event["again"]) == ("agent.registered", "sync-1", False)
        assert re.search("sync-1 +active", (await fleet("agents")).out)
        assert "1 active" in (await fleet("stats")).out
        listener.send_signal(signal.SIGINT)
        assert await listener.wait() == 130
    gone = await fleet("agents")
    assert (gone.status, gone.out) == (3, "")
    assert "cannot reach" in gone.err
