"""Two nodes, or two workers, while something fails, with people who write and listen at both.

Whatever fails: no acknowledged push is lost, every listener comes to know all that is stored, is told it in
ascending order without a hole, and nobody is told anything once an end of access is a few seconds old. Of
closes only 1001 comes. `Crowd` sees to all of that with every wait.
"""

import asyncio
import resource
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import Final
from uuid import uuid4

import pytest

from tests.bench.child import raise_open_files
from tests.cluster.crowd import GOING, TIMEOUT_S, Crowd, Listener, Place, Space, Writer, crowd
from tests.cluster.gate import gate
from tests.cluster.node import all_of, connections, said, until, workers_of
from tests.live import ISSUER, Person
from tests.nats import NatsServer
from tests.wire.issuer import Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess

HEARD_S_MAX: Final = 20.0
"""5 s are promised without any bus, 15 s more are for a busy machine."""
ACCESS_S: Final = {True: 3.0, False: 8.0}
"""How long after its end somebody may still be told something, with the bus (0.1 s is promised) and without
(5 s)."""
SILENCE_S: Final = 15.0
CLIENTS: Final = 2000
SPACES: Final = 50
WRITERS: Final = 10
AT_ONCE: Final = 100


@asynccontextmanager
async def crowd_of(
    database_url: str,
) -> AsyncIterator[tuple[Crowd, Mapping[str, str]]]:
    """A crowd that has not gathered yet, and the settings of the servers that take its tokens."""
    issuer = new_issuer()
    with key_set_of(issuer) as key_set:
        async with crowd(issuer, database_url) as people:
            yield (
                people,
                {
                    "DATABASE_URL": database_url,
                    "DATABASE_MAX_CONNECTIONS": "24",
                    "PUSH_LANES": "6",
                    "IDENTITY_HASH_KEY": bytes(32).hex(),
                    "TRUSTED_ISSUERS": f"{ISSUER}={key_set}",
                },
            )


@contextmanager
def key_set_of(issuer: Issuer) -> Iterator[str]:
    """Serve the key set from a thread of its own: a crowd keeps this one busy for seconds."""
    started: Future[tuple[str, asyncio.AbstractEventLoop]] = Future()
    end = asyncio.Event()

    async def serve() -> None:
        async with served_key_set(issuer) as url:
            started.set_result((url, asyncio.get_running_loop()))
            await end.wait()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    url, loop = started.result(TIMEOUT_S)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def pair_of(people: Crowd) -> tuple[Listener, Listener]:
    """The listeners of one space at both nodes."""
    return people.listeners[0], people.listeners[1]


async def both_ways(people: Crowd, *, within_s: float = HEARD_S_MAX) -> bool:
    """Whether events cross in both directions, as they do on the bus alone."""
    one, other = pair_of(people)
    ways = [people.events_cross(*way, within_s=within_s) for way in ((one, other), (other, one))]
    return all(await asyncio.gather(*ways))


async def ends_of_access(people: Crowd, guest: Listener, place: Place, *, bus: bool) -> None:
    """Take somebody's access back under load: nothing reaches him that is written later."""
    await people.until(lambda: guest.told_last_s > 0)
    end_s = await people.revoke(guest, place) + ACCESS_S[bus]
    await people.until(lambda: time.monotonic() > end_s + 1)
    assert guest.revoked
    assert guest.told_last_s < end_s
    others = [one for one in people.listeners if one.space is guest.space]
    assert all(one.told_last_s > end_s for one in others)


async def test_a_nats_that_dies_hangs_or_is_out_of_reach_costs_seconds_and_nothing_else(
    database_url: str, nats_server: NatsServer
) -> None:
    async with (
        crowd_of(database_url) as (people, settings),
        gate(nats_server.port) as way,
        ServerProcess({**settings, **nats_server.environment, "NODE_NAME": "one"}) as one,
        ServerProcess({**settings, "NATS_URL": way.url, "NODE_NAME": "two"}) as two,
    ):
        first, second = Place(one.port), Place(two.port)
        await people.gather(first, second, guests=4)
        assert await both_ways(people)
        assert way.bytes > 0
        await ends_of_access(people, people.guests[0], first, bus=True)
        await people.all_heard(HEARD_S_MAX)

        nats_server.kill()
        assert not await both_ways(people, within_s=1)
        await ends_of_access(people, people.guests[1], first, bus=False)
        await people.all_heard(HEARD_S_MAX)
        nats_server.start()
        assert await both_ways(people)
        await people.all_heard(HEARD_S_MAX)

        nats_server.stop()
        await ends_of_access(people, people.guests[2], first, bus=False)
        await people.all_heard(HEARD_S_MAX)
        nats_server.cont()
        assert await both_ways(people)
        await people.all_heard(HEARD_S_MAX)

        way.part()
        await ends_of_access(people, people.guests[3], first, bus=False)
        assert not await both_ways(people, within_s=1)
        await people.all_heard(HEARD_S_MAX)
        way.heal()
        assert await both_ways(people)
        await people.all_heard(HEARD_S_MAX)
        assert people.ends() == 0
        # What was missed came as `sync`, whole: nobody had to pull.
        assert not any(listener.pulls for listener in people.listeners)


