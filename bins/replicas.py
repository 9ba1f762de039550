"""Settings to replicas: pulls of a server read from standbys of its database (docs/scaling.md 5)."""

from contextlib import AsyncExitStack
from typing import Final

from less_sync.bins.settings.config import Settings
from less_sync.storage import PostgresPool, PostgresPullStore
from less_sync.sync.services import Services

MEASURED: Final = "replicas"
"""What the recorder knows their counts by."""
_CLOSE_TIMEOUT_S: Final = 1.0


def use_replicas(settings: Settings, pool: PostgresPool, services: Services, stack: AsyncExitStack) -> None:
    """Let pulls read from the standbys of the settings, if there are any; `stack` closes them again.

    Nothing is connected before the first pull, so none of them keeps a server from starting. Each gets as
    many connections as pulls may use of the database's own pool.
    """
    if not settings.cluster.replicas:
        return
    # What few servers need is loaded by those that do.
    from less_sync.storage import Replicas, ReplicatedPullStore

    replicas = Replicas.at(
        settings.cluster.replicas, pool, max_connections=max(1, settings.database.connections_max // 2)
    )
    stack.push_async_callback(replicas.aclose, _CLOSE_TIMEOUT_S)
    services.pulls = ReplicatedPullStore(PostgresPullStore(pool), replicas)
    services.metrics.measure(MEASURED, replicas.measured)
