"""Buses of a test: opened, waited for, and what they heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from less_sync.bins.nats.access import BusAccess, nats_access
from less_sync.sync.live.nats_bus import NatsBus
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress, Pings
from tests.nats import NatsServer

WAIT_S = 30.0
QUICK = Pings(interval_s=1, unanswered_max=1)
"""A silent server is given up after two seconds."""


async def until(true: Callable[[], bool]) -> None:
    """Wait until something holds, for `WAIT_S` at most."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


def plain(*servers: NatsServer) -> NatsAccess:
    """Without TLS and without a password."""
    return NatsAccess(tuple(NatsAddress("127.0.0.1", server.port) for server in servers))


def operators(*urls: str, ca: Path | None = None, credentials: Path | None = None) -> NatsAccess:
    """As an operator's settings give it."""
    return nats_access(
        BusAccess(
            urls,
            "less-sync",
            ca_file=None if ca is None else str(ca),
            credentials_file=None if credentials is None else str(credentials),
        )
    )


def port_of(url: str) -> int:
    """The port that a URL names."""
    port = urlsplit(url).port
    assert port is not None
    return port


@dataclass
class Ear:
    """What one bus heard and was told."""

    messages: list[bytes] = field(default_factory=list)
    connections: int = 0

    def connected(self) -> None:
        """Count a connection."""
        self.connections += 1


@asynccontextmanager
async def running(
    access: NatsAccess, *, name: str = "node", prefix: str = "test", pings: Pings = QUICK
) -> AsyncIterator[tuple[NatsBus, Ear]]:
    """A bus whose connection is kept up for the block, which does not wait for it."""
    bus, ear = NatsBus(access, prefix=prefix, name=name, pings=pings), Ear()
    bus.attach(ear.messages.append, ear.connected)
    keeping = asyncio.create_task(bus.run())
    try:
        yield bus, ear
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        assert keeping.cancelled(), keeping.exception()


@asynccontextmanager
async def two(access: NatsAccess) -> AsyncIterator[tuple[NatsBus, NatsBus, Ear]]:
    """One that tells and one that hears, both connected."""
    async with running(access) as (teller, _), running(access) as (hearer, ear):
        await until(lambda: teller.connected and hearer.connected)
        yield teller, hearer, ear
