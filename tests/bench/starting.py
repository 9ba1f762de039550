"""A server that starts, and one that has nothing to do: time to the first answer, and resident memory."""

import asyncio
import time
from typing import Final, NamedTuple

from tests.bench import usage
from tests.bench.model import KIB, Bench, Pair, Pairs, Row, Target, Use

AT_REST_S: Final = 1.0
"""By then the key sets of issuers are fetched, which is the last thing that a start does."""
ROW: Final = "cold start"
MEMORY_ROW: Final = "idle server"

START_ROWS: Final = {
    ROW: Row(
        "`less-sync serve` over a Postgres that runs, from the start of the interpreter to the first answer",
        "",
        "ms",
        200.0,
        False,
        "",
        "{:.0f}",
    ),
    MEMORY_ROW: Row("the same: resident memory with nothing to do", "", "MiB", 50.0, False, "", "{:.1f}"),
}


class Start(NamedTuple):
    """What one start took."""

    seconds: float
    cpu_s: float
    """Of the server alone, until it answered."""
    resident_bytes: int


async def started(target: Target) -> Start:
    """Start another server, ask it whether it is well, and let it come to rest."""
    before = time.perf_counter()
    async with target.start_server() as server:
        await _asked(server.port)
        taken, cpu = time.perf_counter() - before, usage.cpu_s(server.pid)
        await asyncio.sleep(AT_REST_S)
        return Start(taken, cpu, usage.resident_bytes(server.pid))


async def _asked(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    writer.close()
    await writer.wait_closed()


async def starting(bench: Bench) -> Pairs:
    """Milliseconds of the clock, and MiB."""
    start = await started(bench)
    use = Use(server_s=start.cpu_s)
    ms, mib = start.seconds * 1e3, start.resident_bytes / KIB / KIB
    return {ROW: Pair(None, ms, ms, use), MEMORY_ROW: Pair(None, mib, mib, use)}
