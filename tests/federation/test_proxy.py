"""The wire that the tests own does to a connection what it says, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.federation.proxy import Way, Wire
from tests.integration.waiting import until
from tests.live import TIMEOUT_S, Client, Live, live_server
from tests.wire.client import Dropped, Message, open_socket


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[tuple[Live, Wire]]:
    async with live_server(database_url) as live, Wire() as wire:
        wire.target = "127.0.0.1", live.port
        yield live, wire


async def connect(live: Live, wire: Wire) -> Client:
    return await live.connect_over(await open_socket("127.0.0.1", wire.port))


def change() -> dict[str, object]:
    return {"id": str(uuid4()), "blob": b"b", "expected_cursor": 0}


async def test_frames_pass_unchanged_and_are_told_apart(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        client = await connect(live, wire)
        assert (await client.push({**change(), "blob": b"b" * 70_000}))["cursor"] == 1
        assert len(await client.pull()) == 3
        assert wire.kinds(Way.UP) == ["auth", "push", "pull"]
        assert wire.kinds(Way.DOWN)[-4:] == ["pull.begin", "pull.record", "pull.commit", "result"]
        assert wire.frames(Way.UP, "push")[0].value["params"]["changes"][0]["blob"] == b"b" * 70_000
        assert wire.upgrades[0].status == 101
        assert wire.upgrades[0].header("host") == f"127.0.0.1:{wire.port}"
        client.socket.abort()


@pytest.mark.parametrize("forwarded", [False, True])
async def test_a_cut_falls_before_or_behind_the_chosen_frame(database_url: str, forwarded: bool) -> None:
    async with wired(database_url) as (live, wire):
        client, witness = await connect(live, wire), await live.connect()
        await witness.subscribe()
        wire.cut_at(Way.UP, "push", count=2, forwarded=forwarded)
        assert (await client.push(change()))["cursor"] == 1
        client.send("push", {"space": client.space, "changes": [change()]})
        assert isinstance(await client.socket.receive(TIMEOUT_S), Dropped)
        if forwarded:
            assert [(await witness.next()).method for _ in range(2)] == ["sync", "sync"]  # type: ignore[union-attr]
        assert (await witness.push(change()))["cursor"] == (3 if forwarded else 2)
        again = await connect(live, wire)
        assert (await again.push(change()))["ok"] is True
        again.socket.abort()


async def test_a_swallowing_wire_looks_open_to_both_ends(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        client = await connect(live, wire)
        await client.subscribe()
        wire.swallow()
        client.send("push", {"space": client.space, "changes": [change()]})
        await wire.arrival(Way.UP, "push")
        with pytest.raises(TimeoutError):
            await client.socket.receive(0.05)
        wire.mend()
        assert (await client.push(change()))["cursor"] == 1
        client.socket.abort()


async def test_a_wire_that_stops_reading_holds_the_sender_up(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        client = await connect(live, wire)
        wire.stop_reading(Way.DOWN)
        client.send("push", {"space": client.space, "changes": [change()]})
        with pytest.raises(TimeoutError):
            await client.socket.receive(0.05)
        wire.mend()
        assert isinstance(await client.socket.receive(TIMEOUT_S), Message)
        client.socket.abort()


async def test_what_is_injected_arrives_as_a_frame_of_its_own(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        client = await connect(live, wire)
        await client.subscribe()
        wire.inject(Way.DOWN, b"\xf6" * 3)
        assert await client.socket.receive(TIMEOUT_S) == Message(b"\xf6" * 3, True)
        wire.inject(Way.UP, b"\xff")
        assert (await client.closed()).code == 4005


async def test_without_a_target_whoever_dials_is_cut_off(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        wire.target = None
        with pytest.raises(ConnectionError):
            await connect(live, wire)
        assert wire.open == 0


async def test_cutting_ends_all_connections_and_the_server_notices(database_url: str) -> None:
    async with wired(database_url) as (live, wire):
        clients = [await connect(live, wire) for _ in range(3)]
        for client in clients:
            await client.subscribe()
        wire.cut()
        for client in clients:
            assert isinstance(await client.socket.receive(TIMEOUT_S), Dropped)
        await wire.until(lambda: wire.open == 0)

        async def nobody_left() -> bool:
            return not live.connections()

        await until(nobody_left)
