"""The life of a link: when it dials, what ends it, what becomes of calls then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import cbor2
import pytest

from less_sync.federation.outbound.calls import (
    LinkState,
    PeerLost,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    Repeat,
    RestoreCall,
)
from less_sync.federation.outbound.limits import LinkLimits
from tests.federation.outbound.home import (
    QUICK,
    Act,
    echo,
    linked,
    name_of,
    noting,
    request,
    scripted_home,
)
from tests.sync.scripted_server import Peer, hold

IDLE, CONNECTING, OPEN, BACKOFF, CLOSED = LinkState


def closing(code: int, reason: str = "") -> Act:
    """Close as soon as a request came."""

    async def act(peer: Peer) -> None:
        await request(peer)
        await peer.connection.close(code, reason)

    return act


async def cut(peer: Peer) -> None:
    """Break the connection when a request came."""
    await request(peer)
    peer.connection.transport.abort()


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address at which connections end at once, and how many came."""

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(end, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


# When it dials.


async def test_a_link_rests_until_the_first_call_and_again_when_nobody_wants_it() -> None:
    limits = replace(QUICK, idle_s=0.05)
    codes: list[int | None] = []

    async def act(peer: Peer) -> None:
        await echo(peer)
        codes.append(peer.connection.close_code)

    async with scripted_home(act) as home, linked(home.url, limits) as to:
        assert to.link.state is IDLE
        to.link.wake()
        assert home.upgrades == []
        await to.call("a")
        await to.until(IDLE)
        assert to.told.states == [CONNECTING, OPEN, IDLE]
        assert await to.call("b") == {"name": "b"}
        assert home.connections == 2
    assert codes == [1000, 1001]


async def test_what_is_wanted_connects_and_keeps_the_connection() -> None:
    limits = replace(QUICK, idle_s=0.05)
    async with scripted_home(echo) as home, linked(home.url, limits, wanted=True) as to:
        to.link.wake()
        await to.until(OPEN)
        await asyncio.sleep(0.2)
        assert to.link.state is OPEN
        to.told.wanted = False
        await to.until(IDLE)
        assert home.connections == 1


async def test_a_wanted_connection_that_breaks_is_made_anew_without_any_call() -> None:
    async def short(peer: Peer) -> None:
        peer.connection.transport.abort()

    async with scripted_home(short, short, echo) as home, linked(home.url, wanted=True) as to:
        to.link.wake()
        async with asyncio.timeout(10):
            while home.connections < 3:  # noqa: ASYNC110  nothing is offered to wait for
                await asyncio.sleep(0.001)
        await to.call("a")


@pytest.mark.parametrize(
    ("code", "waits"),
    [(1001, False), (4001, False), (1000, True), (1011, True), (4003, True), (4005, True), (4006, True)],
)
async def test_what_was_closed_as_planned_is_no_backoff_and_anything_else_is(code: int, waits: bool) -> None:
    limits = replace(QUICK, recycled_s=0.02, refused_first_s=0.02, violated_first_s=0.02)

    async def act(peer: Peer) -> None:
        await asyncio.sleep(0.05)
        await peer.connection.close(code, "because")

    async with scripted_home(act, echo) as home, linked(home.url, limits, wanted=True) as to:
        to.link.wake()
        await to.until(OPEN)
        async with asyncio.timeout(10):
            while home.connections < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await to.until(OPEN)
        states = [CONNECTING, OPEN, *([BACKOFF] if waits else []), CONNECTING, OPEN]
        assert to.told.states == states


async def test_a_call_in_backoff_fails_at_once_while_the_last_dial_is_young_and_dials_later() -> None:
    limits = replace(QUICK, dial_age_s=0.3, backoff_first_s=30.0)
    async with scripted_home(echo, refusals=[(503, "")]) as home, linked(home.url, limits) as to:
        with pytest.raises(PeerUnreachable):
            await to.call("a")
        assert to.link.state is BACKOFF
        with pytest.raises(PeerUnreachable):
            await to.call("b")
        assert len(home.upgrades) == 1
        await asyncio.sleep(0.3)
        assert await to.call("c") == {"name": "c"}
        assert len(home.upgrades) == 2


async def test_calls_that_wait_for_one_dial_share_it_and_outlive_one_failure() -> None:
    async with scripted_home(echo, refusals=[(503, "")]) as home, linked(home.url) as to:
        names = [f"{number}" for number in range(5)]
        assert await asyncio.gather(*(to.call(name) for name in names)) == [{"name": name} for name in names]
        assert len(home.upgrades) == 2


async def test_a_second_failed_dial_ends_the_call() -> None:
    async with scripted_home(echo, refusals=[(503, "")] * 9) as home, linked(home.url) as to:
        with pytest.raises(PeerUnreachable):
            await to.call("a")
        assert len(home.upgrades) == 2


async def test_no_call_waits_for_a_dial_that_is_far_away() -> None:
    async with scripted_home(echo, refusals=[(403, "untrusted peer")]) as home, linked(home.url) as to:
        with pytest.raises(PeerUnreachable):
            await to.call("a")
        assert len(home.upgrades) == 1


async def test_a_peer_that_hangs_up_on_every_dial_is_unreachable() -> None:
    async with nobody() as url, linked(url) as to:
        with pytest.raises(PeerUnreachable):
            await to.call("a")


# What becomes of calls.


@pytest.mark.parametrize("first", [cut, closing(4001), closing(1001), closing(1000), closing(4006)])
async def test_a_call_whose_connection_ends_is_sent_once_more_under_the_same_id(first: Act) -> None:
    ids: list[str] = []
    async with scripted_home(first, noting(lambda one: ids.append(one.id))) as home, linked(home.url) as to:
        assert await to.call("a") == {"name": "a"}
        assert home.connections == 2
    assert ids == ["fed-1"]


async def test_a_call_is_sent_twice_and_no_more() -> None:
    async with scripted_home(cut) as home, linked(home.url) as to:
        with pytest.raises(PeerLost):
            await to.call("a")
        assert home.connections == 2


async def test_what_must_not_be_repeated_is_not() -> None:
    async with scripted_home(cut, echo) as home, linked(home.url) as to:
        with pytest.raises(PeerLost):
            await to.link.call("fed.invitation", cbor2.dumps({}), person="ann", repeat=Repeat.IF_UNWRITTEN)
        assert home.connections == 1


async def test_what_must_not_be_repeated_waits_for_another_connection_while_it_is_unwritten() -> None:
    params = cbor2.dumps({"name": "x"})
    async with scripted_home(echo, refusals=[(503, "")]) as home, linked(home.url) as to:
        result = await to.link.call("fed.invitation", params, person="ann", repeat=Repeat.IF_UNWRITTEN)
        assert result == {"name": "x"}
        assert len(home.upgrades) == 2


async def test_refusals_and_deadlines_are_not_repeated() -> None:
    async def act(peer: Peer) -> None:
        await peer.refuse(await request(peer), "internal")
        await request(peer)
        await hold(peer)

    async with scripted_home(act) as home, linked(home.url, replace(QUICK, call_timeout_s=0.2)) as to:
        with pytest.raises(PeerRefused):
            await to.call("a")
        with pytest.raises(PeerSilent):
            await to.call("b")
        assert home.connections == 1


async def test_the_order_of_calls_outlives_the_connection() -> None:
    seen: list[object] = []

    async def takes_three(peer: Peer) -> None:
        for _ in range(3):
            await request(peer)
        peer.connection.transport.abort()

    act = noting(lambda one: seen.append(name_of(one)))
    async with scripted_home(takes_three, act) as home, linked(home.url) as to:
        calls = [asyncio.create_task(to.call(f"{number}")) for number in range(6)]
        while to.link.state is not BACKOFF:  # noqa: ASYNC110
            await asyncio.sleep(0)
        calls += [asyncio.create_task(to.call(f"{number}")) for number in range(6, 9)]
        await asyncio.gather(*calls)
    assert seen == [f"{number}" for number in range(9)]


async def test_a_repeated_call_comes_after_what_is_wanted_is_subscribed_to_again() -> None:
    seen: list[str] = []

    async def restore(call: RestoreCall) -> None:
        await call("subscribe", cbor2.dumps({}))

    async def first(peer: Peer) -> None:
        await peer.answer(await request(peer), {})
        await cut(peer)

    act = noting(lambda one: seen.append(f"{one.method} {one.id}"))
    async with scripted_home(first, act) as home, linked(home.url, restore=restore) as to:
        await to.call("a")
        assert home.connections == 2
    assert seen == ["subscribe fed-3", "push fed-1"]


@pytest.mark.parametrize("answered", [0, 1, 2, 3])
async def test_a_connection_cut_at_any_frame_loses_no_call_and_doubles_no_answer(answered: int) -> None:
    seen: list[object] = []

    async def first(peer: Peer) -> None:
        for number in range(3):
            one = await request(peer)
            if number < answered:
                await peer.answer(one, {"name": name_of(one), "from": 1})
        peer.connection.transport.close()

    act = noting(lambda one: seen.append(name_of(one)))
    async with scripted_home(first, act) as home, linked(home.url) as to:
        results = await asyncio.gather(*(to.call(name) for name in "abc"))
    assert [result.get("from") for result in results if isinstance(result, dict)] == (
        [1] * answered + [None] * (3 - answered)
    )
    assert seen == list("abc")[answered:]


async def test_a_peer_that_restarts_is_found_again_at_its_address() -> None:
    async with scripted_home(echo) as home, linked(home.url) as to:
        await to.call("a")
        port = int(home.url.rpartition(":")[2].partition("/")[0])
        assert home.server is not None
        home.server.close()
        await home.server.wait_closed()
        call = asyncio.create_task(to.call("b"))
        async with scripted_home(echo, port=port) as again:
            assert await call == {"name": "b"}
            assert again.connections == 1


# Restore.


async def test_calls_wait_until_the_restore_is_over_also_when_its_connection_breaks() -> None:
    order: list[str] = []

    async def restore(call: RestoreCall) -> None:
        await call("subscribe", cbor2.dumps({}))
        order.append("restored")

    async with scripted_home(cut, echo) as home, linked(home.url, restore=restore) as to:
        await to.call("a")
        order.append("called")
        assert home.connections == 2
    assert order == ["restored", "called"]


@pytest.mark.parametrize("failure", [PeerSilent(), PeerLost(), RuntimeError("bug")])
async def test_a_failed_restore_ends_the_connection_and_the_next_one_restores_anew(
    failure: Exception,
) -> None:
    failures = [type(failure)()]

    async def restore(call: RestoreCall) -> None:
        if failures:
            raise failures.pop()

    async with scripted_home(echo) as home, linked(home.url, restore=restore) as to:
        assert await to.call("a") == {"name": "a"}
        assert home.connections == 2
        assert to.told.states == [CONNECTING, BACKOFF, CONNECTING, OPEN]


async def test_a_refusal_during_the_restore_is_the_restorers_to_judge() -> None:
    codes: list[str] = []

    async def restore(call: RestoreCall) -> None:
        try:
            await call("subscribe", cbor2.dumps({}))
        except PeerRefused as refused:
            codes.append(refused.code)

    async def act(peer: Peer) -> None:
        await peer.refuse(await request(peer), "rate_limited")
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url, restore=restore) as to:
        assert await to.call("a") == {"name": "a"}
        assert home.connections == 1
    assert codes == ["rate_limited"]


