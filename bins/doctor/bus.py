"""The check of the bus: each NATS server that the settings name, reached as the server reaches it."""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from less_sync.bins.doctor.findings import Finding, failed, looked, not_applicable, ok, warning
from less_sync.bins.errors import CommandError
from less_sync.bins.nats.access import configured_access, nats_access
from less_sync.bins.settings.cluster import BusSettings
from less_sync.sync.live.news import NEWS_BYTES_MAX

if TYPE_CHECKING:
    from less_sync.sync.live.nats_link import NatsAccess, NatsAddress, NatsLink

OVERHEAD_BYTES: Final = 1024
"""What a message has beside the payload of its frames, at most."""
ANSWER_S: Final = 5.0
_PAGE: Final = "see docs/scaling.md 2.1"


async def look_at_bus(settings: BusSettings | None) -> Sequence[Finding]:
    """Connect to every server, and try whether it takes the subjects of the bus."""
    if settings is None:
        return [not_applicable("bus", "NATS_URL is not set")]
    try:
        access = nats_access(configured_access(settings))
    except CommandError as error:
        return [failed("bus", str(error), _PAGE)]
    looks = [
        looked(f"bus {address}", lambda address=address: _look(address, access, settings))  # type: ignore[misc]
        for address in access.servers
    ]
    return [finding for findings in await asyncio.gather(*looks) for finding in findings]


async def _look(address: "NatsAddress", access: "NatsAccess", settings: BusSettings) -> Sequence[Finding]:
    from less_sync.sync.live.nats_link import NatsError, NatsLink, Pings

    check = f"bus {address}"
    refused: list[str] = []
    link = NatsLink(lambda _: None, refused.append)
    began_s = time.monotonic()
    try:
        await link.open(address, access, "less-sync doctor", Pings())
        took_ms = 1000 * (time.monotonic() - began_s)
        await _try_subjects(link, settings.prefix)
        if refused:
            return [failed(check, f"not permitted: {refused[0]}", _PAGE)]
        if link.lost.done():
            return [failed(check, f"it hung up: {link.lost.result()}", _PAGE)]
        found = f"connected in {took_ms:.0f} ms, subjects permitted"
        if link.max_payload < NEWS_BYTES_MAX + OVERHEAD_BYTES:
            todo = f"raise its max_payload to {NEWS_BYTES_MAX + OVERHEAD_BYTES} or more: the default is 1 MiB"
            return [warning(check, f"{found}; messages of {link.max_payload} bytes at most", todo)]
        if _in_clear(address, access):
            todo = "use tls://, or a network that nobody else is in"
            return [warning(check, f"{found}; news and what is proven by travel in clear", todo)]
        return [ok(check, found)]
    except NatsError as error:
        return [failed(check, f"not connected: {error}", _PAGE)]
    finally:
        await link.close_link(politely=False)


async def _try_subjects(link: "NatsLink", prefix: str) -> None:
    """Ask for a subject of a space and for that of all nodes, and tell nobody something on the first."""
    space = f"{prefix}.s.{secrets.token_hex(16)}"
    answered = asyncio.Event()
    link.write(
        [f"SUB {subject} {sid}\r\n".encode() for sid, subject in enumerate((space, f"{prefix}.nodes"), 1)]
    )
    link.write([f"PUB {space} 0\r\n\r\n".encode()])
    link.ping(answered.set)
    async with asyncio.timeout(ANSWER_S):
        lost = asyncio.create_task(link.wait_lost())
        waiting = asyncio.create_task(answered.wait())
        try:
            await asyncio.wait({lost, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            waiting.cancel()


def _in_clear(address: "NatsAddress", access: "NatsAccess") -> bool:
    if access.tls is not None or address.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return True
