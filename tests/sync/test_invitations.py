"""Mailboxes over real sockets: whose they are, how they are listed, and when their readers are told."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Notification
from tests.live import Client, Live, live_server

MAILBOX = "ab" * 32
OTHERS = "cd" * 32
NOT_FOUND = ("not_found", "not found")
PROMPT = Limits(invitations_per_window=1000, invitation_delay_min_s=1.0, invitation_delay_max_s=1.0)


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, PROMPT) as running:
        yield running


async def leave(client: Client, mailbox: str = MAILBOX, payload: str = "come") -> str:
    """Leave an invitation and return its id."""
    params = {"mailbox_id": mailbox, "payload": payload}
    created = await client.call("invitation.create", params)
    assert list(created) == ["id", "payload", "created_at", "expires_at"]
    assert created["payload"] == payload
    id: str = created["id"]
    return id


async def listed(client: Client, **params: object) -> list[str]:
    """The ids of one page."""
    answer = await client.call("invitation.list", params)
    return [one["id"] for one in answer["invitations"]]


async def next_method(client: Client) -> str:
    frame = await client.next()
    assert isinstance(frame, Notification)
    return frame.method


async def test_invitations_that_come_together_are_announced_once_to_every_device_of_the_mailbox(
    live: Live,
) -> None:
    sender = await live.connect("alice")
    devices = [await live.connect("bob", mailbox_id=MAILBOX) for _ in range(2)]
    stranger = await live.connect("carol", mailbox_id=OTHERS)
    for device in devices:
        await live.settled(device)
    ids = [
        sender.send("invitation.create", {"mailbox_id": MAILBOX, "payload": f"{number}"})
        for number in range(3)
    ]
    for id in ids:
        assert (await sender.response(id))[0].error is None
    for device in devices:
        assert device.unread == []
        frame = await device.next()
        assert isinstance(frame, Notification)
        assert (frame.method, frame.params) == ("invitation", {})
    await leave(sender)
    for device in devices:
        assert await next_method(device) == "invitation"
        assert await device.heard() == []
    assert await stranger.heard() == []
    assert await sender.heard() == []


async def test_a_sender_with_the_same_mailbox_is_told_as_well_and_after_its_answer(live: Live) -> None:
    client = await live.connect(mailbox_id=MAILBOX)
    await leave(client)
    assert client.unread == []
    assert await next_method(client) == "invitation"


async def test_a_refreshed_token_moves_the_connection_to_its_new_mailbox(live: Live) -> None:
    client, sender = await live.connect(mailbox_id=MAILBOX), await live.connect("bob")
    first = await leave(sender)
    assert await next_method(client) == "invitation"
    token = live.token("alice", mailbox_id=OTHERS)
    assert await client.call("token.refresh", {"token": token}) == {"ok": True}
    assert await listed(client) == []
    assert await client.error("invitation.get", {"id": first}) == NOT_FOUND
    watcher = await live.connect("carol", mailbox_id=MAILBOX)
    await live.settled(watcher)
    second = await leave(sender)
    assert await next_method(watcher) == "invitation"
    assert await client.heard() == []
    third = await leave(sender, OTHERS)
    assert await next_method(client) == "invitation"
    assert await listed(client) == [third]
    assert await listed(watcher) == [first, second]


async def test_a_mailbox_is_nobody_else_s(live: Live) -> None:
    sender, owner = await live.connect("alice"), await live.connect("bob", mailbox_id=MAILBOX)
    stranger = await live.connect("carol", mailbox_id=OTHERS)
    own, foreign = await leave(sender), await leave(sender, OTHERS)
    for client, mine, theirs in ((owner, own, foreign), (stranger, foreign, own)):
        assert await listed(client) == [mine]
        assert await listed(client, after=theirs) == []
        assert await listed(client, after=str(uuid4())) == []
        for method in ("invitation.get", "invitation.delete"):
            assert await client.error(method, {"id": theirs}) == NOT_FOUND
            assert await client.error(method, {"id": "no id"}) == ("bad_request", "invalid invitation id")
        assert (await client.call("invitation.get", {"id": mine}))["payload"] == "come"
    assert await listed(sender) == []
    assert await owner.call("invitation.delete", {"id": own}) == {}
    assert await owner.error("invitation.delete", {"id": own}) == NOT_FOUND
    assert await owner.error("invitation.get", {"id": own}) == NOT_FOUND
    assert await listed(stranger) == [foreign]
    cursor = ("bad_request", "invalid invitation cursor")
    assert await owner.error("invitation.list", {"after": "no id"}) == cursor


async def test_without_a_mailbox_in_the_token_the_client_id_is_the_mailbox(live: Live) -> None:
    sender = await live.connect("alice")
    mailbox = "ef" * 32
    plain = await live.connect("bob", mailbox_id="", client_id=mailbox)
    await live.settled(plain)
    id = await leave(sender, mailbox)
    assert await next_method(plain) == "invitation"
    assert await listed(plain) == [id]


@pytest.mark.one_connection
async def test_pages_follow_one_another_and_their_length_is_bounded(live: Live, database_url: str) -> None:
    count = 205
    con = await asyncpg.connect(database_url)
    try:
        await con.execute(
            """INSERT INTO invitations (id, mailbox_id, payload, created_at, expires_at)
               SELECT gen_random_uuid(), $1, 'p', now() - make_interval(secs => $2 - i / 2), now() + '1 day'
               FROM generate_series(1, $2::int) i""",
            MAILBOX,
            count,
        )
        rows = await con.fetch("SELECT id FROM invitations ORDER BY created_at, id")
    finally:
        await con.close()
    ids = [str(row["id"]) for row in rows]
    client = await live.connect(mailbox_id=MAILBOX)
    for limit, length in ((0, 50), (-1, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)):
        assert await listed(client, limit=limit) == ids[:length]
    assert await listed(client) == ids[:50]
    page, seen = await listed(client, limit=30), list[str]()
    while page:
        seen += page
        page = await listed(client, limit=30, after=page[-1])
    assert seen == ids


@pytest.mark.one_connection
async def test_a_page_ends_before_it_outgrows_a_frame(live: Live) -> None:
    sender, reader = await live.connect(), await live.connect("bob", mailbox_id=MAILBOX)
    payload = "x" * 131_072
    ids = [await leave(sender, payload=payload) for _ in range(30)]
    seen: list[str] = []
    pages = 0
    while True:
        params = {"limit": 200, "after": seen[-1] if seen else ""}
        response, _ = await reader.response(reader.send("invitation.list", params))
        assert isinstance(response.result, dict)
        page = [one["id"] for one in response.result["invitations"]]
        if not page:
            break
        assert all(one["payload"] == payload for one in response.result["invitations"])
        assert len(page) * len(payload) <= Limits().invitation_list_bytes
        seen += page
        pages += 1
    assert seen == ids
    assert pages == 2


async def test_what_has_expired_is_neither_listed_nor_read_but_may_be_deleted(
    live: Live, database_url: str
) -> None:
    sender, owner = await live.connect(), await live.connect("bob", mailbox_id=MAILBOX)
    old, new = await leave(sender), await leave(sender)
    con = await asyncpg.connect(database_url)
    try:
        await con.execute("UPDATE invitations SET expires_at = now() - interval '1 s' WHERE id = $1", old)
    finally:
        await con.close()
    assert await listed(owner) == [new]
    assert await listed(owner, after=old) == [new]
    assert await owner.error("invitation.get", {"id": old}) == NOT_FOUND
    assert await owner.call("invitation.delete", {"id": old}) == {}
    assert await owner.error("invitation.delete", {"id": old}) == NOT_FOUND
