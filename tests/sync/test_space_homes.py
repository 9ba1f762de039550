"""`space.create` with a home: what is kept of the name, and what the client is told."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from less_sync.sync.forwarding import Alone, NotTrusted
from tests.live import Client, Live, Person, live_server

HOME = "home.example"


class Trusting(Alone):
    """Trusts one server, and goes by a name itself."""

    enabled = True  # type: ignore[misc]  # it is final for a server alone

    def trusted_name(self, server: str) -> str | None:
        name = server.lower()
        if name not in (HOME, "own.example"):
            raise NotTrusted
        return HOME if name == HOME else None


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as live:
        yield live


async def created(client: Client, home: str) -> tuple[UUID, object]:
    space = uuid4()
    params = {"id": str(space), "root_public_key": Person("owner").root_key, "home_server": home}
    return space, await client.call("space.create", params)


async def test_a_space_of_another_server_is_answered_with_our_own_name_of_its_home(live: Live) -> None:
    live.services.federate(Trusting())
    client = await live.connect()
    for home, kept in (("HOME.example", HOME), ("own.example", None), ("", None)):
        space, result = await created(client, home)
        echo = {} if kept is None else {"home_server": kept}
        assert result == {"id": str(space), "key_generation": 1, **echo}
        row = (await live.services.spaces.get_spaces([space]))[space]
        assert (row.home_server, row.cursor) == (kept, 0)


@pytest.mark.parametrize(
    ("federates", "told"),
    [
        (True, "home server is not a trusted federation peer"),
        (False, "federation is not enabled on this server"),
    ],
)
async def test_a_home_that_nobody_trusts_is_refused_and_nothing_made(
    live: Live, federates: bool, told: str
) -> None:
    if federates:
        live.services.federate(Trusting())
    client, space = await live.connect(), uuid4()
    params = {"id": str(space), "root_public_key": Person("owner").root_key, "home_server": "other.example"}
    assert await client.error("space.create", params) == ("bad_request", told)
    assert await live.services.spaces.get_spaces([space]) == {}