async def test_a_node_that_is_killed_under_load_takes_its_own_clients_connections_and_nothing_else(
    database_url: str, nats_server: NatsServer
) -> None:
    async with crowd_of(database_url) as (people, settings):
        settings = {**settings, **nats_server.environment}
        async with ServerProcess({**settings, "NODE_NAME": "one"}) as one:
            first, second = Place(one.port), Place(0)
            async with ServerProcess({**settings, "NODE_NAME": "two"}) as two:
                second.port = two.port
                await people.gather(first, second)
                stayer, leaver = pair_of(people)
                assert leaver.client is not None
                await people.until(lambda: shows_up(leaver, stayer))
                await people.wait(1)
                await two.kill()
            await people.until(lambda: not stayer.present, SILENCE_S + HEARD_S_MAX)
            # Whoever was at the other one writes nothing meanwhile; the others go on.
            here = [writer for writer in people.writers if writer.place is first]
            before = [len(writer.acknowledged) for writer in here]
            await people.wait(1)
            assert all(len(writer.acknowledged) > count for writer, count in zip(here, before, strict=True))
            async with ServerProcess({**settings, "NODE_NAME": "two"}) as two:
                second.port = two.port
                assert await both_ways(people)
                await people.until(lambda: shows_up(leaver, stayer))
                await people.all_heard(HEARD_S_MAX)
                assert not people.closes()
                there = [one for one in (*people.writers, *people.listeners) if one.place is second]
                assert people.ends() == sum(len(one.ends) for one in there) == len(there)


def shows_up(shower: Listener, seer: Listener) -> bool:
    """Show something; whether the other one has seen it."""
    word = b"here"
    if shower.client is not None and not shower.client.socket.lost:
        shower.client.notify("presence.set", {"space": shower.space.id, "data": word})
    return word in seer.present.values()


async def test_a_worker_and_the_private_nats_that_are_killed_under_load(database_url: str) -> None:
    async with (
        crowd_of(database_url) as (people, settings),
        ServerProcess({**settings, "WORKERS": "2"}) as running,
    ):
        place = Place(running.port)
        # The kernel spreads them: with so many there is hardly a space whose people are all at one worker.
        await people.gather(*[place] * 4)
        assert all(counted := [connections(one, place.port) for one in workers_of(running)]), counted
        for number in (1, 2):
            workers_of(running)[0].kill()
            await people.wait(1)
            await until(lambda: len(said(running, "a worker is ready")) == number)  # noqa: B023  # called at once
            await people.all_heard(HEARD_S_MAX)
        (nats,) = (one for one in all_of(running) if "nats-server" in one.name())
        nats.kill()
        await until(lambda: said(running, "the private NATS has ended and is started again"))
        await people.wait(2)
        await people.all_heard(HEARD_S_MAX)
        # An event reaches everybody in its space, at whichever worker.
        for ear in people.listeners[1:4]:
            assert await people.events_cross(people.listeners[0], ear, within_s=HEARD_S_MAX)
        assert people.ends() > 0
        assert not people.closes()
        assert not any(one.refused for one in (*people.writers, *people.listeners))


@pytest.fixture
def many_files() -> Iterator[None]:
    """Thousands of sockets for this process and what it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_open_files()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_workers_are_replaced_under_load_with_thousands_of_clients(
    database_url: str, many_files: None
) -> None:
    """Each connection that was open ends with 1001, once, and whoever comes back at once is let in."""
    asyncio.get_running_loop().set_debug(False)  # thousands of clients in one thread are slow enough
    patient = {"LIMIT_AUTH_TIMEOUT_S": "60"}  # so slow that some take longer than 5 s to begin
    async with (
        crowd_of(database_url) as (people, settings),
        ServerProcess({**settings, **patient, "WORKERS": "2"}, fresh=True) as running,
    ):
        place = Place(running.port)
        spaces = [Space(str(uuid4()), Person(f"owner {k}"), shared=False) for k in range(SPACES)]
        people.listeners = [
            Listener(people, place, spaces[number % SPACES], Person(f"listener {number}"))
            for number in range(CLIENTS)
        ]
        people.writers = [Writer(people, place, space, space.owner) for space in spaces[:WRITERS]]
        for begin in range(0, CLIENTS, AT_ONCE):
            some = people.listeners[begin : begin + AT_ONCE]
            for listener in some:
                people.start(listener.run())
            await people.until(lambda: all(one.subscribed for one in some))  # noqa: B023  # called at once
        for writer in people.writers:
            people.start(writer.run())
        people.busy.set()
        await people.until(lambda: all(writer.acknowledged for writer in people.writers))
        before = workers_of(running)
        running.signal(signal.SIGUSR2)
        await people.until(lambda: bool(said(running, "the workers were replaced")))
        assert not set(before) & set(workers_of(running))
        await people.until(lambda: all(one.subscribed and one.ends for one in people.listeners))
        await people.all_heard(HEARD_S_MAX)
        everybody = (*people.writers, *people.listeners)
        # Whoever came back to the second one before it was replaced too has two ends behind him.
        assert {end for one in everybody for end in one.ends} == {GOING}
        assert {len(one.ends) for one in everybody} <= {1, 2}
        assert not any(one.refused for one in everybody)
