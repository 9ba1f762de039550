"""Pulls: connections of their own, sharing when there are none, back-pressure, silence, counts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import cbor2
import pytest

from less_sync.federation.outbound.calls import (
    LinkState,
    PeerLost,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    PullBroken,
)
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.sync.protocol.frames import Chunk, Request, decode_frame, encode_chunk, encode_response
from tests.federation.outbound.home import QUICK, Act, Linked, echo, linked, request, scripted_home
from tests.sync.scripted_server import Peer, hold
from tests.sync.tls import self_signed

SHARED = replace(QUICK, pull_connections=0)
"""Every pull goes over the connection of the calls."""
PARAMS = cbor2.dumps({"spaces": []})


def data(number: int) -> Mapping[str, object]:
    return {"space": "s", "number": number}


async def answer(peer: Peer, one: Request, chunks: int, told: int | None = None) -> None:
    """Answer a pull with so many chunks."""
    for number in range(chunks):
        await peer.chunk(one, "pull.record", data(number))
    await peer.answer(one, {"_chunks": chunks if told is None else told})


async def three(peer: Peer) -> None:
    """Answer each pull with three chunks, anything else with nothing."""
    async for message in peer.connection:
        assert isinstance(message, bytes)
        one = decode_frame(message)
        assert isinstance(one, Request)
        if one.method == "pull":
            await answer(peer, one, 3)
        else:
            await peer.answer(one, {})


def recording(seen: list[tuple[int, str]]) -> Act:
    """As `three`; note for each request the connection, by number, and the method."""
    connections = 0

    async def act(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        number = connections
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            seen.append((number, one.method))
            await answer(peer, one, 3)

    return act


async def pulled(to: Linked, person: str = "ann") -> list[object]:
    """All chunks of one pull."""
    return [chunk.data async for chunk in to.link.pull(PARAMS, person=person)]


async def collect(chunks: AsyncIterator[Chunk], received: list[Chunk]) -> None:
    """Note what comes, also before a break."""
    async for chunk in chunks:
        received.append(chunk)  # noqa: PERF401  a comprehension would lose them


THREE = [data(number) for number in range(3)]


async def test_a_pull_has_a_connection_of_its_own_which_the_next_one_uses_again() -> None:
    seen: list[tuple[int, str]] = []
    async with scripted_home(recording(seen)) as home, linked(home.url) as to:
        await to.call("a")
        assert await pulled(to) == THREE
        assert await pulled(to) == THREE
        assert home.connections == 2
    assert seen == [(1, "push"), (2, "pull"), (2, "pull")]


async def test_a_connection_of_pulls_is_closed_after_a_while_of_rest() -> None:
    codes: list[int | None] = []

    async def act(peer: Peer) -> None:
        await three(peer)
        codes.append(peer.connection.close_code)

    limits = replace(QUICK, pull_connection_idle_s=0.05)
    async with scripted_home(act) as home, linked(home.url, limits) as to:
        assert await pulled(to) == THREE
        async with asyncio.timeout(10):
            while not codes:  # noqa: ASYNC110  nothing is offered to wait for
                await asyncio.sleep(0.001)
        assert codes == [1000]
        assert await pulled(to) == THREE
        assert home.connections == 3


async def test_a_connection_of_pulls_that_ended_at_rest_is_replaced() -> None:
    async def once(peer: Peer) -> None:
        await answer(peer, await request(peer), 3)
        await peer.connection.close(4001, "connection timeout")

    async with scripted_home(three, once, three) as home, linked(home.url) as to:
        assert await pulled(to) == THREE
        await asyncio.sleep(0.05)
        assert await pulled(to) == THREE
        assert home.connections == 3


async def test_a_slow_reader_holds_the_home_back_and_neither_calls_nor_other_pulls() -> None:
    sent = 0
    chunk = bytes(50_000)

    async def act(peer: Peer) -> None:
        nonlocal sent
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            if one.method != "pull":
                await peer.answer(one, {})
                continue
            for _ in range(1000):
                await peer.connection.send(encode_chunk(one.id, "pull.record", {"blob": chunk}))
                sent += 1
            await peer.answer(one, {"_chunks": 1000})

    async with scripted_home(act) as home, linked(home.url) as to:
        async with aclosing(to.link.pull(PARAMS, person="slow")) as slow:
            await anext(slow)
            await asyncio.sleep(0.5)
            stopped_at = sent
            assert stopped_at < 500
            await to.call("a")
            assert len(await pulled(to, "quick")) == 1000
            assert sent == stopped_at + 1000
            assert len([chunk async for chunk in slow]) == 999


async def test_while_the_reader_is_behind_silence_does_not_count() -> None:
    limits = replace(QUICK, pull_silence_s=0.2)
    async with scripted_home(three) as home, linked(home.url, limits) as to:
        received = []
        async for chunk in to.link.pull(PARAMS, person="ann"):
            await asyncio.sleep(0.3)
            received.append(chunk)
        assert len(received) == 3


@pytest.mark.parametrize("limits", [QUICK, SHARED])
@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_pull_that_falls_silent_ends(chunks: int, limits: LinkLimits) -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        for number in range(chunks):
            await peer.chunk(one, "pull.record", data(number))
        await peer.connection.wait_closed()

    limits = replace(limits, pull_silence_s=0.1)
    async with scripted_home(act) as home, linked(home.url, limits) as to:
        with pytest.raises(PullBroken if chunks else PeerSilent):
            await pulled(to)


@pytest.mark.parametrize("limits", [QUICK, SHARED])
async def test_chunks_that_are_missing_or_too_many_break_a_pull(limits: LinkLimits) -> None:
    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            await answer(peer, one, 3, told=wrong.pop())

    wrong = [2, 4, 0]
    async with scripted_home(act) as home, linked(home.url, limits) as to:
        for _ in range(3):
            with pytest.raises(PullBroken):
                await pulled(to)


async def test_a_result_that_does_not_count_breaks_a_pull() -> None:
    async def act(peer: Peer) -> None:
        await peer.answer(await request(peer), {"ok": True})
        await hold(peer)

    async with scripted_home(act) as home, linked(home.url, SHARED) as to:
        with pytest.raises(PullBroken):
            await pulled(to)


@pytest.mark.parametrize("limits", [QUICK, SHARED])
async def test_an_error_is_a_refusal_before_the_first_chunk_and_a_break_after_it(limits: LinkLimits) -> None:
    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            for number in range(chunks.pop()):
                await peer.chunk(one, "pull.record", data(number))
            await peer.refuse(one, "internal")

    chunks = [1, 0]
    async with scripted_home(act) as home, linked(home.url, limits) as to:
        with pytest.raises(PeerRefused) as refused:
            await pulled(to)
        assert refused.value.code == "internal"
        with pytest.raises(PullBroken):
            await pulled(to)


def cutting(after: int) -> Act:
    """Break the connection after so many chunks."""

    async def act(peer: Peer) -> None:
        one = await request(peer)
        for number in range(after):
            await peer.chunk(one, "pull.record", data(number))
        peer.connection.transport.close()

    return act


@pytest.mark.parametrize("limits", [QUICK, SHARED])
async def test_a_pull_whose_connection_ends_is_sent_once_more_if_nothing_came(limits: LinkLimits) -> None:
    first = [cutting(0)] if limits is SHARED else [echo, cutting(0)]
    async with scripted_home(*first, three) as home, linked(home.url, limits) as to:
        assert await pulled(to) == THREE
    first = [cutting(0)] * 2 if limits is SHARED else [echo, cutting(0), cutting(0)]
    async with scripted_home(*first, three) as home, linked(home.url, limits) as to:
        with pytest.raises(PeerLost):
            await pulled(to)


@pytest.mark.parametrize("limits", [QUICK, SHARED])
@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_pull_cut_after_any_chunk_is_broken_and_not_sent_again(
    after: int, limits: LinkLimits
) -> None:
    acts = [cutting(after)] if limits is SHARED else [echo, cutting(after)]
    received: list[Chunk] = []
    async with scripted_home(*acts, three) as home, linked(home.url, limits) as to:
        with pytest.raises(PullBroken):
            await collect(to.link.pull(PARAMS, person="ann"), received)
        assert home.connections == len(acts)
    assert [chunk.data for chunk in received] == [data(number) for number in range(after)]


async def test_after_too_many_connections_pulls_share_that_of_the_calls_for_a_while() -> None:
    seen: list[tuple[int, str]] = []

    async def full(peer: Peer) -> None:
        await peer.connection.close(4003, "too many federation connections")

    limits = replace(QUICK, pull_refused_s=0.3)
    act = recording(seen)
    async with scripted_home(act, full, act) as home, linked(home.url, limits) as to:
        assert await pulled(to) == THREE
        assert await pulled(to) == THREE
        assert home.connections == 2
        await asyncio.sleep(0.3)
        assert await pulled(to) == THREE
        assert home.connections == 3
    assert seen == [(1, "pull"), (1, "pull"), (2, "pull")]


async def test_when_the_dial_of_another_connection_fails_the_pull_shares() -> None:
    seen: list[tuple[int, str]] = []
    async with scripted_home(recording(seen)) as home, linked(home.url) as to:
        await to.call("a")
        home.refusals.append((503, "no more"))
        assert await pulled(to) == THREE
    assert seen == [(1, "push"), (1, "pull")]


async def test_one_person_has_four_pulls_at_once_and_leaves_four_to_others() -> None:
    go = asyncio.Event()
    at_once: list[int] = []
    running = 0

    async def act(peer: Peer) -> None:
        async def one_pull(one: Request) -> None:
            nonlocal running
            running += 1
            at_once.append(running)
            await go.wait()
            running -= 1
            await answer(peer, one, 1)

        async with asyncio.TaskGroup() as group:
            async for message in peer.connection:
                assert isinstance(message, bytes)
                one = decode_frame(message)
                assert isinstance(one, Request)
                group.create_task(one_pull(one))

    async with scripted_home(act) as home, linked(home.url) as to:
        order: list[str] = []

        async def pull(person: str) -> None:
            await pulled(to, person)
            order.append(person)

        pulls = [asyncio.create_task(pull("ann")) for _ in range(12)]
        await asyncio.sleep(0.3)
        assert running == 4
        pulls += [asyncio.create_task(pull(person)) for person in ("bob", "bob", "carol", "carol")]
        await asyncio.sleep(0.3)
        assert home.connections == 5
        assert max(at_once) == running == 8
        go.set()
        await asyncio.gather(*pulls)
        assert max(at_once) == 8
        assert order.index("bob") < 12
        assert order.index("carol") < 12
        assert to.link._pulls.running == 0


async def test_a_shared_pull_is_parked_without_holding_up_others_and_ends_beyond_the_bound() -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        for _ in range(40):
            await peer.chunk(one, "pull.record", {"blob": bytes(50_000)})
        await peer.answer(one, {"_chunks": 40})
        await echo(peer)

    for parked_bytes, fits in ((3_000_000, True), (1_000_000, False)):
        limits = replace(SHARED, parked_bytes=parked_bytes)
        async with scripted_home(act) as home, linked(home.url, limits) as to:
            async with aclosing(to.link.pull(PARAMS, person="ann")) as slow:
                received = [await anext(slow)]
                assert await to.call("a") == {"name": "a"}  # stands behind all chunks
                if fits:
                    await collect(slow, received)
                    assert len(received) == 40
                else:
                    with pytest.raises(PullBroken):
                        await collect(slow, received)
                    assert len(received) <= 21
            assert await to.call("b") == {"name": "b"}
            assert home.connections == 1


@pytest.mark.parametrize("limits", [QUICK, SHARED])
async def test_a_reader_who_leaves_frees_everything_and_the_rest_is_nobodys(limits: LinkLimits) -> None:
    async with scripted_home(three) as home, linked(home.url, limits) as to:
        async with aclosing(to.link.pull(PARAMS, person="ann")) as chunks:
            await anext(chunks)
        assert await to.call("a") == {}
        assert await pulled(to) == THREE
        assert to.link._pulls.running == 0
        assert to.link._outbox._held == {}
        assert home.connections == (1 if limits is SHARED else 3)


async def test_garbage_among_chunks_is_passed_over() -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        await peer.connection.send(b"\xff")
        await peer.connection.send(encode_chunk("fed-99", "pull.record", {}))
        await peer.connection.send(cbor2.dumps({"type": 3, "id": one.id, "name": 5}))
        await answer(peer, one, 1)
        await peer.connection.send(encode_response(one.id, {}))
        await hold(peer)

    async with scripted_home(act) as home, linked(home.url, SHARED) as to:
        assert await pulled(to) == [data(0)]


async def test_the_stop_closes_connections_of_pulls_and_breaks_those_under_way() -> None:
    codes: list[int | None] = []
    went = asyncio.Event()

    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            await peer.chunk(one, "pull.record", data(0))
            went.set()
        codes.append(peer.connection.close_code)

    async with scripted_home(act) as home, linked(home.url) as to:
        pull = asyncio.create_task(pulled(to))
        await went.wait()
        await to.link.aclose()
        with pytest.raises(PullBroken):
            await pull
        assert to.link.state is LinkState.CLOSED
        with pytest.raises(PeerUnreachable):
            await pulled(to)
        assert home.connections == 2
        assert to.link._pulls._lines == []
    assert codes == [1001, 1001]


async def test_no_pull_is_tried_while_nobody_answers() -> None:
    async with scripted_home(three, refusals=[(403, "no")]) as home, linked(home.url) as to:
        with pytest.raises(PeerUnreachable):
            await pulled(to)
        assert len(home.upgrades) == 1


async def test_over_tls_calls_and_pulls_go_through_and_slow_readers_hold_the_home_back_too() -> None:
    server, client = self_signed("127.0.0.1")
    sent = 0

    async def act(peer: Peer) -> None:
        nonlocal sent
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            if one.method != "pull":
                await peer.answer(one, {})
                continue
            for _ in range(500):
                await peer.connection.send(encode_chunk(one.id, "pull.record", {"blob": bytes(50_000)}))
                sent += 1
            await peer.answer(one, {"_chunks": 500})

    async with scripted_home(act, tls=server) as home, linked(home.url, tls=client) as to:
        async with aclosing(to.link.pull(PARAMS, person="slow")) as slow:
            await anext(slow)
            await asyncio.sleep(0.3)
            assert sent < 400
            assert await to.call("x" * 1_000_000) == {}
            assert len([chunk async for chunk in slow]) == 499
        assert home.connections == 2
