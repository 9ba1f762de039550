"""Read handlers behind real listeners on loopback: servers that ask each other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.dispatch import Dispatch
from less_sync.volume.http.handlers import Handler
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.request import Request
from less_sync.volume.master.lookup import Place
from tests.volume.http.reading import Reader, reader
from tests.volume.ports import Ports


def place(server: Reader) -> Place:
    """Where a server listens."""
    url = server.services.options.own_address
    return Place(url, url, 0)


@asynccontextmanager
async def listening(directory: Path, *, read_mode: str = "proxy") -> AsyncIterator[Reader]:
    """A reader that listens on the port of its options."""
    with Ports() as ports:
        port = ports.take()
        async with reader(directory, read_mode=read_mode, port=port) as server, _listener(server):
            yield server


@asynccontextmanager
async def _listener(server: Reader) -> AsyncIterator[None]:
    dispatch = Dispatch("SeaweedFS Volume test", {}, dict.fromkeys(("GET", "HEAD"), server.handler))

    def route(request: Request) -> Handler:
        server.asked.append(f"{request.method} {request.path}")
        return dispatch.route(request)

    listener = Listener(route, server.services.counters, BodyPool(), body_bytes_max=1 << 20, idle_s=30.0)
    await listener.start("127.0.0.1", server.services.options.port)
    try:
        yield
    finally:
        await server.services.outgoing.close()
        await listener.stop(1.0)
