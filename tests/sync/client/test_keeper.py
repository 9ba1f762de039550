"""What breaks beside the connection ends no client in silence: token source, callback, the keeper itself."""

import asyncio

import pytest

from less_sync.sync.client import (
    ConnectionChange,
    ResyncNeeded,
    SyncClient,
    SyncClientError,
    TokenUnavailable,
)
from tests.sync.client.test_client import QUICK, Waits, token
from tests.sync.scripted_server import Peer, hold, scripted


async def once(peer: Peer) -> None:
    """Welcome the client, then stop."""
    await peer.welcome()
    await peer.connection.close(1001, "server shutting down")


async def stay(peer: Peer) -> None:
    await peer.welcome()
    await hold(peer)


async def test_a_token_source_that_breaks_is_asked_again_and_ends_nothing() -> None:
    asked = 0

    async def source() -> str:
        nonlocal asked
        asked += 1
        if asked in (2, 3):
            raise KeyError("secret")
        return "t"

    changes: list[ConnectionChange] = []
    async with scripted(once, stay) as server:
        client = SyncClient(
            server.url, source, on_connection=changes.append, sleep=Waits(), uniform=lambda: 0.0
        )
        async with client:
            assert isinstance(await asyncio.wait_for(client.next_notice(), 20), ResyncNeeded)
    assert asked == 4
    reasons = [change.reason for change in changes if not change.connected]
    assert reasons[1:] == ["the token source failed: KeyError"] * 2


async def test_a_token_source_that_breaks_at_once_is_told_to_the_caller() -> None:
    async def source() -> str:
        raise ZeroDivisionError

    with pytest.raises(TokenUnavailable, match="the token source failed: ZeroDivisionError"):
        async with SyncClient("ws://127.0.0.1:9/", source):
            pass


async def test_a_callback_that_breaks_is_reported_and_ends_nothing() -> None:
    def broken(change: ConnectionChange) -> None:
        raise RuntimeError("in the application")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: reported.append(context["exception"])
    )
    async with scripted(once, stay) as server:
        client = SyncClient(server.url, token, on_connection=broken, sleep=Waits(), uniform=lambda: 0.0)
        async with client:
            assert isinstance(await asyncio.wait_for(client.next_notice(), 20), ResyncNeeded)
    assert [str(one) for one in reported] == ["in the application"] * 3


async def test_a_keeper_that_breaks_ends_the_client_and_who_waits_for_notices_hears_of_it() -> None:
    async def broken(seconds: float) -> None:
        raise RuntimeError("cannot sleep")

    async with (
        scripted(once) as server,
        SyncClient(server.url, token, limits=QUICK, sleep=broken, uniform=lambda: 0.0) as client,
    ):
        with pytest.raises(SyncClientError, match="the client failed: RuntimeError"):
            await asyncio.wait_for(client.next_notice(), 20)
