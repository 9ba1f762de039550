"""The client against a server that misbehaves on demand: calls, chunks, reconnects, bounds."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.client import (
    CHANGE_OVERHEAD_BYTES,
    ClientClosed,
    ClientLimits,
    ConnectFailed,
    ConnectionChange,
    ConnectionLost,
    NotThisProtocol,
    OtherNotice,
    PullCommit,
    PullEvent,
    PullOther,
    PullRecord,
    PushChange,
    RequestFailed,
    RequestTimeout,
    ResyncNeeded,
    ServerUnavailable,
    SubscribeSpace,
    SubscriptionLost,
    SyncClient,
    SyncNotice,
    TokenRefused,
    TokenUnavailable,
    split_changes,
)
from less_sync.sync.client.errors import FrameTooLarge
from less_sync.sync.protocol.frames import encode_request
from less_sync.sync.protocol.messages import PullParams, PushParams, decode_params
from tests.sync.scripted_server import Peer, hold, scripted

SPACE = "da29e793-3f05-51c3-9f72-63cc953f9c05"
QUICK = ClientLimits(request_timeout_s=20.0, chunk_idle_timeout_s=20.0, close_timeout_s=0.2)


class Waits:
    """Stands in for sleeping: notes how long and goes on at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


async def token() -> str:
    return "t"


def client_of(url: str, waits: Waits | None = None, limits: ClientLimits = QUICK) -> SyncClient:
    return SyncClient(url, token, limits=limits, sleep=waits or Waits(), uniform=lambda: 0.0)


def record(cursor: int, name: str, **more: object) -> Mapping[str, object]:
    return {"space": SPACE, "id": name, "blob": b"x", "cursor": cursor} | more


async def collect(events: AsyncIterator[PullEvent]) -> list[PullEvent]:
    return [event async for event in events]


async def test_the_token_is_sent_first_and_calls_are_answered_by_id_in_any_order() -> None:
    async def act(peer: Peer) -> None:
        assert await peer.token() == "t"
        await peer.accept_subscribe()
        first, second = await peer.request("push"), await peer.request("push")
        assert decode_params(PushParams, first.params).space == "one"
        await peer.answer(second, {"ok": False, "error": "conflict"})
        await peer.answer(first, {"ok": True, "cursor": 7})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        change = PushChange(id="r", blob=b"x", expected_cursor=0)
        one, two = await asyncio.gather(client.push("one", [change]), client.push("two", [change]))
    assert (one.ok, one.cursor, one.error) == (True, 7, "")
    assert (two.ok, two.cursor, two.error) == (False, 0, "conflict")


async def test_a_pull_yields_every_entry_and_checks_both_counts() -> None:
    def act_counting(commit: int, chunks: int) -> object:
        async def act(peer: Peer) -> None:
            await peer.welcome()
            request = await peer.request("pull")
            await peer.chunk(
                request, "pull.begin", {"space": SPACE, "prev": 0, "cursor": 9, "key_generation": 1}
            )
            await peer.chunk(request, "pull.record", record(5, "a"))
            await peer.chunk(request, "pull.file", {"space": SPACE, "id": "f", "cursor": 6})
            await peer.chunk(
                request, "pull.commit", {"space": SPACE, "prev": 0, "cursor": 9, "count": commit}
            )
            await peer.answer(request, {"_chunks": chunks})
            await hold(peer)

        return act

    for commit, chunks in ((2, 4), (3, 4), (2, 5)):
        act = act_counting(commit, chunks)
        async with scripted(act) as server, client_of(server.url) as client:  # type: ignore[arg-type]  # an Act
            if (commit, chunks) == (2, 4):
                events = await collect(client.pull(SPACE, 0))
                assert [type(event).__name__ for event in events] == [
                    "PullBegin",
                    "PullRecord",
                    "PullOther",
                    "PullCommit",
                ]
            else:
                with pytest.raises(NotThisProtocol, match="came"):
                    await collect(client.pull(SPACE, 0))


