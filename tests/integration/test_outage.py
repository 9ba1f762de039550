"""Postgres goes away and comes back: requests are answered meanwhile, and nothing acknowledged is lost."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.migrations import migrate_up
from tests.integration.waiting import until
from tests.live import Client, Live, live_server

QUICK = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path: a Unix socket's address has room for 107 bytes, and it must stay the same."""
    with tempfile.TemporaryDirectory(prefix="ls-") as directory:
        yield Path(directory, "d")


async def health(live: Live) -> tuple[int, dict[str, str]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{live.port}/health", timeout=20)
        return response.status_code, response.json()


async def push_one(client: Client) -> tuple[str, dict[str, object]]:
    id = str(uuid4())
    return id, await client.push({"id": id, "blob": b"x", "expected_cursor": 0})


async def until_health_is(live: Live, status: int) -> dict[str, str]:
    """Ask `/health` until it has noticed: it remembers an answer for a second."""

    async def asked() -> dict[str, str]:
        found, body = await health(live)
        return body if found == status else {}

    return await until(asked)


async def test_requests_answer_internal_while_postgres_is_away_and_work_again_after(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        url = postgres.url
        await migrate_up(url)
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        serving = live_server(url)
        live = await serving.__aenter__()
        client = await live.connect()
        acknowledged = {(await push_one(client))[0] for _ in range(20)}
        assert await health(live) == (200, {"status": "healthy"})
    try:
        _, result = await push_one(client)
        assert result == {"ok": False, "error": "internal"}
        answer = await client.subscribe()
        assert answer == {"spaces": [], "errors": [{"space": client.space, "error": "internal"}]}
        create = {"id": str(uuid4()), "root_public_key": b"\x02" + b"\1" * 32}
        assert await client.error("space.create", create) == ("internal", "failed to create space")
        body = await until_health_is(live, 503)
        assert body == {"status": "unhealthy", "error": "database unavailable"}
        newcomer = await live.connect("bob")
        assert await newcomer.error("?", {}) == ("method_not_found", "unknown method: ?")

        async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
            assert postgres.url == url
            await until_health_is(live, 200)
            id, result = await push_one(client)
            assert result["ok"] is True
            assert (await client.subscribe())["spaces"][0]["cursor"] == result["cursor"]
            stored = {entry["id"] for name, entry in await client.pull() if name == "pull.record"}
            assert stored >= acknowledged | {id}
            assert result["cursor"] == len(stored)
    finally:
        await serving.__aexit__(None, None, None)
