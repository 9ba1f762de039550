"""What the server does without being asked: sweep presence, purge what has expired (docs/operations.md 6).

Each task survives its own errors, says so in the log, and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from less_sync.storage import StorageError
from less_sync.sync.files.space_files import SpaceFiles
from less_sync.sync.files.sweep import AGE_MIN_S, sweep_orphans
from less_sync.sync.live.elsewhere import TICK_S, PresenceElsewhere
from less_sync.sync.live.presence import SWEEP_MAX
from less_sync.sync.services import Services

FIRST_MAINTENANCE_S: Final = 30.0
JITTER: Final = 0.1
"""Replicas that started together shall not purge together."""

log = structlog.get_logger(__name__)


async def run_background(
    services: Services, *, maintenance_interval_s: float, orphan_sweep_s: float | None = None
) -> None:
    """Run every periodic task until cancelled.

    Args:
        orphan_sweep_s: how often contents without a row are looked for; None: never.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_sweep_presence(services), name="presence sweep")
        if services.elsewhere is not None:
            tasks.create_task(_meet_others(services.elsewhere), name="presence elsewhere")
        tasks.create_task(_maintain(services, maintenance_interval_s), name="maintenance")
        if services.files is not None:
            tasks.create_task(_tidy(services.files), name="tidying of staged contents")
            if orphan_sweep_s is not None:
                sweeping = _sweep_orphans(services, services.files, orphan_sweep_s)
                tasks.create_task(sweeping, name="orphan sweep")


async def _sweep_presence(services: Services) -> None:
    while True:
        await asyncio.sleep(services.limits.presence_sweep_s)
        failed = True
        try:
            sweep(services)
            failed = False
        except Exception:
            log.exception("presence sweep failed")
        services.metrics.chore_ended("presence sweep", failed=failed)


async def _meet_others(elsewhere: PresenceElsewhere) -> None:
    pause_s = TICK_S
    while True:
        try:
            pause_s = elsewhere.tick()
        except Exception:
            log.exception("looking after other nodes failed")
        await asyncio.sleep(pause_s)


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
        await _take_turn(services, "maintenance", interval_s, lambda: maintain(services))
        await asyncio.sleep(interval_s * services.chance.uniform(1 - JITTER, 1 + JITTER))


async def _take_turn(
    services: Services, task: str, interval_s: float, work: Callable[[], Awaitable[object]]
) -> None:
    """Do the work unless another process has done it in this interval; whatever fails is logged."""
    failed = True
    try:
        async with services.turns.taken(task, interval_s) as ours:
            if not ours:
                return
            await work()
        failed = False
    except StorageError as error:
        log.error(f"{task} failed", error=str(error))
    except Exception:
        log.exception(f"{task} failed")
    services.metrics.chore_ended(task, failed=failed)


async def _tidy(files: SpaceFiles) -> None:
    """Remove, once, what uploads of killed processes have left aside."""
    try:
        removed = await files.blobs.tidy(older_than_s=AGE_MIN_S)
    except Exception as error:
        log.error("staged contents were not tidied", error=str(error))
    else:
        if removed:
            log.info("staged contents tidied", count=removed)


async def _sweep_orphans(services: Services, files: SpaceFiles, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s * services.chance.uniform(1 - JITTER, 1 + JITTER))
        await _take_turn(
            services,
            "orphan sweep",
            interval_s,
            lambda: sweep_orphans(files.store, files.blobs, files.removals),
        )


async def maintain(services: Services) -> None:
    """Purge expired invitations and rate-limit slots whose window is over, one replica at a time."""
    invitations = await services.invitations.purge()
    slots = await services.rates.clean_up()
    if invitations or slots:
        log.info("purged", invitations=invitations, rate_limit_slots=slots)
