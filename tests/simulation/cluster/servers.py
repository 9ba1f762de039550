"""One node, put together as `bins` puts it together, and taken apart again."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from tests.simulation.cast import authenticator
from tests.simulation.cluster.bus import Hub
from tests.simulation.cluster.parts import ClusterParts
from tests.simulation.cluster.script import ClusterScript
from tests.simulation.cluster.system import Nodes
from tests.simulation.database import Database
from tests.simulation.system import (
    CLIENT_PATH,
    ClientSocket,
    PostgresPool,
    PushLanes,
    Services,
    StorageError,
    build_services,
    client_sessions,
    run_background,
    websocket_protocol,
)
from tests.simulation.world import Connections

SHUTDOWN_S = 8.0


@dataclass(frozen=True, slots=True)
class Around:
    """What all nodes share, and a node finds again after a restart."""

    loop: asyncio.AbstractEventLoop
    script: ClusterScript
    hub: Hub
    now: Callable[[], float]
    parts: ClusterParts


class Node:
    """One life of a node: `start`, and `stop` once.

    Args:
        database: its own connections to the tables that all share.
    """

    def __init__(self, name: str, around: Around, database: Database, chance: random.Random) -> None:
        self.name = name
        self._around = around
        self.database = database
        self._chance = chance
        self._state = Connections()
        self.bus = around.parts.bus(around.hub)
        self.services: Services
        self.is_listening = False

    async def start(self) -> None:
        """Open the database, ready to serve: whoever starts it says that it `is_listening`.

        Raises:
            StorageError: the database is away, and nothing was begun.
        """
        chance, around = self._chance, self._around
        self._pool = await PostgresPool.open(
            "postgres://model", max_connections=6, connect=self.database.connect, chance=chance
        )
        self._lanes = PushLanes(self._pool)
        try:
            await self._lanes.open()
        except StorageError:
            await self._pool.aclose(5.0)
            raise
        self._authenticator = authenticator(around.now, None)
        services = self.services = build_services(
            self._pool,
            self._lanes,
            self._authenticator,
            limits=around.script.limits,
            identity_hash_key=bytes(32),
            clock=around.loop.time,
            chance=chance,
            presence_secret=chance.randbytes(32),
            bus=self.bus,
            node=chance.randbytes(8),
        )
        services.now = around.now
        services.new_id = lambda: str(UUID(int=chance.getrandbits(128), version=4))
        around.parts.alter(services)
        self.socket = websocket_protocol(services, {CLIENT_PATH: client_sessions(services)})
        create_task = around.loop.create_task
        self._tasks = [
            create_task(run_background(services, maintenance_interval_s=3600.0)),
            create_task(self.nodes.run()),
        ]

    @property
    def nodes(self) -> Nodes:
        """What it knows of the others."""
        assert self.services.nodes is not None, "it was given a bus"
        return self.services.nodes

    async def stop(self) -> None:
        """As docs/operations.md 2.2 has it: sessions, background, writes, the bus, the database."""
        self.is_listening = False
        services = self.services
        await services.sessions.shutdown(SHUTDOWN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await services.announce.aclose(1.0)
        services.mailboxes.close()
        await self.nodes.aclose()
        self.bus.close()
        await self._authenticator.aclose()
        await self._lanes.aclose(5.0)
        await self._pool.aclose(5.0)

    def die(self) -> None:
        """Nothing of it is heard any more, by anybody: what it still does, does not matter."""
        self.is_listening = False
        self.bus.close()
        self.database.lose(1000)

    def serve(self, transport: asyncio.Transport) -> ClientSocket:
        """A client's connection whose upgrade was just read."""
        socket = self.socket(cast(Any, None), cast(Any, self._state), {})
        socket.connection_made(transport)
        return socket
