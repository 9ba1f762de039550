"""Every row of the method table refuses whoever breaks its rule, and takes whoever just keeps it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import uuid4

import cbor2
import pytest

from less_sync.auth import Permission
from less_sync.sync.protocol.frames import encode_request
from less_sync.sync.rpc.registry import METHODS, NOTIFICATIONS
from tests.live import Client, Live, Person, live_server

READ, WRITE, ADMIN = Permission.READ, Permission.WRITE, Permission.ADMIN
MISSING: Final = "00000000-0000-4000-8000-000000000000"
PAYLOAD: Final = b"a member"

Params = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Row:
    """What a row of the table must be, written down once more: who may call it, and a call of it."""

    rule: str
    needs: Permission | None
    """What a UCAN must grant; None where none is asked for."""
    params: Params
    """What it takes beside the space and the UCAN."""


EXPECTED: Final = {
    "token.refresh": Row("signed_in", None, {"token": "x"}),
    "session.info": Row("signed_in", None, {}),
    "space.create": Row("signed_in", None, {"id": MISSING, "root_public_key": b"\x02" + bytes(32)}),
    "invitation.create": Row("signed_in", None, {"mailbox_id": "a" * 64, "payload": "p"}),
    "invitation.list": Row("signed_in", None, {}),
    "invitation.get": Row("signed_in", None, {"id": MISSING}),
    "invitation.delete": Row("signed_in", None, {"id": MISSING}),
    "subscribe": Row("each_space_read", READ, {}),
    "pull": Row("each_space_read", READ, {}),
    "push": Row("space_write", WRITE, {"changes": []}),
    "membership.append": Row(
        "space_write",
        WRITE,
        {"expected_version": 0, "entry_hash": sha256(PAYLOAD).digest(), "payload": PAYLOAD},
    ),
    "membership.list": Row("space_read", READ, {}),
    "membership.revoke": Row("space_admin", ADMIN, {"ucan_cid": "x"}),
    "epoch.begin": Row("space_admin", ADMIN, {"epoch": 2}),
    "epoch.complete": Row("space_admin", ADMIN, {"epoch": 2}),
    "deks.get": Row("space_read", READ, {}),
    "deks.rewrap": Row("space_write", WRITE, {"deks": []}),
    "file.deks.get": Row("space_read", READ, {}),
    "deks.getFiles": Row("space_read", READ, {}),
    "file.deks.rewrap": Row("space_write", WRITE, {"deks": []}),
    "deks.rewrapFiles": Row("space_write", WRITE, {"deks": []}),
}
ON_SPACES: Final = [name for name, row in EXPECTED.items() if row.needs is not None]
ALL_OPTIONAL: Final = {"invitation.list", "session.info"}
NEEDS_SUBSCRIPTION: Final = {
    "presence.set": ("subscribed_within_rate", {"data": b"d"}),
    "presence.clear": ("subscribed", {}),
    "event.send": ("subscribed_within_rate", {"data": b"d"}),
}


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


async def refused(client: Client, name: str, space: str, ucan: str | None) -> bool:
    """Call one row on one space; whether it was refused as forbidden, in the row's own form."""
    grant: Params = {} if ucan is None else {"ucan": ucan}
    if name in ("subscribe", "pull"):
        params: Params = {"spaces": [{"id": space, "since": 0, **grant}]}
    else:
        params = {"space": space, **grant, **EXPECTED[name].params}
    response, chunks = await client.response(client.send(name, params))
    if name == "pull":
        assert response.result == {"_chunks": len(chunks)}
        return not chunks
    if name in ("subscribe", "push"):
        assert isinstance(response.result, dict), response.error
        denied = {"spaces": [], "errors": [{"space": space, "error": "forbidden"}]}
        return response.result in (denied, {"ok": False, "error": "forbidden"})
    if response.error is not None and response.error.code == "forbidden":
        assert response.error.message == "forbidden"
        return True
    return False


def test_the_table_is_as_written_down_here() -> None:
    assert {name: row.rule for name, row in METHODS.items()} == {
        name: row.rule for name, row in EXPECTED.items()
    }
    rules = {name: rule for name, (rule, _) in NEEDS_SUBSCRIPTION.items()}
    assert {name: row.rule for name, row in NOTIFICATIONS.items()} == rules | {"unsubscribe": "anybody"}


async def test_params_that_are_missing_or_empty_are_invalid_in_the_row_s_own_words(live: Live) -> None:
    client = await live.connect()
    for name, row in METHODS.items():
        beginning = f"invalid {row.label} params: "
        for raw in (
            cbor2.dumps({"type": 0, "id": "m", "method": name}),
            encode_request("m", name, {}),
            cbor2.dumps({"type": 0, "id": "m", "method": name, "params": []}),
        ):
            client.socket.send(raw)
            response, _ = await client.response("m")
            if name in ALL_OPTIONAL and raw == encode_request("m", name, {}):
                assert response.error is None, name
            else:
                assert response.error is not None, name
                assert response.error.code == "invalid_params"
                assert response.error.message.startswith(beginning)
                assert len(response.error.message) > len(beginning)


