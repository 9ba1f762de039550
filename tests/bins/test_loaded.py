"""What an idle server has loaded: names, not times. What some servers do without is loaded by its user."""

import asyncio
import os
import sys

import pytest

from less_sync import storage

NOT_LOADED = {
    # Of the command line, and of logs that people look at.
    *("typer", "rich.console", "pygments", "less_sync.bins.commands.app"),
    # Of dev mode, of the admin listener, of the profiler, of the embedded Postgres.
    *("jwt", "less_sync.bins.start_page", "less_sync.bins.admin", "prometheus_client"),
    *("less_sync.bins.profiler", "less_sync.bins.postgres.embedded", "less_sync.bins.backup"),
    # Of files.
    *("obstore", "less_sync.storage.objects"),
    # Of other servers: links to them, their connections, their keys.
    *("less_sync.sync.client", "less_sync.client.folder", "websockets.client", "websockets.asyncio"),
    *("less_sync.federation.inbound", "less_sync.federation.outbound.link", "less_sync.federation.discovery"),
    *("nacl", "nats", "joserfc"),
    # Of a server that reports to a fleet plane, and of the plane.
    *("less_sync.fleet", "less_sync.bins.reporting"),
    # Of issuers with rules of their own.
    *("tomllib", "difflib"),
    # Of commands that look at a database.
    *("less_sync.storage.postgres.surveys", "less_sync.storage.postgres.inspection"),
}
LATER = {"httpx", "httpcore", "h11"}
"""Loaded beside the first answers, when the key sets of issuers are fetched."""


async def loaded_by(*arguments: str, **variables: str) -> list[str]:
    """The modules that an interpreter has loaded when it says that a server listens, or ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", *arguments),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    loaded = []
    async for line in process.stderr:
        text = line.decode()
        if text.startswith("import time:"):
            loaded.append(text.rpartition("|")[2].strip())
        elif "listens on" in text:
            process.terminate()
    assert await process.wait() == 0
    return loaded


def unwanted(loaded: list[str], names: set[str]) -> set[str]:
    """Which of these are loaded, or a module within them is."""
    return {name for name in names for module in loaded if module == name or module.startswith(f"{name}.")}


async def test_an_idle_server_has_loaded_nothing_that_only_others_use(database_url: str) -> None:
    issuer = "https://issuer.test=http://127.0.0.1:9/jwks.json"
    settings = {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": issuer, "AUDIENCES": "a", "LOG_LEVEL": "off"}
    line = ("-m", "less_sync.bins.commands.main", "serve", "--listen", "127.0.0.1:0")
    loaded = await loaded_by(*line, **settings)
    assert unwanted(loaded, NOT_LOADED) == set()
    assert "asyncpg" in loaded, "this is no server"


async def test_the_server_itself_needs_no_http_client() -> None:
    assert unwanted(await loaded_by("-c", "import less_sync.bins.server"), LATER) == set()


@pytest.mark.parametrize("name", ["LocalBlobs", "PostgresSurveys", "probe_bucket", "IdRange"])
def test_what_a_room_loads_later_has_its_name_there(name: str) -> None:
    assert name in storage.__all__
    assert getattr(storage, name).__name__ == name


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        getattr(storage, "Nothing")  # noqa: B009  # type checkers know
