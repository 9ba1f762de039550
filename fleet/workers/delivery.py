"""Delivery of events to webhooks: due ones are leased, tried at once, and the results written.

A look claims what is due and leaves the attempts running, so that one that takes long holds up no other; each
attempt that ends sets off another look soon. What is under way is bounded by the batch in all, by four per
webhook, and by one for a webhook that is failing. A process that dies leaves leases behind, which run out by
themselves: its deliveries are then made again, with the same id and the same bytes.
"""

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import structlog

from less_sync.fleet.secrets import Unreadable
from less_sync.fleet.store import deliveries
from less_sync.fleet.store.alerts import Alert
from less_sync.fleet.store.deliveries import Claimed
from less_sync.fleet.store.webhooks import previous_secret_place, secret_place
from less_sync.fleet.webhooks.schedule import retry_in_s
from less_sync.fleet.webhooks.sending import Attempt, Outcome
from less_sync.fleet.webhooks.signature import signed_headers
from less_sync.fleet.workers.runner import Worker
from less_sync.storage import StorageError

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

GRACE_S: Final = 8.0
"""What is under way when the instance stops may take so long."""
AGAIN_S: Final = 0.02
"""From the end of an attempt to the next look, so that one look serves those that end together."""
RESULTS_AT_ONCE: Final = 3
"""Results written at a time: of the plane's connections, the rest is for its routes."""

_log = structlog.get_logger(__name__)


class Deliveries:
    """What one instance has under way."""

    def __init__(self, plane: "Plane") -> None:
        self._plane = plane
        self._under_way: dict[asyncio.Task[None], UUID] = {}
        """Attempts, with the webhook of each."""
        self._writing = asyncio.Semaphore(RESULTS_AT_ONCE)
        self._again: asyncio.TimerHandle | None = None

    async def look(self, plane: "Plane") -> bool:
        """Claim what is due, as far as there is room, and start an attempt of each.

        Returns:
            True: the batch was full, so that more may be due.
        """
        room = plane.settings.webhooks.batch_size - len(self._under_way)
        if room <= 0:
            return False
        busy = list(self._under_way.values())
        claimed = await deliveries.claim(plane.database, str(uuid4()), room, busy)
        for one in claimed:
            self._under_way[asyncio.create_task(self._deliver(one))] = one.webhook_id
        if claimed:
            _log.info("deliveries claimed", count=len(claimed), under_way=len(self._under_way))
        return len(claimed) == room

    async def finish(self) -> None:
        """Wait for what is under way, 8 s at most, then leave it: another instance makes it again."""
        tasks = list(self._under_way)
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._again is not None:
                self._again.cancel()

    async def _deliver(self, one: Claimed) -> None:
        """One attempt, outside any transaction, and its result."""
        try:
            attempt, alerts = await self._attempt(one)
            async with self._writing:
                held = await self._write(one, attempt, alerts)
            self._plane.metrics.webhook_attempts[attempt.outcome] += 1
            quiet = held and attempt.outcome is Outcome.DELIVERED
            write = _log.debug if quiet else _log.info
            write(
                "delivery attempted" if held else "result of a lease that has ended ignored",
                delivery_id=str(one.id),
                webhook_id=str(one.webhook_id),
                attempt=one.attempts,
                outcome=attempt.outcome,
                status=attempt.status,
                error=attempt.error,
                ms=attempt.duration_ms,
            )
        except StorageError as error:
            # The lease runs out, and the delivery is made again.
            _log.warning("result of a delivery not written", delivery_id=str(one.id), fault=str(error))
        except Exception:
            _log.exception("delivery failed", delivery_id=str(one.id))
        finally:
            task = asyncio.current_task()
            assert task is not None
            del self._under_way[task]
            if self._again is None:
                self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._plane.deliveries_due.set()

    async def _attempt(self, one: Claimed) -> tuple[Attempt, list[Alert]]:
        try:
            keys = [self._plane.box.open(one.secret, secret_place(one.webhook_id))]
            if one.previous_secret is not None:
                keys.append(self._plane.box.open(one.previous_secret, previous_secret_place(one.webhook_id)))
        except Unreadable:
            return Attempt(Outcome.FAILED, None, "secret unreadable", None, 0), [_unreadable(one)]
        headers = [
            *signed_headers(one.event_id, int(one.now_s), one.payload, keys),
            ("X-Webhook-Event", one.type),
            ("X-Webhook-Delivery", str(one.id)),
        ]
        return await self._plane.sender.send(one.url, headers, one.payload, one.now_s), []

    async def _write(self, one: Claimed, attempt: Attempt, alerts: list[Alert]) -> bool:
        database = self._plane.database
        if attempt.outcome is Outcome.DELIVERED:
            return await deliveries.succeeded(database, one, attempt)
        again_in_s = None
        if attempt.outcome is not Outcome.GONE:
            wait_s = attempt.retry_after_s or 0
            again_in_s = retry_in_s(one.attempts, self._plane.chance, at_least_s=wait_s)
        return await deliveries.failed(database, one, attempt, again_in_s, *alerts)


def _unreadable(one: Claimed) -> Alert:
    return Alert(
        "cluster.secret_unreadable",
        "critical",
        "cluster",
        "secrets",
        "A stored secret opens with no key there is",
        {"webhook_id": one.webhook_id},
    )


def delivery(plane: "Plane") -> Worker:
    """The worker of an instance: looks when something became due here, and every few seconds for the rest."""
    under_way = Deliveries(plane)
    return Worker(
        "delivery",
        under_way.look,
        lambda plane: plane.settings.webhooks.interval_s,
        lambda plane: plane.deliveries_due,
        under_way.finish,
    )
