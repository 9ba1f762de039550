"""How much a cluster takes, from what one process was measured to take (docs/scaling.md 6). Pure arithmetic.

Times are CPU of one core in microseconds. A server process uses one core.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

US_PER_S: Final = 1_000_000
KIB: Final = 1024
GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Costs:
    """What each thing costs. The defaults are those of docs/benchmarks.md and of `make capacity`."""

    push_us: float = 69.0
    """A push of one record of 1 KiB at the server: 1.32 s for 19,200 of them."""
    push_postgres_us: float = 84.0
    """And at Postgres: 1.61 s for as many."""
    connect_us: float = 617.0
    """Connecting, authenticating and subscribing."""
    delivery_us: float = 4.3
    """A notification written to one subscriber's socket, nearly all of it the kernel's."""
    publish_us: float = 17.0
    """Telling other nodes of a commit, without the socket of the bus: frame, message, sequence."""
    hear_us: float = 11.5
    """Taking a commit of another node, without that socket and without deliveries."""
    bus_publish_us: float = 2.4
    """The bus' client for one message sent."""
    bus_receive_us: float = 2.7
    """And for one received."""
    bus_server_us: float = 2.0
    """nats-server, for one message that goes in or out."""
    connection_bytes: float = 8.06 * KIB
    """Resident, of an idle connection with one subscription."""
    subscription_bytes: float = 810.0
    """Of a subscription to one more space, its interest in the bus included."""
    process_bytes: float = 63 * KIB * KIB
    """A server that does nothing."""
    record_bytes: float = 1.4 * KIB
    """Of a record of 1 KiB in Postgres, indexes included, before its update leaves a dead row."""
    busy: float = 0.6
    """The part of a core that is planned for; the rest is for what comes all at once."""


@dataclass(frozen=True, slots=True)
class Load:
    """What people do, all together."""

    connections: int
    subscriptions: int
    """One for each space of each connection."""
    pushes_s: float
    deliveries_per_push: float
    """Connections, but for the author's, that a push is told to."""
    connects_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a cluster of so many nodes needs for it."""

    nodes: int
    messages_per_push: float
    """That other nodes receive; the push sends one."""
    node_cores: float
    """Of one process."""
    node_bytes: float
    """Resident, of one process."""
    postgres_cores: float
    bus_cores: float
    bytes_s: float
    """By which the database grows, if every record is a new one."""

    @property
    def fits(self) -> bool:
        """Whether one process does its share on its one core."""
        return self.node_cores <= 1.0


def nodes_reached(subscribers: int, nodes: int) -> float:
    """How many *other* nodes hear of a push, if its space has so many subscribed connections at any nodes.

    The author's is one of them; each other connection is at any of the nodes with the same likelihood.
    """
    return (nodes - 1) * (1.0 - (1.0 - 1.0 / nodes) ** (subscribers - 1))


def messages_per_push(spaces: Iterable[tuple[int, int]], nodes: int) -> float:
    """As `nodes_reached`, of all pushes: who is subscribed to a space pushes to it as often as to others.

    Args:
        spaces: how many there are of each number of subscribers: (subscribers, spaces).
    """
    sizes = list(spaces)
    pushers = sum(size * count for size, count in sizes)
    return sum(size * count * nodes_reached(size, nodes) for size, count in sizes) / pushers


def deliveries_per_push(spaces: Iterable[tuple[int, int]]) -> float:
    """How many connections a push is told to, of all pushes."""
    sizes = list(spaces)
    pushers = sum(size * count for size, count in sizes)
    return sum(size * count * (size - 1) for size, count in sizes) / pushers


def needs(load: Load, nodes: int, messages: float, costs: Costs = Costs()) -> Needs:
    """What the load takes of `nodes` processes, if each push is heard by `messages` of the others."""
    pushes_us = load.pushes_s * (
        costs.push_us
        + costs.delivery_us * load.deliveries_per_push
        + (costs.publish_us + costs.bus_publish_us if nodes > 1 else 0.0)
        + (costs.hear_us + costs.bus_receive_us) * messages
    )
    server_us = pushes_us + load.connects_s * costs.connect_us
    further = max(0, load.subscriptions - load.connections)
    held = load.connections * costs.connection_bytes + further * costs.subscription_bytes
    core_us = US_PER_S * costs.busy
    return Needs(
        nodes,
        messages,
        server_us / nodes / core_us,
        costs.process_bytes + held / nodes,
        load.pushes_s * costs.push_postgres_us / core_us,
        load.pushes_s * (1 + messages) * costs.bus_server_us / core_us if nodes > 1 else 0.0,
        load.pushes_s * costs.record_bytes,
    )


def nodes_for(load: Load, spaces: Iterable[tuple[int, int]], costs: Costs = Costs()) -> Needs:
    """The fewest processes that take the load on a core each."""
    sizes, nodes = list(spaces), 1
    while True:
        found = needs(load, nodes, messages_per_push(sizes, nodes), costs)
        if found.fits or nodes >= 100_000:
            return found
        nodes = max(nodes + 1, int(nodes * found.node_cores))
