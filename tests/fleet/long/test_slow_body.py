"""A body that stops coming: the connection is given up after ten seconds, and nothing is held meanwhile."""

import asyncio
import json

import pytest

from tests.fleet.raw import AUTHORIZED, Wire
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio


async def test_bodies_that_stop_are_refused_while_others_are_answered(fleet: Fleet) -> None:
    wires = [await Wire.open(fleet) for _ in range(30)]
    for wire in wires:
        wire.ask("POST /platform/v1/users", AUTHORIZED, "Content-Type: application/json", "Content-Length: 9")
    # More than there are connections to the database: none of these holds one.
    assert (await fleet.client.get("/platform/v1/users")).status_code == 200
    for heard in await asyncio.gather(*(wire.heard() for wire in wires)):
        told = json.loads(heard.body)
        assert (heard.status, told["code"], told["error"]) == (400, "invalid_json", "the body did not come")
    for wire in wires:
        wire.close()
