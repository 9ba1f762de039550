"""Deliveries by two real instances on one database: each once, and none lost when one of them is killed."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from standardwebhooks import Webhook

from less_sync.fleet.database import Database
from less_sync.fleet.line import DEFAULT_SCHEMA
from less_sync.fleet.store import events
from less_sync.fleet.store.events import Event
from tests.fleet.process import GIVEN, KEY, FleetProcess
from tests.fleet.receivers import Behaviour, Received, Receiver, receiver

ENDPOINTS = 20
EVENTS = 25
BATCH = 20
DONE_S = 60.0
LEFT = "SELECT count(*) FROM webhook_deliveries WHERE status <> 'delivered'"


def pausing(seconds: float) -> Behaviour:
    """A receiver that takes a moment for each delivery."""

    async def answer(_request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    return answer


def instance(url: str) -> FleetProcess:
    """One that looks every second, for what the other has written."""
    here = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8"}
    often = {"WEBHOOK_WORKER_INTERVAL_SECONDS": "1", "WEBHOOK_WORKER_BATCH_SIZE": str(BATCH)}
    return FleetProcess({"DATABASE_URL": url, **GIVEN, **here, **often})


@dataclass(frozen=True, slots=True)
class World:
    """Twenty endpoints, and the database that instances share."""

    url: str
    database: Database
    receivers: Sequence[Receiver]
    secrets: list[str]

    async def register(self, port: int) -> None:
        """Name the receivers to the plane."""
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
            for one in self.receivers:
                answer = await client.post(
                    f"http://127.0.0.1:{port}/management/v1/webhooks", json={"url": one.url, "events": ["*"]}
                )
                assert answer.status_code == 201, answer.text
                self.secrets.append(answer.json()["secret"])

    async def happen(self) -> None:
        """Changes that make 500 deliveries due."""
        for number in range(EVENTS):
            async with self.database.transaction() as connection:
                await events.write(connection, [Event("agent.stale", {"number": number})])

    @property
    def received(self) -> int:
        return sum(len(one.received) for one in self.receivers)

    async def came(self, count: int) -> None:
        """Wait until so many requests have come to all together."""
        async with asyncio.timeout(DONE_S):
            while self.received < count:  # noqa: ASYNC110  # of twenty receivers
                await asyncio.sleep(0.005)

    async def settled(self, left: int = 0) -> None:
        """Wait until all but so many deliveries have their result."""
        async with asyncio.timeout(DONE_S):
            while await self.value(LEFT) > left:  # noqa: ASYNC110  # of other processes
                await asyncio.sleep(0.05)

    async def value(self, query: str) -> int:
        async with self.database.connection() as connection:
            found: int = await connection.fetchval(query)
            return found

    async def execute(self, statement: str) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement)

    def judge(self, events_made: int, *, repeated_max: int) -> None:
        """Each event came to each endpoint, at most so many of all again, with the same id and bytes."""
        ids: set[str] = set()
        repeated = 0
        for one, secret in zip(self.receivers, self.secrets, strict=True):
            counts = Counter(request.headers["webhook-id"] for request in one.received)
            assert len(counts) == events_made
            ids |= counts.keys()
            repeated += counts.total() - len(counts)
            same = {(each.headers["webhook-id"], each.headers["x-webhook-delivery"]) for each in one.received}
            assert len(same) == events_made
            for request in one.received:
                Webhook(secret).verify(request.body, dict(request.headers))
        assert len(ids) == events_made, "an event has one id everywhere"
        bodies = {(each.headers["webhook-id"], each.body) for one in self.receivers for each in one.received}
        assert len(bodies) == events_made, "and the same bytes everywhere"
        assert repeated <= repeated_max


@pytest.fixture
async def world(fleet_database_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(receiver(pausing(0.02))) for _ in range(ENDPOINTS)]
        database = await Database.open(fleet_database_url, schema=DEFAULT_SCHEMA, connections_max=2)
        stack.push_async_callback(database.aclose, 5)
        yield World(fleet_database_url, database, receivers, [])


@asynccontextmanager
async def two(world: World) -> AsyncIterator[tuple[FleetProcess, FleetProcess]]:
    """Two instances, the receivers registered."""
    async with instance(world.url) as first, instance(world.url) as second:
        await world.register(first.port)
        yield first, second


async def test_500_deliveries_by_two_instances_come_exactly_once(world: World) -> None:
    async with two(world) as both:
        await world.happen()
        await world.settled()
        for process in both:
            assert any("deliveries claimed" in line for line in process.output), "each had its part"
    assert (
        await world.value("SELECT count(*) FROM webhook_deliveries WHERE attempts = 1") == ENDPOINTS * EVENTS
    )
    assert await world.value("SELECT count(*) FROM webhook_attempts") == ENDPOINTS * EVENTS
    world.judge(EVENTS, repeated_max=0)


async def test_none_is_lost_when_either_instance_is_killed_under_load(world: World) -> None:
    async with two(world) as (first, second):
        for round_, victim in enumerate((first, second)):
            await world.happen()
            await world.came(round_ * ENDPOINTS * EVENTS + 100)
            await victim.kill()
            if victim is first:
                # What it had leased is left to its fate, which is a minute away: the time is moved.
                await world.settled(left=BATCH)
                await world.execute(
                    "UPDATE webhook_deliveries SET lease_until = now() WHERE status = 'pending'"
                )
                await world.settled()
        async with instance(world.url):
            await world.settled(left=BATCH)
            await world.execute("UPDATE webhook_deliveries SET lease_until = now() WHERE status = 'pending'")
            await world.settled()
    world.judge(2 * EVENTS, repeated_max=4 * BATCH)


async def test_late_results_of_an_instance_that_was_stopped_are_ignored(world: World) -> None:
    """Frozen for longer than its leases, it goes on with answers to attempts that others have made again."""
    for one in world.receivers:
        one.behaviour = pausing(0.5)
    async with instance(world.url) as frozen:
        await world.register(frozen.port)
        await world.happen()
        await world.came(BATCH)
        frozen.signal(signal.SIGSTOP)
        await world.execute("UPDATE webhook_deliveries SET lease_until = now() WHERE status = 'pending'")
        for one in world.receivers:
            one.behaviour = pausing(0)
        async with instance(world.url):
            await world.settled()
        attempts = await world.value("SELECT count(*) FROM webhook_attempts")
        frozen.signal(signal.SIGCONT)
        late = "result of a lease that has ended ignored"
        async with asyncio.timeout(DONE_S):
            while not any(late in line for line in frozen.output):  # noqa: ASYNC110  # of another process
                await asyncio.sleep(0.05)
    assert await world.value(LEFT) == 0
    assert await world.value("SELECT count(*) FROM webhook_attempts") == attempts
    assert await world.value("SELECT count(*) FROM webhook_deliveries WHERE attempts > 2") == 0
    world.judge(EVENTS, repeated_max=2 * BATCH)
