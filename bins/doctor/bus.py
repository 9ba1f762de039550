"""The check of the bus between nodes: whether a server with these settings would hear the others."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from less_sync.bins.doctor.findings import Finding, failed, ok, warning
from less_sync.bins.errors import CommandError
from less_sync.bins.nats.access import configured_access, nats_access
from less_sync.bins.nats.binary import nats_server_program
from less_sync.bins.settings.cluster import BusSettings, ClusterSettings

CHECK: Final = "bus"
CONNECT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.02


async def look_at_bus(cluster: ClusterSettings) -> Sequence[Finding]:
    """Connect to every NATS server that is named, as the server would; nothing is published.

    Nothing is found of a server of one process without `NATS_URL`.
    """
    if cluster.bus is None:
        return [_private(cluster.workers)] if cluster.workers > 1 else []
    try:
        connected = await asyncio.gather(*(_is_there(cluster.bus, url) for url in cluster.bus.urls))
    except CommandError as error:
        return [failed(CHECK, str(error), "correct the file, or the setting that names it")]
    away = [_place(url) for url, there in zip(cluster.bus.urls, connected, strict=True) if not there]
    found = f"{sum(connected)} of {len(connected)} NATS servers let us in"
    todo = "look into their logs; correct NATS_URL, NATS_CA_FILE or NATS_CREDENTIALS_FILE"
    if len(away) == len(connected):
        return [failed(CHECK, f"{found}: news of other nodes would come by comparison alone", todo)]
    if away:
        return [warning(CHECK, f"{found}, not {', '.join(away)}", todo)]
    how = "TLS" if cluster.bus.tls else "no TLS"
    return [ok(CHECK, f"{found}, {how}")]


def _private(workers: int) -> Finding:
    try:
        nats_server_program()
    except CommandError as error:
        return failed(CHECK, str(error), "install the extra, or set NATS_URL")
    return ok(CHECK, f"{workers} workers: a nats-server of their own, started with them")


async def _is_there(settings: BusSettings, url: str) -> bool:
    from less_sync.sync.live.nats_bus import NatsBus

    access = replace(configured_access(settings), urls=(url,))
    bus = NatsBus(nats_access(access), prefix=access.prefix, name="doctor")
    bus.attach(lambda message: None, lambda: None)
    running = asyncio.create_task(bus.run())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                while not bus.connected:  # noqa: ASYNC110  # nobody tells of the first connection alone
                    await asyncio.sleep(LOOK_EVERY_S)
        return bus.connected
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _place(url: str) -> str:
    """Without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}" + (f":{parts.port}" if parts.port else "")
