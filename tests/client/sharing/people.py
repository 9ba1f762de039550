"""Several people at one dev server, each with folders and a configuration of their own; all are processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bins.commands import Finished, run_less_sync
from tests.wire.command import Command, start_command
from tests.wire.process import ServerProcess

TIMEOUT_S = 40.0


@dataclass
class Town:
    """The server's data directory and database, and whoever lives there."""

    parent: Path
    database_url: str
    port: int = 0
    started: list[Command] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """Of the server, beside the database and the data directory."""

    @property
    def data_dir(self) -> Path:
        return self.parent / "data"

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerProcess]:
        """The server, on the same port each time."""
        settings = {
            "DATABASE_URL": self.database_url,
            "DATA_DIR": str(self.data_dir),
            "ADMIN_ADDR": "",  # its watchdog would write a record of its own, and these are counted
            **self.settings,
        }
        async with ServerProcess(settings, ("--dev", "--listen", f"127.0.0.1:{self.port}")) as server:
            self.port = server.port
            yield server

    def person(self, name: str) -> "Somebody":
        return Somebody(self, name)

    async def end(self) -> None:
        for process in self.started:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class Somebody:
    """A user, and what their shell would have set."""

    town: Town
    name: str

    def environment(self) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.town.data_dir),
            "LESS_SYNC_SERVER": f"http://127.0.0.1:{self.town.port}",
            "LESS_SYNC_USER": self.name,
            "XDG_CONFIG_HOME": str(self.town.parent / f"{self.name}.config"),
        }

    def folder(self, name: str) -> Path:
        path = self.town.parent / f"{self.name}-{name}"
        path.mkdir(exist_ok=True)
        return path

    async def run(self, *words: str | Path, **environment: str) -> Finished:
        env = self.environment() | environment
        return await run_less_sync(*map(str, words), env=env, cwd=self.town.parent)

    async def did(self) -> str:
        finished = await self.run("key", "did")
        assert finished.status == 0, finished.err
        return finished.out.strip()

    async def told(self, *words: str | Path, status: int = 0) -> list[dict[str, Any]]:
        """Run with `--json` and return its lines."""
        finished = await self.run(*words, "--json")
        assert finished.status == status, (finished.out, finished.err)
        return [json.loads(line) for line in finished.out.splitlines()]

    async def start(self, *words: str | Path) -> Command:
        process = await start_command("less-sync", [*map(str, words)], env=self.environment())
        self.town.started.append(process)
        return process


async def line_with(process: Command, text: str) -> str:
    """Read the output up to the line that contains `text`."""
    seen: list[str] = []
    async with asyncio.timeout(TIMEOUT_S):
        while line := (await process.stdout.readline()).decode():
            seen.append(line)
            if text in line:
                return line
    raise AssertionError(f"ended without {text!r}: {seen}")


async def eventually(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not ask():  # noqa: ASYNC110  # a file system announces nothing
            await asyncio.sleep(0.01)


def files(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file() and ".less-sync" not in path.parts)
    return {str(path.relative_to(root)): path.read_text() for path in found}
