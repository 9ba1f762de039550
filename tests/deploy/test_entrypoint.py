"""The containers' entrypoint, run by /bin/sh on the tree that the Dockerfile makes, with a real database."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from less_sync.migrations.connection import lock_key
from tests.bins.embedded_owner import scalar
from tests.deploy.images import lay_out
from tests.sync.raw_http import fetch

TIMEOUT_S: Final = 60.0
HEALTHY: Final = b'{"status":"healthy"}'
LISTENING: Final = re.compile(rb"server listening .*127\.0\.0\.1:(\d+)")
KEYS: Final = "SELECT count(*) FROM federation_signing_keys"
DATABASE: Final = "SELECT current_database()"
OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("image")
    lay_out(root)
    return root


def variables(tree: Path, url: str, more: Mapping[str, str]) -> dict[str, str]:
    """What a platform gives the container."""
    return {
        "PATH": os.defpath,
        "PYTHONUNBUFFERED": "1",
        "DATA_DIR": str(tree / "var"),
        "DATABASE_URL": url,
        "TRUSTED_ISSUERS": "https://accounts.example",
        "LISTEN_ADDR": "127.0.0.1:0",
        **more,
    }


@asynccontextmanager
async def container(
    tree: Path, url: str, *arguments: str, entrypoint: str = "less-sync-entrypoint", **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The entrypoint as a process, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        tree / "usr/local/bin" / entrypoint,
        *arguments,
        env=variables(tree, url, more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(tree: Path, url: str, *arguments: str, **more: str) -> tuple[int | None, str]:
    """Status and output of a container that ends by itself."""
    async with container(tree, url, *arguments, **more) as process:
        out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        return process.returncode, out.decode()


async def listening(process: asyncio.subprocess.Process) -> int:
    """The port, once the server has told it."""
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        while line := await process.stdout.readline():
            if found := LISTENING.search(line):
                return int(found[1])
    raise AssertionError("the container ended before it listened")


async def test_an_empty_database_is_migrated_and_a_stop_reaches_the_server(
    tree: Path, empty_database_url: str
) -> None:
    async with container(tree, empty_database_url) as process:
        port = await listening(process)
        assert (await fetch(port, "GET", "/health")).body == HEALTHY
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode == 0
        assert b"server stopped" in out
    assert await scalar(empty_database_url, KEYS) == 0


async def test_arguments_are_the_server_s(tree: Path, database_url: str) -> None:
    status, out = await ended(tree, database_url, "--version")
    assert status == 0
    assert re.fullmatch(r"migrations complete\nless-sync \d+\.\d+\.\d+\n", out)
    assert (await ended(tree, database_url, "--no-such-option"))[0] == 2


async def test_a_migration_that_fails_ends_the_container(tree: Path, database_url: str) -> None:
    url = f"{database_url.partition('?')[0]}_away" + "".join(database_url.partition("?")[1:])
    status, out = await ended(tree, url)
    assert status == 1
    assert out.startswith("Error: ")
    assert "server listening" not in out


@pytest.mark.parametrize("domain", ["", "sync.example:5379"])
async def test_a_domain_makes_one_key_which_a_restart_keeps(
    tree: Path, database_url: str, domain: str
) -> None:
    for said in ("Generated federation signing key", "Federation signing key already present"):
        status, out = await ended(tree, database_url, "--version", FEDERATION_DOMAIN=domain)
        assert status == 0, out
        assert (said in out) is bool(domain)
    assert await scalar(database_url, KEYS) == bool(domain)


async def test_a_stop_while_the_database_is_migrated_ends_the_container(
    tree: Path, empty_database_url: str
) -> None:
    holder = await asyncpg.connect(empty_database_url)
    try:
        await holder.execute(f"SELECT pg_advisory_lock({lock_key(await holder.fetchval(DATABASE))})")
        async with container(tree, empty_database_url) as process:
            async with asyncio.timeout(TIMEOUT_S):
                while not await holder.fetchval(OTHERS):  # noqa: ASYNC110  another process's doing
                    await asyncio.sleep(0.05)
            (migrate,) = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), TIMEOUT_S)
            assert process.returncode == 128 + signal.SIGTERM
            assert not migrate.is_running()
        assert await holder.fetchval("SELECT to_regclass('spaces') IS NULL")
    finally:
        await holder.close()


async def test_the_development_server_starts_anew_when_the_source_changes(
    tree: Path, empty_database_url: str
) -> None:
    source = tree / "app" / "sync" / "changed.py"
    source.parent.mkdir()
    path = f"{tree}/opt/less-sync/bin{os.pathsep}{os.defpath}"
    async with container(
        tree, empty_database_url, entrypoint="less-sync-dev-entrypoint", PATH=path, TMPDIR=str(tree)
    ) as process:
        first = await listening(process)
        source.write_text("changed = True\n")
        second = await listening(process)
        assert (await fetch(second, "GET", "/health")).body == HEALTHY
        with pytest.raises(ConnectionRefusedError):
            await fetch(first, "GET", "/health")
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode == 128 + signal.SIGTERM
        with pytest.raises(ConnectionRefusedError):
            await fetch(second, "GET", "/health")
    assert not list(tree.glob("tmp.*"))
