"""What the handlers of HTTP and gRPC work with, made once by `volume/server.py`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from less_sync.volume.counters import Counters
    from less_sync.volume.engine.store import Store
    from less_sync.volume.http.client import OutgoingHttp
    from less_sync.volume.master.channels import Channels
    from less_sync.volume.master.lookup import Lookup
    from less_sync.volume.master.masters import Masters
    from less_sync.volume.options import Options
    from less_sync.volume.security.security import Security


@dataclass(slots=True)
class Services:
    """The parts of one running server. Handlers take what they need and own none of it."""

    options: "Options"
    store: "Store"
    security: "Security"
    masters: "Masters"
    """The current master, calls to it, and whether this server still reports to it."""
    lookup: "Lookup"
    channels: "Channels"
    counters: "Counters"
    outgoing: "OutgoingHttp"
    clock: Callable[[], float] = time.time
    """Unix time in seconds."""