async def test_nobody_is_served_before_signing_in(live: Live) -> None:
    for name in METHODS:
        client = Client(await live.open(), MISSING)
        client.send(name, {"space": MISSING, "spaces": [], **EXPECTED[name].params})
        end = await client.closed()
        like_auth = "token" in EXPECTED[name].params
        reason = "first frame must be an auth notification" if like_auth else "invalid auth frame"
        assert (end.code, end.reason) == (4000, reason)


@pytest.mark.parametrize("name", ON_SPACES)
async def test_a_row_takes_no_less_than_it_needs(live: Live, name: str) -> None:
    needed = EXPECTED[name].needs
    assert needed is not None
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol")
    owner, client = await live.join(alice), await live.join(bob)
    space, other = await owner.create_space(alice), await owner.create_space(alice)
    too_little = [permission for permission in (READ, WRITE, ADMIN) if not permission.covers(needed)]
    bad = [
        None,
        "",
        "no token",
        carol.grant(bob, space, ADMIN),
        alice.grant(carol, space, ADMIN),
        alice.grant(bob, other, ADMIN),
        alice.grant(bob, space, ADMIN, expires_at=1_000_000_000),
        *(alice.grant(bob, space, permission) for permission in too_little),
    ]
    for number, ucan in enumerate(bad):
        assert await refused(client, name, space, ucan), number
    assert await refused(client, name, MISSING, alice.grant(bob, MISSING, ADMIN))
    assert await refused(client, name, owner.space, alice.grant(bob, owner.space, ADMIN))
    assert not await refused(client, name, space, alice.grant(bob, space, needed))
    # Root key and tokens are known now: the answers stay the same.
    for number, ucan in enumerate(bad):
        assert await refused(client, name, space, ucan), number


@pytest.mark.parametrize("name", ON_SPACES)
async def test_a_personal_space_is_its_owner_s_without_a_ucan(live: Live, name: str) -> None:
    client = await live.connect()
    for space in (client.space, client.space.upper(), client.space.replace("-", "")):
        assert not await refused(client, name, space, "no token")


@pytest.mark.parametrize("name", sorted({"epoch.begin", "epoch.complete", "membership.revoke"}))
async def test_a_setting_lets_writers_administer(live: Live, name: str) -> None:
    alice, bob = Person("alice"), Person("bob")
    live.services.authority.admin_operations = WRITE
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    assert await refused(client, name, space, alice.grant(bob, space, READ))
    assert not await refused(client, name, space, alice.grant(bob, space, WRITE))


@pytest.mark.parametrize("name", [name for name in EXPECTED if "iles" in name or name.startswith("file.")])
async def test_deks_of_files_take_the_scope_files_before_the_space_is_looked_at(
    live: Live, name: str
) -> None:
    client = await live.connect(scope="sync")
    for space in (client.space, MISSING):
        params = {"space": space, **EXPECTED[name].params}
        assert await client.error(name, params) == ("forbidden", "files scope required")
    params = {"space": "no id", **EXPECTED[name].params}
    assert await client.error(name, params) == ("bad_request", "invalid space id")


@pytest.mark.parametrize(
    ("name", "alias"), [(row.name, alias) for alias, row in METHODS.items() if alias != row.name]
)
async def test_an_alias_answers_as_its_method(live: Live, name: str, alias: str) -> None:
    client = await live.connect()
    params = EXPECTED[name].params
    for space in (client.space, MISSING, "no id"):
        answers = []
        for spelling in (name, alias):
            response, chunks = await client.response(client.send(spelling, {"space": space, **params}))
            answers.append((response.result, response.error, chunks))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("name", NEEDS_SUBSCRIPTION)
async def test_a_notification_takes_a_subscription(live: Live, name: str) -> None:
    listener, client = await live.connect(), await live.connect()
    await listener.subscribe()
    params = {"space": client.space, **NEEDS_SUBSCRIPTION[name][1]}
    for _ in range(2):
        client.notify("presence.set", {"space": client.space, "data": b"d"})
        client.notify(name, params)
        for broken in ({}, {"space": 1}, {"space": ""}, {"space": "no id", "data": b"d"}, {"data": b"d"}):
            client.notify(name, broken)
        assert await client.heard() == []
        assert await listener.heard() == []
        await client.subscribe()
        client.notify("unsubscribe", {"spaces": [client.space]})
    await client.subscribe()
    client.notify("presence.set", {"space": client.space, "data": b"d"})
    client.notify(name, params)
    assert await client.heard() == []
    told = {"presence.set": "presence", "presence.clear": "presence.leave", "event.send": "event"}[name]
    assert await listener.methods_heard() == ["presence", told]


async def test_unsubscribing_takes_nothing_and_breaks_nothing(live: Live) -> None:
    client = await live.connect()
    for spaces in ([], [str(uuid4())], ["no id", client.space], [client.space] * 2):
        client.notify("unsubscribe", {"spaces": spaces})
    client.notify("unsubscribe", {"spaces": [1]})
    client.notify("no such notification", {})
    assert await client.heard() == []
