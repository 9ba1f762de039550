"""Calls over one link: order, answers, deadlines, cancellation, bounds."""

import asyncio
from dataclasses import replace

import cbor2
import pytest

from less_sync.federation.outbound.calls import (
    LinkState,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    RestoreCall,
)
from less_sync.federation.outbound.outbox import REQUEST_BYTES
from less_sync.sync.protocol.frames import KEEPALIVE, Notification, Request, decode_frame, encode_response
from tests.federation.outbound.home import (
    QUICK,
    echo,
    linked,
    name_of,
    noting,
    request,
    scripted_home,
)
from tests.sync.scripted_server import Peer, hold


async def test_calls_are_written_in_order_and_answered_in_any() -> None:
    seen: list[str] = []

    async def backwards(peer: Peer) -> None:
        requests = [await request(peer) for _ in range(5)]
        seen.extend(one.id for one in requests)
        for one in reversed(requests):
            await peer.answer(one, {"name": name_of(one)})
        await hold(peer)

    async with scripted_home(backwards) as home, linked(home.url) as to:
        results = await asyncio.gather(
            *(to.call(f"{number}", person=f"p{number % 2}") for number in range(5))
        )
    assert results == [{"name": f"{number}"} for number in range(5)]
    assert seen == ["fed-1", "fed-2", "fed-3", "fed-4", "fed-5"]


async def test_params_and_results_pass_as_they_are() -> None:
    params = {"space": "s", "changes": [], "unheard": {"of": [1, None, b"x"]}}
    got: list[object] = []

    def note(one: Request) -> None:
        got.append((one.method, one.params))

    async with scripted_home(noting(note)) as home, linked(home.url) as to:
        assert await to.link.call("push", cbor2.dumps(params), person="") == params
    assert got == [("push", params)]


async def test_what_nobody_asked_for_is_passed_over_and_the_connection_kept() -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        for frame in (
            KEEPALIVE,
            b"",
            b"\xff\xff",
            b"\x80",
            cbor2.dumps({"type": 9, "id": one.id}),
            cbor2.dumps({"type": "1"}),
            cbor2.dumps({"type": 1, "id": one.id}),  # a response without an outcome
            cbor2.dumps({"type": 3, "id": one.id, "name": "pull.begin", "data": {}}),
            cbor2.dumps({"type": 3, "id": one.id}),
            encode_response("fed-77", {}),
            "text",
        ):
            await peer.connection.send(frame)
        await peer.answer(one, {"ok": True})
        await peer.connection.send(encode_response(one.id, {"twice": True}))
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url) as to:
        assert await to.call("first") == {"ok": True}
        assert await to.call("second") == {"name": "second"}
        assert home.connections == 1


async def test_an_error_is_told_and_does_not_end_the_connection() -> None:
    async def act(peer: Peer) -> None:
        await peer.refuse(await request(peer), "rate_limited")
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url) as to:
        with pytest.raises(PeerRefused) as refused:
            await to.call("first")
        assert (refused.value.code, refused.value.message) == ("rate_limited", "because")
        assert await to.call("second") == {"name": "second"}
        assert home.connections == 1


async def test_announcements_come_in_order_also_before_the_response_they_overtook() -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        for number in range(50):
            await peer.announce("sync", {"number": number})
        await peer.answer(one, {})
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url) as to:
        await to.call("subscribe")
        assert to.told.heard == [Notification("sync", {"number": number}) for number in range(50)]


async def test_a_listener_that_fails_does_not_end_the_connection() -> None:
    async def act(peer: Peer) -> None:
        await peer.announce("sync", {})
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url) as to:
        to.told.heard = None  # type: ignore[assignment]  # what appends to it was bound before
        assert await to.call("a") == {"name": "a"}
        assert await to.call("b") == {"name": "b"}
    assert home.connections == 1


async def test_a_call_without_an_answer_ends_at_its_deadline_and_the_next_one_does_not() -> None:
    async def act(peer: Peer) -> None:
        await request(peer)
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url, replace(QUICK, call_timeout_s=0.1)) as to:
        with pytest.raises(PeerSilent):
            await to.call("first")
        assert await to.call("second") == {"name": "second"}
        assert home.connections == 1


async def test_an_answer_after_its_caller_left_is_passed_over() -> None:
    left = asyncio.Event()

    async def act(peer: Peer) -> None:
        one = await request(peer)
        left.set()
        two = await request(peer)
        await peer.answer(one, {"name": "late"})
        await peer.answer(two, {"name": name_of(two)})
        await echo(peer)

    async with scripted_home(act) as home, linked(home.url) as to:
        caller = asyncio.create_task(to.call("first"))
        await left.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await to.call("second") == {"name": "second"}
        assert to.link._outbox._held == {}


