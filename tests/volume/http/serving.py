"""Read handlers behind real listeners on loopback: servers that ask each other."""

import socket
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


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def place(server: Reader) -> Place:
    """Where a server listens."""
    url = server.services.options.own_address
    return Place(url, url, 0)


@asynccontextmanager
async def listening(directory: Path, *, read_mode: str = "proxy") -> AsyncIterator[Reader]:
    """A reader that listens on the port of its options."""
    async with reader(directory, read_mode=read_mode, port=free_port()) as server:
        dispatch = Dispatch("SeaweedFS Volume test", {}, dict.fromkeys(("GET", "HEAD"), server.handler))

        def route(request: Request) -> Handler:
            server.asked.append(f"{request.method} {request.path}")
            return dispatch.route(request)

        listener = Listener(
            route,
            server.services.counters,
            BodyPool(),
            body_bytes_max=1 << 20,
            idle_s=30.0,
        )
        await listener.start("127.0.0.1", server.services.options.port)
        try:
            yield server
        finally:
            await server.services.outgoing.close()
            await listener.stop(1.0)
