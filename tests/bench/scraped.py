"""What it costs to be watched: `make bench ARGS=--scraped`.

The server of this checkout stands beside itself. One has its admin listener, and the delivery watchdog too,
and is asked for its metrics every second; the other has none. They take turns as in `compare`, at pieces of
work that last for some seconds each, so that every piece has its share of scrapes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tests.bench.compare import SETTLE_S, WORKS, Side, Size, Work
from tests.bench.model import Use

EVERY_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 10.0
COST_MAX: Final = 1.03
LONG: Final = Size(turns=7, single_pushes=600, pulls=120, fan_outs=2000, notifications=3000)
"""Each piece of work lasts for two seconds or more."""


async def pulls(side: Side, size: Size) -> float:
    """Pulls of a whole space one after another, with all that is done beside them: µs a record."""
    await side.open("pull", 1, space=side.filled)
    use = Use()
    async with side.using(use):
        for _ in range(size.pulls):
            await side.load("pull", group="pull", space=side.filled)
        await asyncio.sleep(SETTLE_S)
    await side.load("close", group="pull")
    return use.server_s / size.pulls / size.pulled_records * 1e6


SCRAPED: Final[Mapping[str, Work]] = {
    name: work._replace(reach=COST_MAX)
    for name, work in {
        "push 1": WORKS["push 1"],
        "pull": WORKS["pull"]._replace(run=pulls),
        "fan-out": WORKS["fan-out"],
        "notification": WORKS["notification"],
    }.items()
}


@dataclass(slots=True)
class Scrapes:
    """The server that is watched, and what was had of it."""

    port: int
    answers: int = 0
    answer_bytes: int = 0

    @property
    def settings(self) -> Mapping[str, str]:
        """Those of the server that is watched."""
        return {"ADMIN_ADDR": f"127.0.0.1:{self.port}"}


@asynccontextmanager
async def scraping(every_s: float = EVERY_S) -> AsyncIterator[Scrapes]:
    """Ask every `every_s` in the block, as soon as the server listens. Fails if that was never answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        scrapes = Scrapes(free.getsockname()[1])
    task = asyncio.create_task(_scrape(scrapes, every_s))
    try:
        yield scrapes
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert scrapes.answers, "the metrics were never had"


async def _scrape(scrapes: Scrapes, every_s: float) -> None:
    while True:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                text = await _get(scrapes.port)
        except (OSError, TimeoutError):
            text = b""  # it does not listen yet, or any more
        if text.startswith(b"HTTP/1.1 200 "):
            scrapes.answers += 1
            scrapes.answer_bytes = len(text)
        await asyncio.sleep(every_s)


async def _get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return await reader.read(-1)
    finally:
        writer.close()
