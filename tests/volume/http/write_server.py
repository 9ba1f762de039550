"""Servers that write and delete in the test's own process, with real files and sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from less_sync.volume.counters import Counters
from less_sync.volume.engine.store import Store
from less_sync.volume.format.fid import parse_needle
from less_sync.volume.format.needle import Needle
from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.chunk_deletion import ChunkDeletion
from less_sync.volume.http.client import OutgoingHttp
from less_sync.volume.http.delete import DeleteHandler
from less_sync.volume.http.handlers import Handler
from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.mime import Types
from less_sync.volume.http.replicate import Replication
from less_sync.volume.http.request import Request
from less_sync.volume.http.server import AROUND_FILE_BYTES
from less_sync.volume.http.write import WriteHandler
from less_sync.volume.master.channels import Channels
from less_sync.volume.master.lookup import Lookup
from less_sync.volume.master.masters import Masters
from less_sync.volume.options import Address, DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services
from tests.volume.master.fake_master import NOWHERE

WAIT_S_MAX = 10
TYPES = Types(globs=(), types=())
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Server:
    port: int
    services: Services
    writes: WriteHandler
    uploads: InFlight

    @property
    def store(self) -> Store:
        return self.services.store

    async def ask(self, method: str, target: str, body: bytes | None = None, headers: Headers = ()) -> Answer:
        """One request on a connection of its own."""
        lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return await self.exchange("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    async def exchange(self, sent: bytes) -> Answer:
        """Send bytes and read the answer to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        raw = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers, body)

    def stored(self, fid: str) -> Needle:
        """What the store has for `3,01637037d6`."""
        vid, needle = fid.split(",")
        volume = self.store.volume(int(vid))
        assert volume is not None
        return volume.read(parse_needle(needle)[0])


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110  nobody tells of what is waited for here
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    directory: Path, *, master: Address = NOWHERE, environment: dict[str, str] | None = None, **changed: Any
) -> AsyncIterator[Server]:
    """A server on a free port; `changed` are options."""
    directory.mkdir(exist_ok=True)
    handlers: dict[str, Handler] = {}

    def route(request: Request) -> Handler:
        return handlers[request.method]

    options = replace(Options((DirectoryOptions(directory),)), **changed)
    counters = Counters()
    listener = Listener(
        route,
        counters,
        BodyPool(),
        body_bytes_max=options.file_bytes_max + AROUND_FILE_BYTES,
        idle_s=30,
    )
    port = await listener.start("127.0.0.1", 0)
    options = replace(options, port=port)
    channels = Channels()
    masters = Masters((master,), channels, "127.0.0.1", port, current=master)
    store = Store(options)
    await store.load()
    outgoing = OutgoingHttp()
    services = Services(
        options,
        store,
        Security(options, environment or {}),
        masters,
        Lookup(masters, channels),
        channels,
        counters,
        outgoing,
    )
    uploads = InFlight(options.upload_bytes_max, options.upload_wait_s)
    replication = Replication(services, TYPES)
    writes = WriteHandler(services, uploads, TYPES, replication)
    handlers["POST"] = handlers["PUT"] = writes
    handlers["DELETE"] = DeleteHandler(services, replication, ChunkDeletion(services))
    try:
        yield Server(port, services, writes, uploads)
    finally:
        await listener.stop(5)
        await outgoing.close()
        await channels.close()
        await store.close()
