"""A process that owns an embedded Postgres, for tests that kill it.

`python -m tests.bins.embedded_owner DATA_DIR` prints one line of JSON once a row is committed, then waits
until its standard input ends.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg

from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError


async def scalar(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie nobody has waited for."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _own(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as postgres:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        await connection.execute("INSERT INTO kept VALUES (1)")
        print(json.dumps({"pid": postgres.pid, "url": postgres.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await connection.close()


def main() -> None:
    """Own the data directory named on the command line."""
    try:
        asyncio.run(_own(Path(sys.argv[1])))
    except EmbeddedPostgresError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
