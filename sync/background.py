"""What the server does without being asked: sweep presence, purge what has expired (docs/operations.md 6).

Each task survives its own errors, says so in the log, and goes on.
"""

import asyncio
from typing import Final

import structlog

from less_sync.storage import StorageError
from less_sync.sync.live.presence import SWEEP_MAX
from less_sync.sync.services import Services

FIRST_MAINTENANCE_S: Final = 30.0
JITTER: Final = 0.1
"""Replicas that started together shall not purge together."""

log = structlog.get_logger(__name__)


async def run_background(services: Services, *, maintenance_interval_s: float) -> None:
    """Run every periodic task until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_sweep_presence(services), name="presence sweep")
        tasks.create_task(_maintain(services, maintenance_interval_s), name="maintenance")


async def _sweep_presence(services: Services) -> None:
    while True:
        await asyncio.sleep(services.limits.presence_sweep_s)
        try:
            sweep(services)
        except Exception:
            log.exception("presence sweep failed")


def sweep(services: Services) -> int:
    """Remove who has fallen silent and tell the others; return how many were removed.

    Nothing is awaited between the removal and its announcement, so a fresh `presence.set` cannot be
    overtaken by the departure of its predecessor.
    """
    removed = 0
    while True:
        departed = services.presence.sweep()
        for space, peer in departed:
            services.announce.departed(space, peer)
        removed += len(departed)
        if len(departed) < SWEEP_MAX:
            break
    if removed:
        log.debug("presence swept", count=removed)
    return removed


async def _maintain(services: Services, interval_s: float) -> None:
    await asyncio.sleep(min(FIRST_MAINTENANCE_S, interval_s))
    while True:
        try:
            await maintain(services)
        except StorageError as error:
            log.error("maintenance failed", error=str(error))
        except Exception:
            log.exception("maintenance failed")
        await asyncio.sleep(interval_s * services.chance.uniform(1 - JITTER, 1 + JITTER))


async def maintain(services: Services) -> None:
    """Purge expired invitations and rate-limit slots whose window is over, one replica at a time."""
    invitations = await services.invitations.purge()
    slots = await services.rates.clean_up()
    if invitations or slots:
        log.info("purged", invitations=invitations, rate_limit_slots=slots)