async def test_a_call_that_left_before_it_was_written_never_is() -> None:
    seen: list[object] = []
    go = asyncio.Event()

    async def slow(call: RestoreCall) -> None:
        await go.wait()

    async with (
        scripted_home(noting(lambda one: seen.append(name_of(one)))) as home,
        linked(home.url, restore=slow) as to,
    ):
        callers = [asyncio.create_task(to.call(name)) for name in "abc"]
        await asyncio.sleep(0.05)
        callers[1].cancel()
        go.set()
        await asyncio.wait(callers)
    assert seen == ["a", "c"]


async def test_what_is_wanted_is_subscribed_to_before_any_call_is_written() -> None:
    seen: list[str] = []

    async def restore(call: RestoreCall) -> None:
        for number in range(2):
            assert await call("subscribe", cbor2.dumps({"number": number})) == {"number": number}

    async with (
        scripted_home(noting(lambda one: seen.append(one.method))) as home,
        linked(home.url, restore=restore) as to,
    ):
        await asyncio.gather(to.call("a"), to.call("b"))
    assert seen == ["subscribe", "subscribe", "push", "push"]
    assert to.told.states[:2] == [LinkState.CONNECTING, LinkState.OPEN]


async def test_a_request_beyond_the_bound_of_a_message_is_refused_here() -> None:
    limits = replace(QUICK, message_bytes=1000)
    async with scripted_home(echo) as home, linked(home.url, limits) as to:
        with pytest.raises(PeerRefused) as refused:
            await to.call("x" * 1000)
        assert refused.value.code == "payload_too_large"
        assert home.upgrades == []
        with pytest.raises(PeerRefused):
            async for _ in to.link.pull(bytes(1000), person="ann"):
                pass


async def test_notifications_are_sent_while_the_link_is_open_and_dropped_otherwise() -> None:
    seen: list[Notification] = []

    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            frame = decode_frame(message)
            if isinstance(frame, Notification):
                seen.append(frame)
            elif frame is not None:
                await peer.answer(frame, {})

    async with scripted_home(act) as home, linked(home.url) as to:
        to.link.notify("unsubscribe", cbor2.dumps({"spaces": ["early"]}))
        await to.call("a")
        to.link.notify("unsubscribe", cbor2.dumps({"spaces": ["x"]}))
        await to.call("b")
    assert seen == [Notification("unsubscribe", {"spaces": ["x"]})]


# Places and bounds.


async def test_people_take_turns_when_there_are_more_calls_than_places() -> None:
    seen: list[object] = []
    free = asyncio.Semaphore(0)

    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            one = decode_frame(message)
            assert isinstance(one, Request)
            seen.append(name_of(one))
            await free.acquire()
            await peer.answer(one, {})

    limits = replace(QUICK, calls_in_flight=2)
    async with scripted_home(act) as home, linked(home.url, limits) as to:
        calls = [asyncio.create_task(to.call(f"ann{number}", "ann")) for number in range(6)]
        await asyncio.sleep(0.1)
        assert len(seen) == 1  # the home takes one at a time; two are written
        assert len(to.link._outbox._written) == 2
        calls += [asyncio.create_task(to.call(f"bob{number}", "bob")) for number in range(2)]
        await asyncio.sleep(0.01)
        for _ in calls:
            free.release()
        await asyncio.gather(*calls)
    assert [name for name in seen if str(name).startswith("ann")] == [f"ann{number}" for number in range(6)]
    assert seen.index("bob0") <= 3
    assert seen.index("bob1") <= 5
    assert seen.index("bob0") < seen.index("bob1")


async def test_the_order_of_one_persons_calls_is_kept_at_any_number_of_places() -> None:
    seen: list[object] = []

    limits = replace(QUICK, calls_in_flight=3)
    act = noting(lambda one: seen.append(name_of(one)))
    async with scripted_home(act) as home, linked(home.url, limits) as to:

        async def bursts(person: str) -> None:
            for burst in range(20):
                names = [f"{person}{burst * 10 + number:04}" for number in range(1 + burst % 7)]
                await asyncio.gather(*(to.call(name, person) for name in names))

        await asyncio.gather(*(bursts(person) for person in "abcd"))
        assert to.link._outbox._lanes == {}
    for person in "abcd":
        names = [str(name) for name in seen if str(name).startswith(person)]
        assert names == sorted(names)
        assert len(names) == 77


