"""The membership log over real sockets: races, the hourly limit, order of checks, who hears of it."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from less_sync.auth import Permission
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Response
from tests.live import Client, Live, Person, live_server

UNLIMITED = Limits(membership_appends_per_window=10_000)
CONFLICT = ("conflict", "conflict")
LIMIT = ("rate_limited", "rate limit exceeded: max 10 membership appends per hour")


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


@pytest.fixture
async def unlimited(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, UNLIMITED) as running:
        yield running


def entry(space: str, version: int, prev: bytes | None = None, payload: bytes = b"member") -> dict[str, Any]:
    """Params of an append; without `prev` there is no `prev_hash`."""
    link = {} if prev is None else {"prev_hash": prev}
    hashed = {"entry_hash": sha256(payload).digest(), "payload": payload}
    return {"space": space, "expected_version": version, **link, **hashed}


async def append_many(client: Client, count: int) -> list[bytes]:
    """Append `count` entries to the client's own space and return their hashes."""
    hashes: list[bytes] = []
    for number in range(count):
        params = entry(client.space, number, hashes[-1] if hashes else None, b"member %d" % number)
        answer = await client.call("membership.append", params)
        assert answer == {"chain_seq": number + 1, "metadata_version": number + 1}
        hashes.append(params["entry_hash"])
    return hashes


async def test_the_eleventh_append_within_the_hour_is_refused_and_another_user_s_is_not(live: Live) -> None:
    client = await live.connect()
    hashes = await append_many(client, 10)
    assert await client.error("membership.append", entry(client.space, 10, hashes[-1], b"late")) == LIMIT
    # The limit is looked at before hashes and authorisation, after params and id.
    assert await client.error("membership.append", {**entry(str(uuid4()), 0), "entry_hash": b""}) == LIMIT
    assert await client.error("membership.append", entry("no id", 0)) == ("bad_request", "invalid space id")
    wrong = ("invalid_params", "invalid membership append params: expected_version: missing")
    assert await client.error("membership.append", {"space": client.space}) == wrong
    assert (await client.call("membership.list", {"space": client.space}))["metadata_version"] == 10
    other = await live.connect("bob")
    await append_many(other, 1)


async def test_a_failed_append_gives_its_slot_back(live: Live) -> None:
    client = await live.connect()
    good = entry(client.space, 0)
    for broken in (
        {"payload": b""},
        {"entry_hash": bytes(31)},
        {"entry_hash": bytes(32)},
        {"expected_version": 7},
        {"prev_hash": bytes(32)},
        {"space": str(uuid4())},
    ):
        for _ in range(2):
            await client.error("membership.append", good | broken)
    await append_many(client, 10)
    assert await client.error("membership.append", good) == LIMIT


@pytest.mark.one_connection
async def test_checks_come_in_order(unlimited: Live) -> None:
    client = await unlimited.connect()
    foreign = entry(str(uuid4()), 5)
    for broken, error in (
        ({"entry_hash": bytes(33), "payload": b""}, ("bad_request", "entry_hash must be 32 bytes")),
        ({"payload": b""}, ("bad_request", "payload must not be empty")),
        ({"payload": b"other"}, ("bad_request", "entry_hash does not match SHA-256 of payload")),
        ({}, ("forbidden", "forbidden")),
    ):
        assert await client.error("membership.append", foreign | broken) == error


@pytest.mark.one_connection
async def test_the_chain_takes_only_its_next_link(unlimited: Live) -> None:
    client = await unlimited.connect()
    space = client.space
    assert await client.error("membership.append", entry(space, 0, bytes(32))) == CONFLICT
    assert await client.error("membership.append", entry(space, 1)) == CONFLICT
    first = entry(space, 0, b"")
    assert await client.call("membership.append", first) == {"chain_seq": 1, "metadata_version": 1}
    for version, prev in ((0, first["entry_hash"]), (2, first["entry_hash"]), (1, None), (1, bytes(32))):
        assert await client.error("membership.append", entry(space, version, prev, b"2nd")) == CONFLICT
    second = entry(space, 1, first["entry_hash"], b"2nd")
    assert await client.call("membership.append", second) == {"chain_seq": 2, "metadata_version": 2}
    listed = await client.call("membership.list", {"space": space})
    assert listed == {
        "entries": [
            {"chain_seq": 1, "entry_hash": first["entry_hash"], "payload": b"member"},
            {
                "chain_seq": 2,
                "prev_hash": first["entry_hash"],
                "entry_hash": second["entry_hash"],
                "payload": b"2nd",
            },
        ],
        "metadata_version": 2,
    }
    for since, left in ((1, 1), (2, 0), (99, 0), (-1, 2)):
        some = await client.call("membership.list", {"space": space, "since_seq": since})
        assert some == {"entries": listed["entries"][2 - left :], "metadata_version": 2}
    assert [name for name, _ in await client.pull()] == [
        "pull.begin",
        "pull.membership",
        "pull.membership",
        "pull.commit",
    ]