async def test_a_space_the_server_skips_is_forbidden_and_an_error_response_is_raised() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(await peer.request("pull"), {"_chunks": 0})
        await peer.refuse(await peer.request("pull"), "internal")
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        with pytest.raises(RequestFailed) as skipped:
            await collect(client.pull(SPACE, 0))
        with pytest.raises(RequestFailed) as failed:
            await collect(client.pull(SPACE, 0))
    assert (skipped.value.code, failed.value.code) == ("forbidden", "internal")


async def test_a_pull_resumes_after_a_loss_where_it_broke_without_repeating_an_entry() -> None:
    sinces: list[int] = []

    async def part(peer: Peer, names: list[tuple[int, str]], *, whole: bool) -> None:
        await peer.welcome()
        request = await peer.request("pull")
        sinces.append(decode_params(PullParams, request.params).spaces[0].since)
        begin = {"space": SPACE, "prev": sinces[-1], "cursor": 9, "key_generation": 1}
        await peer.chunk(request, "pull.begin", begin)
        for cursor, name in names:
            await peer.chunk(request, "pull.record", record(cursor, name))
        if whole:
            commit = {"space": SPACE, "prev": sinces[-1], "cursor": 9, "count": len(names)}
            await peer.chunk(request, "pull.commit", commit)
            await peer.answer(request, {"_chunks": len(names) + 2})
            await hold(peer)

    async def first(peer: Peer) -> None:
        await part(peer, [(1, "a")], whole=False)

    async def second(peer: Peer) -> None:
        await part(peer, [(1, "a"), (1, "b"), (4, "c")], whole=False)

    async def third(peer: Peer) -> None:
        await part(peer, [(4, "c"), (4, "d"), (6, "e")], whole=True)

    async with scripted(first, second, third) as server, client_of(server.url) as client:
        events = await collect(client.pull(SPACE, 0))
    assert sinces == [0, -1, 3]
    assert [event.id for event in events if isinstance(event, PullRecord)] == ["a", "b", "c", "d", "e"]
    assert [event.cursor for event in events if isinstance(event, PullCommit)] == [9]


async def test_a_pull_that_never_gets_on_gives_up() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.request("pull")

    limits = ClientLimits(pull_resumptions=3, close_timeout_s=0.2)
    async with scripted(act) as server, client_of(server.url, limits=limits) as client:
        with pytest.raises(ServerUnavailable):
            await collect(client.pull(SPACE, 0))
        assert server.connections >= 4


async def test_leaving_a_pull_early_leaves_the_connection_usable() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        request = await peer.request("pull")
        begin = {"space": SPACE, "prev": 0, "cursor": 9, "key_generation": 1}
        await peer.chunk(request, "pull.begin", begin)
        for number in range(500):
            await peer.chunk(request, "pull.record", record(number + 1, str(number)))
        await peer.answer(await peer.request("push"), {"ok": True})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        async with aclosing(client.pull(SPACE, 0)) as events:
            async for event in events:
                if isinstance(event, PullRecord):
                    break
        assert (await client.push(SPACE, [])).ok


async def test_a_slow_consumer_of_a_pull_bounds_what_is_in_memory() -> None:
    sent = 0

    async def act(peer: Peer) -> None:
        nonlocal sent
        await peer.welcome()
        request = await peer.request("pull")
        begin = {"space": SPACE, "prev": 0, "cursor": 9, "key_generation": 1}
        await peer.chunk(request, "pull.begin", begin)
        for number in range(400):
            await peer.chunk(request, "pull.record", record(number + 1, str(number), blob=bytes(1 << 20)))
            sent += 1

    limits = ClientLimits(chunks_buffered=4, chunk_bytes_buffered=3 << 20, close_timeout_s=0.2)
    async with scripted(act) as server, client_of(server.url, limits=limits) as client:
        async with aclosing(client.pull(SPACE, 0)) as events:
            await anext(events)
            before = -1
            while sent != before:  # until the server can write no more
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0.001)
            assert sent < 40


BEGIN: Mapping[str, object] = {"space": SPACE, "prev": 0, "cursor": 300, "key_generation": 1}
COMMIT: Mapping[str, object] = {"space": SPACE, "prev": 0, "cursor": 300}