async def test_a_peer_that_stops_reading_gets_no_more_than_the_bound_and_one_person_never_all_of_it() -> None:
    async def deaf(peer: Peer) -> None:
        peer.connection.transport.pause_reading()
        await hold(peer)

    size_bytes = 256 * 1024
    limits = replace(QUICK, held_bytes=16 * (size_bytes + REQUEST_BYTES), call_timeout_s=1.0)
    async with scripted_home(deaf) as home, linked(home.url, limits) as to:
        calls = [asyncio.create_task(to.call("x" * size_bytes, "ann")) for _ in range(20)]
        calls += [asyncio.create_task(to.call("x" * size_bytes, "bob")) for _ in range(20)]
        done, _ = await asyncio.wait(calls, timeout=0.3)
        assert [type(call.exception()) for call in done] == [PeerUnreachable] * len(done)
        held = to.link._outbox._held
        assert held["ann"] <= limits.held_bytes / 2 + size_bytes
        assert held["ann"] + held["bob"] <= limits.held_bytes * 3 / 4 + size_bytes
        small = asyncio.create_task(to.call("small", "cid"))
        await asyncio.sleep(0.05)
        assert not small.done()  # there is room for somebody new
        results = await asyncio.gather(*calls, small, return_exceptions=True)
        assert {type(result) for result in results} == {PeerSilent, PeerUnreachable}
        assert to.link._outbox._held == {}
        assert to.link._outbox._held_bytes == 0


async def test_more_is_written_only_when_the_transport_holds_less_than_the_bound() -> None:
    read = asyncio.Event()
    seen: list[object] = []

    async def late(peer: Peer) -> None:
        peer.connection.transport.pause_reading()
        await read.wait()
        peer.connection.transport.resume_reading()
        await noting(lambda one: seen.append(str(name_of(one))[:2]))(peer)

    limits = replace(QUICK, unsent_bytes=64 * 1024)
    async with scripted_home(late) as home, linked(home.url, limits) as to:
        calls = [asyncio.create_task(to.call(f"{number:02}" + "x" * 500_000)) for number in range(30)]
        while (line := to.link._outbox.line) is None or line.socket.writable:  # noqa: ASYNC110  no event is offered
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert 0 < len(to.link._outbox._written) < 30
        assert line.socket._transport.get_write_buffer_size() <= 64 * 1024 + 500_100  # type: ignore[attr-defined]
        read.set()
        await asyncio.gather(*calls)
    assert seen == [f"{number:02}" for number in range(30)]


async def test_a_message_beyond_four_mib_ends_the_connection() -> None:
    async def act(peer: Peer) -> None:
        one = await request(peer)
        await peer.answer(one, {"big": bytes(4 * 1024 * 1024)})
        await hold(peer)

    codes: list[int | None] = []

    async def noted(peer: Peer) -> None:
        await act(peer)
        codes.append(peer.connection.close_code)

    async with scripted_home(noted, echo) as home, linked(home.url) as to:
        assert await to.call("a") == {"name": "a"}  # once more, on the next connection
        assert home.connections == 2
    assert codes == [1009]


async def test_a_full_stack_of_small_answers_is_read_without_a_pause() -> None:
    async def burst(peer: Peer) -> None:
        requests = [await request(peer) for _ in range(200)]
        for one in requests:
            await peer.announce("sync", {"blob": bytes(20_000)})
            await peer.answer(one, {})
        await hold(peer)

    async with scripted_home(burst) as home, linked(home.url) as to:
        await asyncio.gather(*(to.call("x") for _ in range(200)))
        assert len(to.told.heard) == 200


async def test_who_has_megabytes_on_the_way_holds_up_others_by_one_call_of_his() -> None:
    go = asyncio.Event()
    order: list[object] = []
    answer_all = noting(lambda one: order.append(name_of(one)))

    async def late(peer: Peer) -> None:
        await go.wait()
        await answer_all(peer)

    async with scripted_home(late) as home, linked(home.url) as to:

        async def push(name: str, size_bytes: int, person: str) -> None:
            params = cbor2.dumps({"name": name, "blob": bytes(size_bytes)})
            await to.link.call("push", params, person=person)

        names = [f"ann {number}" for number in range(24)]
        pushes = [asyncio.create_task(push(name, 1024 * 1024, "ann")) for name in names]
        await to.until(LinkState.OPEN)
        await asyncio.sleep(0.2)
        pushes += [asyncio.create_task(push(f"bob {number}", 1, "bob")) for number in range(3)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*pushes)
        assert [name for name in order if name in names] == names
        last = order.index("bob 2")
        assert order[last - 4 : last + 1 : 2] == ["bob 0", "bob 1", "bob 2"]
        assert order[-1] == names[-1]
