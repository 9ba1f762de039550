"""Opening the bus of a node."""

from typing import TYPE_CHECKING

from less_sync.bins.installed import cluster_parts
from less_sync.bins.nats.access import BusAccess, nats_access
from less_sync.bins.supervisor import Supervisor

if TYPE_CHECKING:
    from less_sync.sync.live.nats_bus import NatsBus


def open_bus(access: BusAccess, *, name: str, vital: Supervisor) -> "NatsBus":
    """A bus whose connection is made and kept as a vital task. `attach` to it before the next `await`.

    It does not wait for a NATS: a server starts, and serves, without one. When `vital` stops it, what was
    published last is still sent.

    Args:
        name: of this node, as the monitoring of NATS shows it.

    Raises:
        CommandError: a file is missing or not what it should be, or the extra `cluster` is not installed.
    """
    with cluster_parts("NATS_URL"):
        from less_sync.sync.live.nats_bus import NatsBus
    bus = NatsBus(nats_access(access), prefix=access.prefix, name=name)
    vital.start("bus", bus.run())
    return bus