async def answer_a_push_behind_300_records(peer: Peer) -> None:
    """Serve a pull, whose records stand before the answer to a push that comes at its beginning."""
    await peer.welcome()
    request = await peer.request("pull")
    await peer.chunk(request, "pull.begin", BEGIN)
    push = await peer.request("push")
    for number in range(300):
        await peer.chunk(request, "pull.record", record(number + 1, str(number)))
    await peer.answer(push, {"ok": True})
    await peer.chunk(request, "pull.commit", {**COMMIT, "count": 300})
    await peer.answer(request, {"_chunks": 302})


async def pull_with_a_push_in_the_middle(client: SyncClient) -> list[int]:
    """The cursors pulled; before the first record a push is sent, and its answer waited for."""
    cursors: list[int] = []
    async with aclosing(client.pull(SPACE, 0)) as events:
        async for event in events:
            if isinstance(event, PullRecord):
                cursors.append(event.cursor)
            elif not cursors:
                assert (await client.push(SPACE, [])).ok
    return cursors


async def test_a_stream_whose_consumer_waits_for_another_answer_does_not_keep_it_away() -> None:
    async def act(peer: Peer) -> None:
        await answer_a_push_behind_300_records(peer)
        await hold(peer)

    limits = ClientLimits(chunks_buffered=4, close_timeout_s=0.2)
    async with scripted(act) as server, client_of(server.url, limits=limits) as client:
        assert await pull_with_a_push_in_the_middle(client) == list(range(1, 301))


async def test_a_pull_waits_behind_the_chunks_of_one_that_was_left() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        left = await peer.request("pull")
        begin = {"space": SPACE, "prev": 0, "cursor": 9, "key_generation": 1}
        await peer.chunk(left, "pull.begin", begin)
        request = await peer.request("pull")
        for number in range(20):  # longer than the deadline of a silent stream
            await asyncio.sleep(0.05)
            await peer.chunk(left, "pull.record", record(number + 1, str(number)))
        await peer.chunk(request, "pull.begin", begin)
        await peer.chunk(request, "pull.commit", {"space": SPACE, "prev": 0, "cursor": 9, "count": 0})
        await peer.answer(request, {"_chunks": 2})
        await hold(peer)

    limits = ClientLimits(chunk_idle_timeout_s=0.4, pull_resumptions=0, close_timeout_s=0.2)
    async with scripted(act) as server, client_of(server.url, limits=limits) as client:
        async with aclosing(client.pull(SPACE, 0)) as events:
            await anext(events)
        assert len(await collect(client.pull(SPACE, 0))) == 2


async def test_a_stream_that_outgrows_the_wait_for_another_answer_breaks_and_is_resumed() -> None:
    async def flood(peer: Peer) -> None:
        await answer_a_push_behind_300_records(peer)
        again = await peer.request("pull")
        (asked,) = decode_params(PullParams, again.params).spaces
        left = range(asked.since, 300)
        await peer.chunk(again, "pull.begin", BEGIN)
        for number in left:
            await peer.chunk(again, "pull.record", record(number + 1, str(number)))
        await peer.chunk(again, "pull.commit", {**COMMIT, "count": len(left)})
        await peer.answer(again, {"_chunks": len(left) + 2})
        await hold(peer)

    limits = ClientLimits(chunks_buffered=4, chunks_buffered_for_others=100, close_timeout_s=0.2)
    async with scripted(flood) as server, client_of(server.url, limits=limits) as client:
        assert await pull_with_a_push_in_the_middle(client) == list(range(1, 301))
        assert server.connections == 1


