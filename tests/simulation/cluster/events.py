"""What happens to a cluster at a time that the script names."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.cast import SHARED
from tests.simulation.cluster.servers import Node
from tests.simulation.system import StorageError

if TYPE_CHECKING:
    from tests.simulation.cluster.world import ClusterWorld

AGAIN_S: Final = 0.5
"""When a node is started again that found no database."""
AWAY_S: Final = 20.0
"""How long the bus is away at most, or a node parted from it."""


def _part(world: "ClusterWorld", amount: float) -> None:
    node = world.nodes[int(amount * 7.0) % len(world.nodes)]
    if not node.bus.parted:
        world.hub.part(node.bus, amount * AWAY_S)


def _bus_away(world: "ClusterWorld", amount: float) -> None:
    if not world.hub.away:
        world.hub.stop(amount * AWAY_S, silently=False)


def _bus_silent(world: "ClusterWorld", amount: float) -> None:
    if not world.hub.away:
        world.hub.stop(amount * AWAY_S, silently=True)


def _crash(world: "ClusterWorld", amount: float) -> None:
    _restart(world, amount, politely=False)


def _restart_politely(world: "ClusterWorld", amount: float) -> None:
    _restart(world, amount, politely=True)


def _restart(world: "ClusterWorld", amount: float, *, politely: bool) -> None:
    """Stop a node and start another one in its place; not politely: nothing of it is heard any more."""
    number = int(amount * 7.0) % len(world.nodes)
    if number in world.restarting:
        return
    node = world.nodes[number]
    node.is_listening = False
    for seat, witness in zip(world.seats, world.witnesses(), strict=True):
        if witness.node == number:
            witness.shut_down_s = world.loop.time()
            if not politely:
                seat.line.hang_up(0.0)
    if not politely:
        node.die()

    async def again() -> None:
        try:
            await node.stop()
            while world.nodes[number] is node:
                fresh = Node(node.name, world.around, node.database, world.fork())
                try:
                    world.leftovers[number] = await world.begin(fresh)
                    world.nodes[number] = fresh
                except StorageError:
                    fresh.bus.close()
                    await asyncio.sleep(AGAIN_S)
        finally:
            del world.restarting[number]

    world.restarting[number] = world.loop.create_task(again(), name=f"restart of {node.name}")


def _drop(world: "ClusterWorld", amount: float) -> None:
    world.members[int(amount * len(world.members))].hang_up()


def _lock(world: "ClusterWorld", amount: float) -> None:
    for database in world.databases:
        database.lock(SHARED, amount * amount * 9.0)


def _lose(world: "ClusterWorld", amount: float) -> None:
    world.databases[int(amount * 7.0) % len(world.databases)].lose(1 + int(amount * 3))


def _outage(world: "ClusterWorld", amount: float) -> None:
    for database in world.databases:
        database.outage(amount * 8.0)


def _elsewhere(world: "ClusterWorld", amount: float) -> None:
    """A server that is not on the bus writes something."""
    if not any(database.is_locked(SHARED) for database in world.databases):
        world.tables.bump_elsewhere(SHARED)


EVENTS: Final[dict[str, Callable[["ClusterWorld", float], None]]] = {
    "part": _part,
    "bus away": _bus_away,
    "bus silent": _bus_silent,
    "crash": _crash,
    "restart": _restart_politely,
    "drop": _drop,
    "lock": _lock,
    "lose": _lose,
    "outage": _outage,
    "elsewhere": _elsewhere,
}
