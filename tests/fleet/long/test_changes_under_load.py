"""Endpoints are changed and removed while three instances deliver: nobody waits in a circle."""

import asyncio
import random

import structlog

from less_sync.fleet.plane import Plane
from less_sync.fleet.store import events
from less_sync.fleet.store.events import Event
from less_sync.fleet.webhooks.sending import Sender
from less_sync.fleet.workers.delivery import delivery
from less_sync.fleet.workers.runner import run
from tests.fleet.receivers import LOOPBACK, Received, Receiver, receiver
from tests.fleet.rig import Fleet

PLACE = "/management/v1/webhooks"
SEED = 5
CHANGES = 40
"""Of each of those who change things."""
DUE_AGAIN = """
UPDATE webhook_deliveries SET next_attempt_at = now() WHERE id IN (
  SELECT id FROM webhook_deliveries WHERE status = 'pending' AND next_attempt_at > now()
  FOR UPDATE SKIP LOCKED)"""
PATIENT = "UPDATE webhooks SET throttled_until = NULL WHERE id = $1"


class Churn:
    """Those who change things, at random."""

    def __init__(self, fleet: Fleet, planes: list[Plane], one: Receiver) -> None:
        self.fleet = fleet
        self.planes = planes
        self.one = one
        self.ids: list[str] = []
        self.chance = random.Random(SEED)
        self.statuses: set[int] = set()

    async def add(self) -> None:
        """One more endpoint."""
        answer = await self.fleet.client.post(PLACE, json={"url": self.one.url, "events": ["*"]})
        self.ids.append(answer.json()["webhook"]["id"])

    async def change(self) -> None:
        """One change: an event, or a request of an operator."""
        client, place = self.fleet.client, f"{PLACE}/{self.chance.choice(self.ids)}"
        match self.chance.choices(range(5), [8, 4, 2, 2, 4])[0]:
            case 0:
                async with self.fleet.plane.database.transaction() as connection:
                    await events.write(connection, [Event("agent.stale", {}), Event("agent.inactive", {})])
                for plane in self.planes:
                    plane.deliveries_due.set()
                return
            case 1:
                answer = await client.patch(place, json={"enabled": self.chance.random() < 0.8})
            case 2:
                answer = await client.delete(place)
                if answer.status_code == 200:
                    self.ids.remove(place.rpartition("/")[2])
                    await self.add()
            case 3:
                answer = await client.post(f"{place}/{self.chance.choice(['test', 'rotate-secret'])}")
            case _:
                found = await self.fleet.rows("SELECT id FROM webhook_deliveries ORDER BY random() LIMIT 1")
                if not found:
                    return
                answer = await client.post(f"{PLACE}/deliveries/{found[0]['id']}/redeliver")
        self.statuses.add(answer.status_code)

    async def changes(self) -> None:
        """Many, with what waits made due again now and then."""
        for number in range(CHANGES):
            await self.change()
            if number % 10 == 0:
                await self.fleet.execute(DUE_AGAIN)
                await self.fleet.execute(PATIENT, self.chance.choice(self.ids))


async def test_nobody_waits_in_a_circle(fleet: Fleet) -> None:
    chance = random.Random(SEED)

    async def moody(_request: Received, writer: asyncio.StreamWriter) -> None:
        status = chance.choices([200, 500, 429, 410], [10, 8, 1, 1])[0]
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()

    old = fleet.plane
    planes = [Plane(old.settings, old.database, old.box, old.version, old.probe) for _ in range(3)]
    for plane in (*planes, old):
        plane.sender = Sender("1.2.3", timeout_s=5, http=True, allowed=LOOPBACK)
    stop = asyncio.Event()
    with structlog.testing.capture_logs() as lines:
        async with receiver(moody) as one:
            churn = Churn(fleet, planes, one)
            for _ in range(8):
                await churn.add()
            working = [asyncio.create_task(run(plane, delivery(plane), stop)) for plane in planes]
            try:
                await asyncio.gather(*(churn.changes() for _ in range(12)))
            finally:
                stop.set()
                await asyncio.gather(*working)
    assert [line for line in lines if line["log_level"] not in ("debug", "info")] == []
    assert churn.statuses <= {200, 202, 404}
    assert sum(line["event"] == "delivery attempted" for line in lines) > 100
