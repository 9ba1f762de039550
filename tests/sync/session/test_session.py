"""Order of requests, back-pressure, timers and the end of a session, over real connections."""

import asyncio
import tracemalloc
from contextlib import suppress
from uuid import uuid4

import asyncpg
import cbor2

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Notification, Response, encode_request
from tests.live import TIMEOUT_S, live_server
from tests.wire.client import Closed, Dropped, Message


def change(id: str | None = None, *, blob: bytes | None = b"x", expected: int = 0) -> dict[str, object]:
    return {"id": id or str(uuid4()), "blob": blob, "expected_cursor": expected}


async def test_requests_sent_at_once_are_answered_in_order_pushes_included(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        entry = {"spaces": [{"id": client.space, "since": 0}]}
        expected: list[str] = []
        for _ in range(10):
            expected += [
                client.send("push", {"space": client.space, "changes": [change()]}) for _ in range(5)
            ]
            expected.append(client.send("subscribe", entry))
            expected.append(client.send("nonsense", {}))
        answers = [await client.next() for _ in expected]
        assert [answer.id for answer in answers if isinstance(answer, Response)] == expected
        cursors = [
            answer.result["cursor"]
            for answer in answers
            if isinstance(answer, Response) and isinstance(answer.result, dict) and "ok" in answer.result
        ]
        assert cursors == list(range(1, 51))


async def test_a_subscribe_behind_pushes_sees_the_cursor_they_made(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        for _ in range(20):
            client.send("push", {"space": client.space, "changes": [change()]})
        result = await client.subscribe()
        assert result["spaces"][0]["cursor"] == 20


async def test_thousands_of_refused_pushes_behind_a_waiting_one_are_answered_once_each_in_order(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await asyncpg.connect(database_url)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT 1 FROM spaces FOR UPDATE")
        # A request that waits keeps everything behind it in the backlog; then a flood in a few segments.
        expected = [client.send("membership.revoke", {"space": client.space, "ucan_cid": "x"})]
        expected += [client.send("push", {"space": "no uuid", "changes": []}) for _ in range(3000)]
        await transaction.rollback()
        await blocker.close()
        answers = [await client.next() for _ in expected]
        assert [answer.id for answer in answers if isinstance(answer, Response)] == expected
        await live.settled(client)


async def test_what_waits_behind_a_push_keeps_typed_params_alone(database_url: str) -> None:
    junk: list[object] = [{} for _ in range(200_000)]  # 200 kB of a frame, 12 MiB of dicts
    async with live_server(database_url) as live:
        client, other = await live.connect(), await live.connect("bob")
        await client.push(change())
        blocker = await asyncpg.connect(database_url)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT 1 FROM spaces FOR UPDATE")
        pushed = client.send("push", {"space": client.space, "changes": [change()]})
        frame = encode_request(
            "late", "epoch.begin", {"space": client.space, "epoch": "no number", "junk": junk}
        )
        del junk
        tracemalloc.start()
        try:
            client.socket.send(frame)
            for _ in range(3):
                await other.call("invitation.list", {})
            held_bytes = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        await transaction.rollback()
        await blocker.close()
        answers = [await client.next() for _ in range(2)]
        assert [answer.id for answer in answers if isinstance(answer, Response)] == [pushed, "late"]
        assert isinstance(answers[1], Response)
        assert answers[1].error is not None
        assert answers[1].error.code == "invalid_params"
        assert held_bytes < 1024 * 1024


async def test_requests_pipelined_behind_the_auth_frame_are_answered(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        ids = [client.send("?", {}) for _ in range(3)]
        assert [(await client.response(id))[0].id for id in ids] == ids


async def test_other_requests_are_answered_while_a_pull_streams_and_two_pulls_do_not_mix(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        blob = bytes(64 * 1024)
        for _ in range(8):
            await client.push(*(change(blob=blob) for _ in range(32)))
        spaces = [{"id": client.space, "since": 0}]
        client.socket.stop_reading()
        first = client.send("pull", {"spaces": spaces})
        second = client.send("pull", {"spaces": spaces})
        other = client.send("?", {})
        client.socket.resume_reading()
        order: list[str] = []
        while len(order) < 3:
            frame = await client.next()
            if isinstance(frame, Response):
                order.append(frame.id)
            elif first in order:
                assert not isinstance(frame, Notification)
                assert frame.id == second
            else:
                assert not isinstance(frame, Notification)
                assert frame.id == first
        assert order == [other, first, second]


async def test_a_flood_of_requests_from_a_peer_that_does_not_read_is_held_back_by_tcp(
    database_url: str,
) -> None:
    async with live_server(database_url, Limits(backlog_frames=8)) as live:
        client = await live.connect()
        await live.settled(client)
        (server_end,) = live.connections()
        client.socket.stop_reading()
        request = encode_request("x" * 256, "m" * 128, {})
        sent = 0
        while not server_end.transport.is_reading() or sent < 200_000:
            client.socket.send(request)
            sent += 1
            if sent % 1000 == 0:
                await asyncio.sleep(0)
                if not server_end.transport.is_reading():
                    break
        assert not server_end.transport.is_reading()
        client.socket.resume_reading()
        for _ in range(sent):
            assert isinstance(await client.next(), Response)
        await live.settled(client)


async def test_the_keepalive_byte_and_a_ping_come_every_interval(database_url: str) -> None:
    async with live_server(database_url, Limits(keepalive_interval_s=0.02)) as live:
        socket = await live.open()
        beats = 0
        while beats < 3:
            event = await socket.receive_any(TIMEOUT_S)
            assert event == Message(b"\xf6", binary=True)
            beats += 1
        assert socket.pings >= 2
        socket.abort()


async def test_a_peer_that_says_nothing_at_all_is_dropped(database_url: str) -> None:
    limits = Limits(keepalive_interval_s=0.02, silence_timeout_s=0.06)
    async with live_server(database_url, limits) as live:
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        writer.write(
            b"GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: less-rpc-v1\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")  # and never a pong
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(1000), TIMEOUT_S):
                pass
        assert len(live.services.sessions) == 0
        writer.close()


async def test_a_peer_that_answers_pings_alone_is_kept(database_url: str) -> None:
    limits = Limits(keepalive_interval_s=0.02, silence_timeout_s=0.06, auth_timeout_s=30)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        while client.socket.pings < 20:
            await client.socket.receive_any(TIMEOUT_S)
        await live.settled(client)


async def test_who_reads_slowly_and_so_cannot_be_asked_is_not_taken_for_gone(database_url: str) -> None:
    # The silence must outlast the query: until its first rows fill the buffers, the client is asked.
    limits = Limits(keepalive_interval_s=0.1, silence_timeout_s=1.5, write_timeout_s=TIMEOUT_S)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        for _ in range(4):
            await client.push(change(blob=bytes(3_000_000)))
        client.socket.stop_reading()
        request = client.send("pull", {"spaces": [{"id": client.space, "since": 0}]})
        await asyncio.sleep(2.5)
        client.socket.resume_reading()
        response, chunks = await client.response(request)
        assert (response.error, len(chunks)) == (None, 6)


async def test_the_end_of_the_lifetime_is_1001_so_that_clients_reconnect_quietly(database_url: str) -> None:
    async with live_server(database_url, Limits(lifetime_s=0.05)) as live:
        client = await live.connect()
        assert await client.closed() == Closed(1001, "connection lifetime reached")


async def test_nothing_within_the_auth_timeout_is_4000(database_url: str) -> None:
    async with live_server(database_url, Limits(auth_timeout_s=0.05)) as live:
        socket = await live.open()
        assert await socket.receive(TIMEOUT_S) == Closed(4000, "auth timeout")


async def test_the_auth_timeout_bounds_the_first_message_not_what_follows(database_url: str) -> None:
    async with live_server(database_url, Limits(auth_timeout_s=0.2, handshake_timeout_s=0.4)) as live:
        client = await live.connect()
        await asyncio.sleep(0.6)
        await live.settled(client)


async def test_a_stalled_reader_is_dropped_after_the_write_deadline_and_nobody_else_notices(
    database_url: str,
) -> None:
    limits = Limits(write_timeout_s=0.2, queue_frames=100_000, queue_bytes=1 << 30)
    async with live_server(database_url, limits) as live:
        stalled, author, reader = [await live.connect() for _ in range(3)]
        for client in (stalled, reader):
            await client.subscribe()
        stalled.socket.stop_reading()
        blob = bytes(1 << 20)
        for _ in range(24):
            await author.push(change(blob=blob))
        while len(live.services.sessions) > 2:  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.01)
        heard = [await reader.next() for _ in range(24)]
        cursors = [frame.params["cursor"] for frame in heard if isinstance(frame, Notification)]  # type: ignore[index]  # decoded CBOR
        assert cursors == list(range(1, 25))


async def test_a_slow_consumer_is_closed_with_4006_and_its_place_is_free_again(database_url: str) -> None:
    async with live_server(database_url, Limits(queue_frames=4, connections_per_mailbox=3)) as live:
        slow, author, other = [await live.connect() for _ in range(3)]
        await slow.subscribe()
        await other.subscribe()
        slow.socket.stop_reading()
        blob = bytes(1 << 20)
        pushed = 0
        while len(live.services.sessions) > 2:
            await author.push(change(blob=blob))
            pushed += 1
        fourth = await live.connect()
        await live.settled(fourth)
        slow.socket.resume_reading()
        assert await slow.closed() == Closed(4006, "slow consumer")
        for _ in range(pushed):
            assert isinstance(await other.next(), Notification)


async def test_the_fourth_of_three_allowed_connections_is_refused_after_authentication(
    database_url: str,
) -> None:
    async with live_server(database_url, Limits(connections_per_mailbox=3)) as live:
        clients = [await live.connect() for _ in range(3)]
        for client in clients:
            await live.settled(client)
        fourth = await live.connect()
        assert await fourth.closed() == Closed(4003, "too many connections")
        await clients[0].socket.hangup(TIMEOUT_S)
        await live.settled(await live.connect())


async def test_shutdown_finishes_requests_then_closes_with_1001(database_url: str) -> None:
    async with live_server(database_url) as live:
        client, idle = await live.connect(), await live.connect()
        await live.settled(client)
        await live.settled(idle)
        blocker = await asyncpg.connect(database_url)
        await client.push(change())
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT 1 FROM spaces FOR UPDATE")
        push = client.send("push", {"space": client.space, "changes": [change()]})
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(live.services.sessions.shutdown(5))
        assert await idle.closed() == Closed(1001, "server shutting down")
        await transaction.rollback()
        response, _ = await client.response(push)
        assert response.result == {"ok": True, "cursor": 2}
        assert await client.closed() == Closed(1001, "server shutting down")
        await stopping
        await blocker.close()


async def test_a_push_whose_author_is_gone_is_written_and_announced(database_url: str) -> None:
    async with live_server(database_url) as live:
        author, other = await live.connect(), await live.connect()
        await other.subscribe()
        await author.push(change())
        assert isinstance(await other.next(), Notification)
        author.send("push", {"space": author.space, "changes": [change()]})
        await asyncio.sleep(0)
        author.socket.send(cbor2.dumps({"type": 0, "id": "last", "method": "?"}))
        author.socket.abort()
        frames = [frame for frame in [await other.next()] if isinstance(frame, Notification)]
        assert [frame.params["cursor"] for frame in frames] == [2]  # type: ignore[index]  # decoded CBOR


async def test_refreshing_to_another_personal_space_ends_the_old_subscription(database_url: str) -> None:
    async with live_server(database_url) as live:
        client, other = await live.connect(), await live.connect()
        await client.subscribe()
        moved = str(uuid4())
        token = live.token("alice", personal_space_id=moved)
        assert await client.call("token.refresh", {"token": token}) == {"ok": True}
        await other.push(change())
        await live.settled(client)
        assert client.unread == []
        await client.subscribe(moved)
        assert (await client.push(change(), space=moved))["cursor"] == 1


async def test_a_token_of_another_client_or_issuer_does_not_take_over_a_session(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        for changes in ({"sub": "bob"}, {"client_id": "other"}):
            token = live.token("alice", **changes)
            result = await client.call("token.refresh", {"token": token})
            assert result == {"ok": False, "error": "token identity mismatch"}
        assert (await client.push(change()))["ok"]


async def test_an_id_longer_than_its_limit_closes_4005(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        client.socket.send(encode_request("i" * 257, "?", {}))
        assert await client.closed() == Closed(4005, "request id too long")


async def test_the_close_for_a_bad_frame_comes_after_the_replies_of_earlier_pushes(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        ids = [client.send("push", {"space": client.space, "changes": [change()]}) for _ in range(5)]
        client.socket.send(b"\xff")
        for id in ids:
            frame = await client.next()
            assert isinstance(frame, Response)
            assert frame.id == id
        assert await client.closed() == Closed(4005, "invalid cbor frame")


async def test_users_without_a_mailbox_are_counted_one_by_one(database_url: str) -> None:
    async with live_server(database_url, Limits(connections_per_mailbox=3)) as live:
        for user in ("alice", "bob"):
            for _ in range(3):
                await live.settled(await live.connect(user, mailbox_id=""))
        assert await (await live.connect("alice", mailbox_id="")).closed() == Closed(
            4003, "too many connections"
        )


async def test_a_session_survives_the_cut_of_others(database_url: str) -> None:
    async with live_server(database_url) as live:
        kept, cut = await live.connect(), await live.connect()
        await kept.subscribe()
        await cut.subscribe()
        cut.socket.abort()
        assert isinstance(await cut.socket.receive(TIMEOUT_S), Dropped)
        assert (await kept.push(change()))["ok"]
