"""The check of the standbys that pulls may be read from: whether each is one, and is reached."""

import asyncio
from collections.abc import Sequence
from typing import Final

from less_sync.bins.doctor.findings import Finding, ok, warning
from less_sync.bins.settings.cluster import ClusterSettings
from less_sync.storage import NotReached, StorageError, inspecting, place_of

CHECK: Final = "replicas"
_MEANWHILE: Final = "pulls are read from the database meanwhile: docs/scaling.md 5.4"


async def look_at_replicas(cluster: ClusterSettings) -> Sequence[Finding]:
    """One finding for each, a warning at most: none of them is needed. Nothing where there are none."""
    return await asyncio.gather(*(_look_at(url) for url in cluster.replicas))


async def _look_at(url: str) -> Finding:
    try:
        async with inspecting(url) as inspection:
            facts = await inspection.server()
    except NotReached as error:
        return warning(CHECK, str(error), _MEANWHILE)
    except StorageError:
        return warning(CHECK, f"{place_of(url)} does not answer", _MEANWHILE)
    if not facts.standby:
        return warning(CHECK, f"{place_of(url)} is no standby: nothing is read from it", _MEANWHILE)
    return ok(CHECK, f"{place_of(url)}, Postgres {facts.named}, a standby")