async def test_a_reconnect_waits_longer_each_time_and_starts_anew_after_an_authenticated_answer() -> None:
    async def refuse_after_auth(peer: Peer) -> None:
        await peer.token()
        await peer.connection.close(4003, "too many connections")

    async def leave(peer: Peer) -> None:
        await peer.welcome()
        await peer.connection.close(1001, "server shutting down")

    async def stay(peer: Peer) -> None:
        await peer.welcome()
        await hold(peer)

    waits, changes = Waits(), list[ConnectionChange]()
    acts = [leave, *[refuse_after_auth] * 7, leave, refuse_after_auth, stay]
    async with scripted(*acts) as server:
        client = SyncClient(
            server.url, token, limits=QUICK, sleep=waits, uniform=lambda: 0.5, on_connection=changes.append
        )
        async with client:
            assert await client.next_notice() == ResyncNeeded("reconnected")
            while server.connections < len(acts) or not changes[-1].connected:
                await client.next_notice()
    bases = [1, 2, 4, 8, 16, 30, 30, 30, 1, 2]
    assert waits.seconds == pytest.approx([base * 1.15 for base in bases])
    assert changes[1].reason == "connection lost (1001: server shutting down)"
    assert [change.connected for change in changes].count(True) == 3


@pytest.mark.parametrize(("settled_after_s", "wait_s"), [(0.0, 0.0), (3600.0, 1.0)])
async def test_an_expired_token_is_replaced_at_once_but_not_in_a_circle(
    settled_after_s: float, wait_s: float
) -> None:
    async def expire(peer: Peer) -> None:
        await peer.welcome()
        await peer.connection.close(4001, "token expired")

    async def stay(peer: Peer) -> None:
        await peer.welcome()
        await hold(peer)

    waits = Waits()
    limits = ClientLimits(settled_after_s=settled_after_s, close_timeout_s=0.2)
    async with scripted(expire, stay) as server, client_of(server.url, waits, limits) as client:
        assert await client.next_notice() == ResyncNeeded("reconnected")
    assert waits.seconds == [wait_s]


@pytest.mark.parametrize("code", [4000, 4002])
async def test_after_4000_and_4002_it_never_comes_back(code: int) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.connection.close(code, "expired auth token")

    waits = Waits()
    async with scripted(act) as server, client_of(server.url, waits) as client:
        with pytest.raises(TokenRefused, match="expired auth token"):
            await client.next_notice()
        with pytest.raises(TokenRefused):
            await client.push(SPACE, [])
        assert (server.connections, waits.seconds) == (1, [])