async def test_of_appends_that_race_for_one_place_exactly_one_wins(unlimited: Live) -> None:
    clients = [await unlimited.connect(mailbox_id=f"{number:064x}") for number in range(4)]
    space, prev = clients[0].space, None
    for version in range(10):
        racing = [entry(space, version, prev, b"%d of %d" % (number, version)) for number in range(4)]

        async def attempt(client: Client, params: dict[str, Any]) -> Response:
            response, _ = await client.response(client.send("membership.append", params))
            return response

        answers = await asyncio.gather(*map(attempt, clients, racing))
        [winner] = [number for number, answer in enumerate(answers) if answer.error is None]
        losers = {(answer.error.code, answer.error.message) for answer in answers if answer.error}
        assert losers == {CONFLICT}
        prev = racing[winner]["entry_hash"]
    log = await clients[0].call("membership.list", {"space": space})
    assert log["metadata_version"] == 10
    assert [one["chain_seq"] for one in log["entries"]] == list(range(1, 11))
    hashes = [one["entry_hash"] for one in log["entries"]]
    assert [one.get("prev_hash") for one in log["entries"]] == [None, *hashes[:-1]]


async def test_an_append_is_announced_to_the_others_with_its_cursor(live: Live) -> None:
    alice, bob = Person("alice"), Person("bob")
    owner, member = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    hers, his = alice.grant(alice, space), alice.grant(bob, space, Permission.READ)
    await owner.subscribe(space, ucan=hers)
    await member.subscribe(space.upper(), ucan=his)
    pushed = {"id": str(uuid4()), "blob": b"x", "expected_cursor": 0}
    assert (await owner.push(pushed, space=space, ucan=hers))["cursor"] == 1
    params = entry(space, 0, b"", b"bob joined")
    await owner.call("membership.append", {**params, "ucan": hers})
    assert await owner.heard() == []
    sync, notice = await member.heard()
    assert sync.method == "sync"
    assert (notice.method, notice.params) == (
        "membership",
        {
            "space": space.upper(),
            "cursor": 2,
            "entries": [
                {"chain_seq": 1, "entry_hash": params["entry_hash"], "payload": b"bob joined"},
            ],
        },
    )
    # A reader may read the log, and not add to it.
    assert await member.error("membership.append", {**entry(space, 1), "ucan": his}) == (
        "forbidden",
        "forbidden",
    )
    assert len((await member.call("membership.list", {"space": space, "ucan": his}))["entries"]) == 1


@pytest.mark.one_connection
@pytest.mark.parametrize(
    ("cid", "accepted"),
    [
        ("", False),
        ("a\x00b", False),
        ("x" * 256, True),
        ("x" * 257, False),
        ("é" * 128, True),
        ("é" * 129, False),
        ("not hex", True),
    ],
    ids=["empty", "NUL", "256", "257", "256 bytes", "258 bytes", "words"],
)
async def test_what_is_revoked_is_any_short_text(live: Live, cid: str, accepted: bool) -> None:
    client = await live.connect()
    params = {"space": client.space, "ucan_cid": cid}
    if accepted:
        for _ in range(2):
            assert await client.call("membership.revoke", params) == {}
    else:
        for space in (client.space, "no id"):  # before the id of the space
            error = await client.error("membership.revoke", params | {"space": space})
            assert error == ("bad_request", "invalid ucan cid")
