"""How a connection ends when its time has come: what was taken on is answered first, for a while."""

import asyncio
import math
import time
from typing import Any

import asyncpg
import cbor2
import pytest

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Response, encode_request
from tests.live import TIMEOUT_S, Client, live_server
from tests.sync.session.test_session import change
from tests.wire.client import Closed, Dropped, Message


async def lock_of_all_spaces(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection whose transaction keeps every write to the spaces there are waiting until it is closed."""
    blocker: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database_url)
    await blocker.execute("BEGIN")
    await blocker.execute("SELECT 1 FROM spaces FOR UPDATE")
    return blocker


async def answered(client: Client) -> tuple[list[Any], Closed]:
    """Results of all answers until the connection is closed, and how it was closed."""
    results: list[Any] = []
    while True:
        event = await client.socket.receive(TIMEOUT_S)
        if not isinstance(event, Message):
            assert isinstance(event, Closed), event
            return results, event
        frame = cbor2.loads(event.data)
        if frame["type"] == 1:
            results.append(frame["result"])


async def push_until_closed(client: Client) -> tuple[list[Any], Closed]:
    """Keep twenty pushes under way; see what was answered."""

    async def pushing() -> None:
        while True:
            for _ in range(20):
                client.send("push", {"space": client.space, "changes": [change()]})
            await asyncio.sleep(0.002)

    task = asyncio.create_task(pushing())
    try:
        return await answered(client)
    finally:
        task.cancel()


async def cursor_of(database_url: str, space: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        cursor: int = await connection.fetchval("SELECT cursor FROM spaces WHERE id = $1", space)
        return cursor
    finally:
        await connection.close()


@pytest.mark.parametrize("why", ["lifetime", "token"])
async def test_every_push_that_was_written_is_answered_before_the_close(database_url: str, why: str) -> None:
    limits = Limits(lifetime_jitter=0.0, token_expiry_grace_s=0.0)
    if why == "lifetime":
        limits = Limits(lifetime_s=0.3, lifetime_jitter=0.0)
    async with live_server(database_url, limits) as live:
        live.services.enforce_token_expiry = True
        # Whole seconds, and not before the connection is made on a machine that is busy.
        more: dict[str, Any] = {} if why == "lifetime" else {"exp": math.ceil(time.time() + 0.7)}
        client = await live.connect(**more)
        await live.settled(client)
        results, closed = await push_until_closed(client)
        expected = (1001, "connection lifetime reached") if why == "lifetime" else (4001, "token expired")
        assert (closed.code, closed.reason) == expected
        assert results
        assert all(result["ok"] for result in results)
        assert len(results) == await cursor_of(database_url, client.space)


async def test_what_takes_too_long_is_cut(database_url: str) -> None:
    limits = Limits(lifetime_s=0.2, lifetime_jitter=0.0, drain_timeout_s=0.2)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await lock_of_all_spaces(database_url)
        client.send("push", {"space": client.space, "changes": [change()]})
        assert await client.closed() == Closed(1001, "connection lifetime reached")
        await blocker.close()


async def test_a_second_retirement_does_not_put_the_first_one_off(database_url: str) -> None:
    limits = Limits(lifetime_s=1.0, lifetime_jitter=0.0, drain_timeout_s=1000.0)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await lock_of_all_spaces(database_url)
        client.send("push", {"space": client.space, "changes": [change()]})
        await asyncio.sleep(0.05)
        # The lifetime ends while the drain waits for the push.
        live.services.sessions.drain(spread_s=0.0, within_s=1.5)
        ended = await answered(client)
        await blocker.close()
        # Not answered: the lock is waited for much longer.
        assert ended == ([], Closed(1001, "server shutting down"))


async def test_an_idle_connection_is_closed_at_once(database_url: str) -> None:
    limits = Limits(lifetime_s=0.1, lifetime_jitter=0.0, drain_timeout_s=1000.0)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        assert await client.closed() == Closed(1001, "connection lifetime reached")


async def test_what_arrives_while_it_retires_is_not_taken_on(database_url: str) -> None:
    limits = Limits(lifetime_s=0.2, lifetime_jitter=0.0)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await lock_of_all_spaces(database_url)
        first = client.send("push", {"space": client.space, "changes": [change()]})
        await asyncio.sleep(0.4)  # the lifetime is over, and the push still waits for the lock
        client.send("push", {"space": client.space, "changes": [change()]})
        client.send("?", {})
        await blocker.close()
        response, _ = await client.response(first)
        assert response.result == {"ok": True, "cursor": 2}
        assert await client.closed() == Closed(1001, "connection lifetime reached")
        assert await cursor_of(database_url, client.space) == 2


async def test_a_close_with_a_full_backlog_does_not_lose_the_close_handshake(database_url: str) -> None:
    limits = Limits(backlog_frames=4, backlog_bytes=4096, drain_timeout_s=0.1, close_timeout_s=1000.0)
    async with live_server(database_url, limits) as live:
        client = await live.connect()
        await client.push(change())
        blocker = await lock_of_all_spaces(database_url)
        client.send("membership.revoke", {"space": client.space, "ucan_cid": "x"})
        for number in range(200):
            client.socket.send(encode_request(f"late{number}", "?", {"padding": bytes(400)}))
        (server_end,) = live.connections()
        while server_end.transport.is_reading():  # noqa: ASYNC110  nothing to wait for but the state
            await asyncio.sleep(0.001)
        await live.services.sessions.shutdown(0.1)
        # The server reads on, up to our close frame; with reading paused it would wait for ever.
        while not isinstance(event := await client.socket.receive(TIMEOUT_S), Closed):
            assert not isinstance(event, Dropped)
            assert not isinstance(cbor2.loads(event.data), Response)
        assert event == Closed(1001, "server shutting down")
        await client.socket.ended(TIMEOUT_S)
        await blocker.close()