# Silence and the end.

SILENCE = replace(QUICK, ping_interval_s=0.1, pong_timeout_s=0.1, call_timeout_s=30.0)


async def test_a_peer_that_is_gone_without_a_word_is_noticed() -> None:
    async def gone(peer: Peer) -> None:
        peer.connection.transport.pause_reading()  # no pong, no end: half open
        await hold(peer)

    async with scripted_home(gone, echo) as home, linked(home.url, SILENCE) as to:
        assert await to.call("a") == {"name": "a"}
        assert home.connections == 2


async def test_pongs_alone_keep_a_connection() -> None:
    async with scripted_home(echo) as home, linked(home.url, SILENCE, wanted=True) as to:
        await to.call("a")
        await asyncio.sleep(0.7)
        await to.call("b")
        assert home.connections == 1


async def test_after_a_deadline_a_sign_of_life_is_asked_for() -> None:
    limits: LinkLimits = replace(QUICK, call_timeout_s=0.1, pong_timeout_s=0.1)

    async def gone(peer: Peer) -> None:
        peer.connection.transport.pause_reading()
        await hold(peer)

    async with scripted_home(gone, echo) as home, linked(home.url, limits, wanted=True) as to:
        with pytest.raises(PeerSilent):
            await to.call("a")
        await to.until(BACKOFF)
        await to.until(OPEN)
        assert home.connections == 2


