"""Runs the tests of the JavaScript client: Node.js, and a real server that they may sign in to.

A test file finds the server in `LESS_SYNC_SERVER`, and in `LESS_SYNC_CONTROL` a port that does what only the
server's side can do: a line of JSON in, a line of JSON out. `clients/js/tests/server.js` speaks to it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from less_sync.storage import LocalBlobs
from less_sync.sync.limits import Limits
from tests.live import Live, claims, live_server
from tests.node import CLIENT, NODE, environment

FILES: Final = sorted((CLIENT / "tests").glob("*.test.js"))
NODE_S_MAX: Final = 120.0
LINE_BYTES_MAX: Final = 1 << 20
_COUNT: Final = re.compile(r"^# (tests|pass|fail|cancelled|skipped|todo) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NodeTests:
    """What a run of a test file came to."""

    status: int
    counts: Mapping[str, int]
    """By the words of Node's summary: tests, pass, fail, cancelled, skipped, todo."""
    output: str = field(repr=False)

    @property
    def all_passed(self) -> bool:
        """Whether there were tests, and each of them ran and passed."""
        tests = self.counts.get("tests", 0)
        return self.status == 0 and tests > 0 and self.counts.get("pass") == tests


@asynccontextmanager
async def server_for_node(
    database_url: str, directory: Path, limits: Limits | None = None
) -> AsyncIterator[dict[str, str]]:
    """Serve, files included, and yield the variables that tell a test file where."""
    blobs = LocalBlobs.at(directory / "files")
    async with live_server(database_url, limits, blobs=blobs) as live, _control(live) as port:
        yield {"LESS_SYNC_SERVER": f"http://127.0.0.1:{live.port}", "LESS_SYNC_CONTROL": str(port)}
    await blobs.aclose()


async def run_node(*arguments: str | Path, variables: Mapping[str, str]) -> NodeTests:
    """Run Node in the client's folder; what runs longer than `NODE_S_MAX` is killed and has failed."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        "--test-reporter=tap",
        *arguments,
        cwd=CLIENT,
        env={**environment(), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(NODE_S_MAX):
            output = (await process.communicate())[0].decode(errors="replace")
    except TimeoutError:
        output = f"killed after {NODE_S_MAX:g} s"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    counts = {name: int(count) for name, count in _COUNT.findall(output)}
    return NodeTests(process.returncode or 0, counts, output)


@asynccontextmanager
async def _control(live: Live) -> AsyncIterator[int]:
    """Take orders on a loopback port while the block runs. Connections end with the Node that made them."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                order = json.loads(line)
                answer = await _ORDERS[order.pop("do")](live, order)
                writer.write(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # a test file that ended does not say goodbye
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _token(live: Live, order: dict[str, Any]) -> dict[str, Any]:
    """A token for any user. More members override its claims, null leaves one out, `exp_in` is in seconds."""
    user = order.pop("user")
    told = {**claims(user), **order}
    kept = {name: value for name, value in told.items() if value is not None}
    made = live.issuer.token(kept)
    return {"token": made, "space": kept.get("personal_space_id"), "mailbox": kept.get("mailbox_id")}


async def _cut(live: Live, order: dict[str, Any]) -> int:
    """Cut every WebSocket without a close frame; how many there were."""
    connections = live.connections()
    for one in connections:
        one.transport.abort()
    return len(connections)


async def _connections(live: Live, order: dict[str, Any]) -> int:
    """How many WebSockets are open."""
    return len(live.connections())


_ORDERS: Final[dict[str, Callable[[Live, dict[str, Any]], Awaitable[Any]]]] = {
    "token": _token,
    "cut": _cut,
    "connections": _connections,
}
