"""The bus over a real NATS: what it promises, and what becomes of it when NATS fails."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from less_sync.sync.live.bus import CONFIRM_S_MAX
from less_sync.sync.live.nats_bus import (
    BUSY_MESSAGES,
    COMMANDS_MAX,
    GATHER_S,
    OUTBOX_BYTES_MAX,
    OUTBOX_MESSAGES_MAX,
    NatsBus,
)
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress, Pings
from tests.cluster.buses import plain, running, two, until
from tests.nats import NatsServer

PAYLOAD_BYTES_MAX = 1 << 20


async def test_who_listens_hears_in_order_and_nobody_else_does(nats_server: NatsServer) -> None:
    async with (
        two(plain(nats_server)) as (teller, hearer, ear),
        running(plain(nats_server), prefix="other") as (
            other,
            other_ear,
        ),
    ):
        await until(lambda: other.connected)
        for bus in (teller, hearer, other):
            bus.listen("s.1")
            assert await bus.confirmed()
        hearer.listen("s.1")
        for number in range(1000):
            teller.publish("s.1", b"%d" % number)
            teller.publish("s.2", b"nobody listens")
        await until(lambda: len(ear.messages) >= 1000)
        assert ear.messages == [b"%d" % number for number in range(1000)]
        assert (hearer.received, teller.published, teller.dropped) == (1000, 2000, 0)
        assert (teller.received, other_ear.messages) == (0, [])
        assert (hearer.subjects, ear.connections) == (1, 1)


async def test_who_tells_a_lot_writes_less_often_and_one_message_alone_waits_for_nothing(
    nats_server: NatsServer,
) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        hearer.listen("s.1")
        assert await hearer.confirmed()
        clock = asyncio.get_running_loop().time
        started_s = clock()
        for number in range(300):
            teller.publish("s.1", b"%d" % number)
            await asyncio.sleep(0)  # the writer has its turn
        windows = (clock() - started_s) / GATHER_S + 2
        await until(lambda: len(ear.messages) == 300)
        assert ear.messages == [b"%d" % number for number in range(300)]
        assert teller.writes < min(300, windows * BUSY_MESSAGES)
        for number in range(1, 11):
            teller.publish("s.1", b"alone")
            before = teller.writes
            await until(lambda number=number: len(ear.messages) == 300 + number)  # type: ignore[misc]
            assert teller.writes == before + 1


async def test_what_was_left_is_heard_no_more_and_may_be_heard_again(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        hearer.listen("s.1")
        hearer.listen("end")
        hearer.leave("s.1")
        hearer.leave("never heard of")
        assert await hearer.confirmed()
        teller.publish("s.1", b"unheard")
        teller.publish("end", b"end")
        await until(lambda: b"end" in ear.messages)
        hearer.listen("s.1")
        assert await hearer.confirmed()
        teller.publish("s.1", b"heard")
        await until(lambda: b"heard" in ear.messages)
        assert ear.messages == [b"end", b"heard"]
        assert hearer.subjects == 2


@pytest.mark.parametrize("subject", [">", "s.*", "s.>", "s. 1", "s.1\r\nPUB x 0\r\n"])
async def test_what_hears_everybody_is_no_subject(subject: str) -> None:
    bus = NatsBus(NatsAccess((NatsAddress("127.0.0.1", 1),)), prefix="test", name="node")
    with pytest.raises(ValueError, match="not a subject of ours"):
        bus.listen(subject)
    assert bus.subjects == 0


async def test_waits_for_a_confirmation_share_round_trips(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        waiting = []
        for number in range(50):
            hearer.listen(f"s.{number}")
            waiting.append(asyncio.create_task(hearer.confirmed()))
        await asyncio.sleep(0)
        before = pongs(hearer)
        assert all(await asyncio.gather(*waiting))
        # One for those that wait, and perhaps one of the regular pings.
        assert pongs(hearer) - before <= 2
        assert await hearer.confirmed()
        assert pongs(hearer) - before <= 2
        teller.publish("s.49", b"heard")
        await until(lambda: ear.messages == [b"heard"])


def pongs(bus: NatsBus) -> int:
    assert bus._link is not None
    return bus._link._pongs_received


async def test_a_wait_that_is_given_up_takes_nobody_with_it(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (_, hearer, _):
        hearer.listen("s.1")
        first, second = (asyncio.create_task(hearer.confirmed()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second


async def test_after_a_kill_everything_listened_to_is_heard_again(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        for number in range(3000):
            hearer.listen(f"s.{number}")
        hearer.leave("s.7")
        nats_server.kill()
        await until(lambda: not teller.connected and not hearer.connected)
        assert not await hearer.confirmed()
        teller.publish("s.1", b"lost")
        hearer.listen("s.while-away")
        hearer.leave("s.8")
        nats_server.start()
        await until(lambda: teller.connected and hearer.connected)
        assert (ear.connections, hearer.reconnects, teller.dropped) == (2, 1, 1)
        assert await hearer.confirmed()
        for subject in ("s.7", "s.8", "s.0", "s.2999", "s.while-away"):
            teller.publish(subject, subject.encode())
        await until(lambda: len(ear.messages) >= 3)
        assert ear.messages == [b"s.0", b"s.2999", b"s.while-away"]
        assert hearer.subjects == 2999


async def test_a_loss_that_is_noticed_while_much_is_told_ends_nothing_but_the_connection(
    nats_server: NatsServer,
) -> None:
    """uvloop refuses a write to a connection whose loss it knows, a few turns before the bus hears of it."""
    async with two(plain(nats_server)) as (teller, hearer, _):
        for number in range(1, 6):
            nats_server.kill()
            while teller.connected:
                teller.publish("s.1", b"x")
                await asyncio.sleep(0)
            nats_server.start()
            await until(lambda number=number: teller.reconnects == hearer.reconnects == number)  # type: ignore[misc]
        link = teller._link
        assert link is not None
        link._wire.abort()
        while not link.lost.done():
            with suppress(ConnectionError):
                link.write([b"PING\r\n"])
            await asyncio.sleep(0)
        await until(lambda: teller.reconnects == 6)


async def test_a_hundred_thousand_subjects_are_kept_over_a_restart(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        for number in range(100_000):
            hearer.listen(f"s.{number}")
        nats_server.restart()
        await until(lambda: hearer.reconnects == 1 and hearer.connected and teller.connected)
        for number in (0, 50_000, 99_999):
            teller.publish(f"s.{number}", b"%d" % number)
        await until(lambda: len(ear.messages) >= 3)
        assert ear.messages == [b"0", b"50000", b"99999"]


async def test_a_stopped_server_is_noticed_and_used_again(nats_server: NatsServer) -> None:
    async with two(plain(nats_server)) as (teller, hearer, ear):
        nats_server.stop()
        hearer.listen("s.1")
        began_s = asyncio.get_running_loop().time()
        assert not await hearer.confirmed()
        assert asyncio.get_running_loop().time() - began_s < CONFIRM_S_MAX + 5
        await until(lambda: not teller.connected and not hearer.connected)
        nats_server.cont()
        await until(lambda: teller.connected and hearer.connected)
        teller.publish("s.1", b"heard")
        await until(lambda: ear.messages == [b"heard"])
        assert (hearer.reconnects, ear.connections) == (1, 2)


async def test_what_a_stopped_server_does_not_take_is_dropped_and_counted(nats_server: NatsServer) -> None:
    async with running(plain(nats_server)) as (bus, _):
        await until(lambda: bus.connected)
        nats_server.stop()
        message = bytes(PAYLOAD_BYTES_MAX - 1)
        while not bus.dropped:
            bus.publish("s.1", message)
            await asyncio.sleep(0)
        assert bus._outbox_bytes <= OUTBOX_BYTES_MAX
        assert bus.published * len(message) < OUTBOX_BYTES_MAX
        dropped = bus.dropped
        for _ in range(OUTBOX_MESSAGES_MAX + 1):
            bus.publish("s.1", b"")
        assert bus.dropped > dropped
        assert len(bus._outbox) <= OUTBOX_MESSAGES_MAX
        waiting = bus._outbox_messages
        dropped = bus.dropped
        await until(lambda: not bus.connected)
        assert (bus.dropped, bus._outbox) == (dropped + waiting, [])
        nats_server.cont()
        await until(lambda: bus.connected)
        published = bus.published
        bus.publish("s.1", message)
        await until(lambda: bus.published == published + 1)


async def test_too_many_subscriptions_that_wait_end_the_connection(nats_server: NatsServer) -> None:
    async with running(plain(nats_server), pings=Pings()) as (bus, ear):
        await until(lambda: bus.connected)
        for number in range(COMMANDS_MAX + 1):
            bus.listen(f"{number}")
        await until(lambda: ear.connections == 2)
        assert bus.subjects == COMMANDS_MAX + 1
        assert await bus.confirmed()


async def test_a_message_longer_than_the_server_allows_is_dropped(nats_server: NatsServer) -> None:
    nats_server.settings = "max_payload: 1000"
    nats_server.restart()
    async with two(plain(nats_server)) as (teller, hearer, ear):
        hearer.listen("s.1")
        assert await hearer.confirmed()
        teller.publish("s.1", bytes(1001))
        teller.publish("s.1", bytes(1000))
        await until(lambda: bool(ear.messages))
        assert ([len(message) for message in ear.messages], teller.dropped) == ([1000], 1)
        assert teller.reconnects == 0


async def test_a_lost_server_is_replaced_by_the_next_of_the_list(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with NatsServer(folders[0]) as first, NatsServer(folders[1]) as second:
        async with running(plain(first, second)) as (bus, ear):
            await until(lambda: bus.connected)
            bus.listen("s.1")
            assert await bus.confirmed()
            assert bus._link is not None
            uri = bus._link._current_server
            assert uri is not None
            used, other = (first, second) if uri.uri.port == first.port else (second, first)
            used.kill()
            await until(lambda: ear.connections == 2)
            async with running(plain(other)) as (teller, _):
                await until(lambda: teller.connected)
                teller.publish("s.1", b"heard")
                await until(lambda: ear.messages == [b"heard"])


async def test_a_server_that_comes_late_is_found_and_told_of_in_the_log_once(nats_server: NatsServer) -> None:
    nats_server.kill()
    with capture_logs() as told:
        async with running(plain(nats_server)) as (bus, ear):
            bus.listen("s.1")
            assert not await bus.confirmed()
            bus.publish("s.1", b"")
            assert bus.dropped == 1
            await asyncio.sleep(1.0)
            assert ear.connections == 0
            nats_server.start()
            await until(lambda: bus.connected)
            assert bus.reconnects == 0
            assert await bus.confirmed()
    assert [entry["event"] for entry in told] == ["the bus is away", "the bus is connected"]


async def test_what_is_said_last_still_leaves(nats_server: NatsServer) -> None:
    async with running(plain(nats_server)) as (hearer, ear):
        await until(lambda: hearer.connected)
        hearer.listen("nodes")
        assert await hearer.confirmed()
        async with running(plain(nats_server)) as (teller, _):
            await until(lambda: teller.connected)
            for number in range(200):
                teller.publish("nodes", bytes(10_000) + b"%d" % number)
        assert teller.published == 200
        await until(lambda: len(ear.messages) == 200)
        assert ear.messages[-1].endswith(b"199")
        assert not teller.connected


async def test_a_stopped_server_does_not_hold_up_the_end(nats_server: NatsServer) -> None:
    async with running(plain(nats_server)) as (bus, _):
        await until(lambda: bus.connected)
        nats_server.stop()
        for _ in range(15):
            bus.publish("s.1", bytes(PAYLOAD_BYTES_MAX - 1))
        began_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began_s < 5


async def test_a_fault_in_what_hears_is_counted_and_ends_nothing(nats_server: NatsServer) -> None:
    heard: list[bytes] = []

    def hear(message: bytes) -> None:
        if message == b"bad":
            raise RuntimeError("planted")
        heard.append(message)

    def told() -> None:
        raise RuntimeError("planted")

    bus = NatsBus(plain(nats_server), prefix="test", name="node")
    bus.attach(hear, told)
    keeping = asyncio.create_task(bus.run())
    with capture_logs() as logged:
        async with running(plain(nats_server)) as (teller, _):
            await until(lambda: bus.connected and teller.connected)
            bus.listen("s.1")
            assert await bus.confirmed()
            for message in (b"1", b"bad", b"bad", b"2"):
                teller.publish("s.1", message)
            await until(lambda: len(heard) == 2)
    assert (bus.faults, bus.received, bus.reconnects) == (3, 4, 0)
    assert [entry["event"] for entry in logged].count("what the bus brought could not be read") == 1
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_a_subject_that_is_not_permitted_is_told_and_the_others_are_heard(
    nats_server: NatsServer,
) -> None:
    user = 'user: u, password: p, permissions: { subscribe: "test.s.>", publish: ">" }'
    nats_server.settings = f"authorization {{ users: [{{ {user} }}] }}"
    nats_server.restart()
    access = NatsAccess((NatsAddress("127.0.0.1", nats_server.port, "u", "p"),))
    async with two(access) as (teller, hearer, ear):
        with capture_logs() as logged:
            hearer.listen("nodes")
            hearer.listen("s.1")
            await hearer.confirmed()
            await until(lambda: hearer.refused == 1)
        teller.publish("nodes", b"unheard")
        teller.publish("s.1", b"heard")
        await until(lambda: ear.messages == [b"heard"])
        assert hearer.reconnects == 0
    assert [entry["event"] for entry in logged] == ["NATS does not permit what the bus needs"]