async def test_the_stop_closes_with_1001_and_ends_calls_wherever_they_are() -> None:
    codes: list[int | None] = []

    async def silent(peer: Peer) -> None:
        async for _ in peer.connection:
            pass
        codes.append(peer.connection.close_code)

    limits = replace(QUICK, calls_in_flight=2)
    async with scripted_home(silent) as home, linked(home.url, limits) as to:
        calls = [asyncio.create_task(to.call(name)) for name in "abcd"]
        await to.until(OPEN)
        await asyncio.sleep(0.02)
        await to.link.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [PeerLost, PeerLost, PeerUnreachable, PeerUnreachable]
        assert to.link.state is CLOSED
        with pytest.raises(PeerUnreachable):
            await to.call("late")
        to.told.wanted = True
        to.link.wake()
        await asyncio.sleep(0.05)
        assert home.connections == 1
        assert to.told.states == [CONNECTING, OPEN, CLOSED]
    assert codes == [1001]


@pytest.mark.parametrize("refusals", [[], [(503, "")] * 9])
async def test_the_stop_ends_a_link_that_dials_restores_or_waits(refusals: list[tuple[int, str]]) -> None:
    never = asyncio.Event()

    async def restore(call: RestoreCall) -> None:
        await never.wait()

    limits = replace(QUICK, backoff_first_s=1.0)
    async with (
        scripted_home(echo, refusals=refusals) as home,
        linked(home.url, limits, restore=restore) as to,
    ):
        call = asyncio.create_task(to.call("a"))
        await to.until(BACKOFF if refusals else CONNECTING)
        await asyncio.sleep(0.05)
        await to.link.aclose()
        with pytest.raises(PeerUnreachable):
            await call
        assert to.link._keeper is None
