"""The HTTP side of a server as it is wired, in the test's own process, with real files and sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from less_sync.volume.counters import Counters
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.fid import parse_needle
from less_sync.volume.format.needle import Needle
from less_sync.volume.http.client import OutgoingHttp
from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.server import HttpServer
from less_sync.volume.master.channels import Channels
from less_sync.volume.master.lookup import Lookup
from less_sync.volume.master.masters import Masters
from less_sync.volume.options import Address, DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services
from tests.volume import raw_http
from tests.volume.master.fake_master import NOWHERE
from tests.volume.ports import Ports

ANSWER_S_MAX = 20
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
    http: HttpServer

    @property
    def store(self) -> Store:
        return self.services.store

    @property
    def uploads(self) -> InFlight:
        return self.http.limits.uploads

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
        answer = raw_http.parse(await asyncio.wait_for(reader.read(), ANSWER_S_MAX))
        writer.close()
        return Answer(answer.status, dict(answer.headers), answer.body)

    def volume(self, volume_id: int = 3) -> Volume:
        """One that is there."""
        volume = self.store.volume(volume_id)
        assert volume is not None
        return volume

    def stored(self, fid: str) -> Needle:
        """What the store has for `3,01637037d6`."""
        vid, needle = fid.split(",")
        return self.volume(int(vid)).read(parse_needle(needle)[0])


@asynccontextmanager
async def services_in(
    directory: Path,
    *,
    port: int = 8080,
    master: Address = NOWHERE,
    environment: dict[str, str] | None = None,
    **changed: Any,
) -> AsyncIterator[Services]:
    """The services of a server with one data directory; `changed` are options."""
    directory.mkdir(exist_ok=True)
    options = replace(Options((DirectoryOptions(directory),), port=port, public_port=port), **changed)
    channels = Channels()
    masters = Masters((master,), channels, "127.0.0.1", port, current=master)
    store = Store(options)
    await store.load()
    outgoing = OutgoingHttp()
    security = Security(options, environment or {})
    lookup = Lookup(masters, channels)
    try:
        yield Services(options, store, security, masters, lookup, channels, Counters(), outgoing)
    finally:
        await outgoing.close()
        await channels.close()
        await store.close()


@asynccontextmanager
async def serving(directory: Path, **changed: Any) -> AsyncIterator[Server]:
    """A server that listens; `changed` as for `services_in`."""
    with Ports() as ports:
        port = ports.take()
        async with services_in(directory, port=port, **changed) as services:
            http = HttpServer(services)
            await http.start()
            try:
                yield Server(port, services, http)
            finally:
                await http.stop()
