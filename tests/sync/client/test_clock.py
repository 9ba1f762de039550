"""A refused token on a machine whose clock is wrong: the client says how wrong it is."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from less_sync.bins.dev import DevIssuer
from less_sync.sync.client import SyncClient, TokenRefused
from less_sync.sync.client.link import CLOCK_DIFFERENCE_MAX
from tests.bins.commands import run_less_sync
from tests.client.sharing.people import Town
from tests.sync.scripted_server import Peer, hold, scripted

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
REFUSED = "the server refused the token: expired auth token"


async def refuse(peer: Peer) -> None:
    await peer.token()
    await peer.connection.close(4000, "expired auth token")


async def refused_at(now: datetime, date: str) -> TokenRefused:
    """How a client whose clock says `now` is refused by a server that says `date`."""

    async def token() -> str:
        return "t"

    async with scripted(refuse, date=date) as server:
        with pytest.raises(TokenRefused) as caught:
            async with SyncClient(server.url, token, now=lambda: now):
                pass
    return caught.value


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(days=2), "2 days (it is ahead)"),
        (timedelta(hours=-47), "47 hours (it is behind)"),
        (timedelta(minutes=-119), "119 minutes (it is behind)"),
        (timedelta(seconds=61), "61 seconds (it is ahead)"),
    ],
)
async def test_a_refusal_says_how_far_the_clocks_are_apart(ahead: timedelta, words: str) -> None:
    error = await refused_at(NOON + ahead, format_datetime(NOON, usegmt=True))
    assert error.clock_difference == ahead
    assert str(error) == f"{REFUSED}; this clock differs from the server's by {words}"


@pytest.mark.parametrize(
    "date",
    [
        format_datetime(NOON + CLOCK_DIFFERENCE_MAX, usegmt=True),
        format_datetime(NOON - CLOCK_DIFFERENCE_MAX, usegmt=True),
        "",
        "yesterday",
        "Mon, 99 May 2026 99:99:99 GMT",
    ],
)
async def test_a_refusal_says_nothing_of_clocks_that_agree_or_are_not_told(date: str) -> None:
    error = await refused_at(NOON, date)
    assert error.clock_difference is None
    assert str(error) == REFUSED


async def test_a_date_without_a_zone_is_taken_for_one_of_greenwich() -> None:
    error = await refused_at(NOON + timedelta(days=2), "Mon, 04 May 2026 12:00:00 -0000")
    assert error.clock_difference == timedelta(days=2)


async def test_a_client_that_is_let_in_knows_of_its_wrong_clock_too() -> None:
    async def token() -> str:
        return "t"

    async def act(peer: Peer) -> None:
        await peer.welcome()
        await hold(peer)

    async with scripted(act, date=format_datetime(NOON, usegmt=True)) as server:
        async with SyncClient(server.url, token, now=lambda: NOON - timedelta(hours=1)) as client:
            assert client.clock_difference == timedelta(hours=-1)


async def test_a_token_minted_two_days_ago_by_a_wrong_clock_is_explained_by_the_server_s(
    tmp_path: Path, database_url: str
) -> None:
    town = Town(tmp_path, database_url)

    def now() -> datetime:
        return datetime.now(UTC) - timedelta(days=2, seconds=30)

    async def token() -> str:
        return DevIssuer(town.data_dir).mint("alice", now=now())

    async with town.server():
        with pytest.raises(TokenRefused, match=r"by 2 days \(it is behind\)"):
            async with SyncClient(f"ws://127.0.0.1:{town.port}/api/v1/ws", token, now=now):
                pass


async def test_the_folder_commands_tell_it_with_what_to_do(tmp_path: Path) -> None:
    server_time = datetime.now(UTC) - timedelta(days=2, seconds=30)
    token = DevIssuer(tmp_path).mint("alice", now=datetime.now(UTC))
    async with scripted(refuse, date=format_datetime(server_time, usegmt=True)) as server:
        environment = {
            "LESS_SYNC_SERVER": server.url,
            "LESS_SYNC_TOKEN": token,
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        }
        finished = await run_less_sync("pull", str(tmp_path / "folder"), env=environment)
    assert finished.status == 5
    assert f"{REFUSED}; this clock differs from the server's by 2 days (it is ahead)\n" in finished.err
    assert "set the clock that is wrong: tokens are judged by the server's" in finished.err