async def test_entering_fails_at_once_when_there_is_no_server_no_token_or_another_protocol() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.token()
        await peer.connection.close(4000, "invalid auth token")

    async def no_token() -> str:
        raise TokenUnavailable("no file")

    async with scripted(refuse) as server:
        with pytest.raises(TokenRefused, match="invalid auth token"):
            async with client_of(server.url):
                pass
        with pytest.raises(TokenUnavailable):
            async with SyncClient(server.url, no_token):
                pass
    with pytest.raises(ConnectFailed):
        async with client_of(server.url):
            pass

    async def plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(plain_http, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(NotThisProtocol, match="404"):
            async with client_of(f"ws://127.0.0.1:{port}/"):
                pass


async def test_after_a_reconnect_spaces_are_subscribed_again_and_refused_ones_reported() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.accept_subscribe()

    async def second(peer: Peer) -> None:
        assert await peer.welcome("gone") == ["kept"]
        await hold(peer)

    async with scripted(first, second) as server, client_of(server.url) as client:
        await client.subscribe([SubscribeSpace(id=space, since=0) for space in ("kept", "gone")])
        assert await client.next_notice() == ResyncNeeded("reconnected")
        assert await client.next_notice() == SubscriptionLost("gone", "forbidden")


async def test_the_token_source_is_asked_at_every_connect() -> None:
    numbers = iter(range(10))
    seen: list[str] = []

    async def source() -> str:
        return f"token-{next(numbers)}"

    async def leave(peer: Peer) -> None:
        seen.append(await peer.token())
        await peer.accept_subscribe()

    async def stay(peer: Peer) -> None:
        await leave(peer)
        await hold(peer)

    async with scripted(leave, leave, stay) as server:
        async with SyncClient(server.url, source, limits=QUICK, sleep=Waits()) as client:
            while len(seen) < 3:
                await client.next_notice()
    assert seen == ["token-0", "token-1", "token-2"]


async def test_notices_come_in_order_and_overflow_into_one_marker() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.announce("event", {"space": SPACE})
        for cursor in range(1, 100):
            params = {"space": SPACE, "prev": cursor - 1, "cursor": cursor, "key_generation": 1}
            await peer.announce("sync", params | {"records": [{"id": "a", "cursor": cursor}]})
        await peer.answer(await peer.request("push"), {"ok": True})
        await hold(peer)

    limits = ClientLimits(notices_queued=20, close_timeout_s=0.2)
    async with scripted(act) as server, client_of(server.url, limits=limits) as client:
        await client.push(SPACE, [])  # answered behind all of them
        notices = [await client.next_notice() for _ in range(20)]
        assert isinstance(notices[0], ResyncNeeded)
        cursors = [notice.cursor for notice in notices if isinstance(notice, SyncNotice)]
        assert cursors == sorted(cursors)
        assert len(cursors) < 20
        assert not [notice for notice in notices if isinstance(notice, OtherNotice)]


async def test_a_push_has_a_deadline_and_a_lost_one_says_so() -> None:
    async def mute(peer: Peer) -> None:
        await peer.welcome()
        await peer.request("push")
        await peer.request("push")

    async with scripted(mute, hold) as server, client_of(server.url) as client:
        with pytest.raises(RequestTimeout, match=r"no answer to push within 0\.05 s"):
            await client.push(SPACE, [], timeout_s=0.05)
        with pytest.raises(ConnectionLost):
            await client.push(SPACE, [])


async def test_a_call_waits_for_the_next_connection_and_closing_ends_every_wait() -> None:
    async def leave(peer: Peer) -> None:
        await peer.welcome()

    async def serve(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(await peer.request("space.create"), {"id": SPACE, "key_generation": 1})
        await peer.answer(await peer.request("token.refresh"), {"ok": False, "error": "expired auth token"})
        await peer.request("push")
        await hold(peer)

    async with scripted(leave, serve) as server:
        async with client_of(server.url) as client:
            await client.next_notice()
            assert (await client.space_create(SPACE, b"\x02" * 33)).id == SPACE
            assert (await client.refresh("fresh")).error == "expired auth token"
            waiting = asyncio.create_task(client.push(SPACE, []))
            await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await waiting
        with pytest.raises(ClientClosed):
            await client.push(SPACE, [])
        assert [notice async for notice in client.notices()] == []


async def test_garbage_ends_the_client_and_nothing_is_shown_of_it() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.connection.send(b"\xff\xff secret")
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        with pytest.raises(NotThisProtocol) as caught:
            await client.next_notice()
    assert "secret" not in repr(caught.value)


async def test_a_request_that_does_not_fit_into_a_frame_is_not_sent() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(await peer.request("push"), {"ok": True})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        with pytest.raises(FrameTooLarge):
            await client.push(SPACE, [PushChange(id="r", blob=bytes(4 << 20), expected_cursor=0)])
        assert (await client.push(SPACE, [])).ok


changes = st.builds(
    PushChange,
    id=st.just("12345678-1234-1234-1234-123456789abc"),
    blob=st.none() | st.integers(0, 3000).map(bytes),
    expected_cursor=st.integers(0, 2**63 - 1),
    dek=st.none() | st.just(bytes(44)),
)


@given(st.lists(changes, max_size=40), st.integers(5000, 20000))
def test_changes_are_split_in_order_into_frames_that_fit(changes: list[PushChange], frame: int) -> None:
    batches = list(split_changes(changes, frame_bytes=frame))
    assert [change for batch in batches for change in batch] == changes
    for batch in batches:
        assert batch
        assert len(encode_request("c123456789", "push", PushParams(space=SPACE, changes=batch))) <= frame
    assert CHANGE_OVERHEAD_BYTES < 5000


def test_what_came_without_a_type_is_shown_without_its_secrets() -> None:
    file = {"id": "f", "dek": b"secret", "size": 3}
    assert (
        repr(PullOther("pull.file", file))
        == "PullOther(name='pull.file', data={id: 'f', dek: <6 bytes>, size: 3})"
    )
    assert repr(OtherNotice("file", {"files": [file]})) == (
        "OtherNotice(method='file', params={files: [{id: 'f', dek: <6 bytes>, size: 3}]})"
    )
