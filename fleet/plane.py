"""What every route and worker is handed."""

import asyncio
import random
import secrets
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Self

from less_sync.fleet.database import Database
from less_sync.fleet.failures import Failures
from less_sync.fleet.heartbeat_limit import HeartbeatLimit
from less_sync.fleet.metrics import Metrics
from less_sync.fleet.passwords import Passwords
from less_sync.fleet.probe import DatabaseProbe
from less_sync.fleet.reused import Reused
from less_sync.fleet.secrets import SecretBox
from less_sync.fleet.settings import FleetSettings
from less_sync.fleet.webhooks.sending import Sender

CLOSE_S: Final = 5.0
STATS_S: Final = 5.0
"""How long figures of the whole fleet count."""


@dataclass(slots=True)
class Plane:
    """One instance of the fleet plane. Used on one event loop."""

    settings: FleetSettings
    database: Database
    box: SecretBox
    """Seals and opens the secrets at rest."""
    version: str
    """Of this program."""
    probe: DatabaseProbe
    sender: Sender = field(init=False)
    """Sends webhooks, and looks at their URLs before."""
    metrics: Metrics = field(default_factory=Metrics)
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells this process from the others on the same database, in `worker_state` and logs."""
    chance: random.Random = field(default_factory=random.SystemRandom)
    """Where jitter comes from."""
    heartbeat_limit: HeartbeatLimit = field(default_factory=HeartbeatLimit)
    stats: Reused[dict[str, object]] = field(default_factory=lambda: Reused(STATS_S))
    deliveries_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set behind every commit that may have scheduled deliveries: wakes the worker of this instance."""
    passwords: Passwords = field(default_factory=Passwords)
    sign_ins: Failures = field(default_factory=Failures)
    """Failed ones, apart from other credentials: a fleet behind one address shuts no operator out there."""
    draining: bool = False
    """The process is about to end."""

    def __post_init__(self) -> None:
        """Make what follows from the settings alone."""
        webhooks = self.settings.webhooks
        self.sender = Sender(
            self.version,
            timeout_s=webhooks.timeout_s,
            http=webhooks.allow_http,
            allowed=webhooks.allow_networks,
        )

    @classmethod
    async def open(cls, settings: FleetSettings, url: str) -> Self:
        """Connect to a database whose fleet schema is of this release.

        Raises:
            Unavailable: it cannot be reached.
            StorageError: it refused.
        """
        database = await Database.open(
            url, schema=settings.schema, connections_max=settings.database_connections_max
        )
        return cls.on(database, settings)

    @classmethod
    def on(cls, database: Database, settings: FleetSettings) -> Self:
        """An instance on connections that are open."""
        probe = DatabaseProbe(lambda: database.value("ping"))
        return cls(settings, database, SecretBox(*settings.secret_keys), version("less-sync"), probe)

    async def aclose(self) -> None:
        """Close the connections and the threads."""
        self.passwords.close()
        await self.database.aclose(CLOSE_S)
