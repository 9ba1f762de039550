"""The client's calls about sharing: what it sends, and what it makes of answers and announcements."""

from collections.abc import Mapping

import pytest

from less_sync.sync.client import (
    ClientLimits,
    ConnectionLost,
    EventNotice,
    FileNotice,
    InvitationNotice,
    MembershipNotice,
    NotThisProtocol,
    OtherNotice,
    PresenceLeaveNotice,
    PresenceNotice,
    RequestFailed,
    ResubscribeNotice,
    ResyncNeeded,
    RevokedNotice,
    SyncClient,
)
from less_sync.sync.protocol.frames import Notification, decode_frame
from less_sync.sync.protocol.messages import (
    EPOCH_CONFLICT,
    EpochBegun,
    EpochConflict,
    Invitation,
    RewrappedDek,
)
from tests.sync.scripted_server import Peer, hold, scripted

SPACE = "3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e"
QUICK = ClientLimits(request_timeout_s=20.0, chunk_idle_timeout_s=20.0, close_timeout_s=0.2)
INVITATION = {"id": "i", "payload": "p", "created_at": "c", "expires_at": "e"}


async def token() -> str:
    return "t"


def client_of(url: str) -> SyncClient:
    return SyncClient(url, token, limits=QUICK)


async def test_members_are_appended_listed_and_revoked() -> None:
    seen: list[object] = []

    async def act(peer: Peer) -> None:
        await peer.welcome()
        for method, result in (
            ("membership.append", {"chain_seq": 1, "metadata_version": 2}),
            ("membership.list", {"entries": [], "metadata_version": 2}),
            ("membership.revoke", {}),
        ):
            request = await peer.request(method)
            seen.append(request.params)
            await peer.answer(request, result)
        await peer.refuse(await peer.request("membership.append"), "conflict")
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        entry = {"expected_version": 1, "prev_hash": b"", "entry_hash": bytes(32), "payload": b"p"}
        appended = await client.membership_append(SPACE, ucan="u", **entry)  # type: ignore[arg-type]  # as it is
        assert (appended.chain_seq, appended.metadata_version) == (1, 2)
        assert (await client.membership_list(SPACE, since_seq=3, ucan="u")).entries == []
        await client.membership_revoke(SPACE, "cid", ucan="u")
        with pytest.raises(RequestFailed, match="conflict"):
            await client.membership_append(SPACE, **entry)  # type: ignore[arg-type]  # as it is
    assert seen[1] == {"space": SPACE, "ucan": "u", "since_seq": 3}
    assert seen[2] == {"space": SPACE, "ucan_cid": "cid", "ucan": "u"}


async def test_a_space_of_another_server_is_named_by_its_home_and_what_that_alone_does_is_told_apart() -> (
    None
):
    seen: list[object] = []

    async def act(peer: Peer) -> None:
        await peer.welcome()
        for home in ({"home_server": "sync.example"}, {}):
            request = await peer.request("space.create")
            seen.append(request.params)
            await peer.answer(request, {"id": SPACE, "key_generation": 1} | home)
        for code, message in (
            ("bad_request", "space is hosted on another server"),
            ("bad_request", "invalid ucan cid"),
            ("internal", "space is hosted on another server"),
        ):
            await peer.refuse(await peer.request("membership.revoke"), code, message)
        await hold(peer)

    key = b"\x02" * 33
    async with scripted(act) as server, client_of(server.url) as client:
        there = await client.space_create(SPACE, key, home_server="sync.example")
        here = await client.space_create(SPACE, key)
        assert (there.home_server, here.home_server) == ("sync.example", "")
        for elsewhere in (True, False, False):
            with pytest.raises(RequestFailed) as raised:
                await client.membership_revoke(SPACE, "cid")
            assert raised.value.hosted_elsewhere is elsewhere
    named = {"id": SPACE, "root_public_key": key}
    assert seen == [named | {"home_server": "sync.example"}, named]


async def test_invitations_are_left_listed_read_and_removed() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        for method, result in (
            ("invitation.create", INVITATION),
            ("invitation.list", {"invitations": [INVITATION]}),
            ("invitation.get", INVITATION),
            ("invitation.delete", {}),
        ):
            await peer.answer(await peer.request(method), result)
        await hold(peer)

    expected = Invitation("i", "p", "c", "e")
    async with scripted(act) as server, client_of(server.url) as client:
        assert await client.invitation_create("ab" * 32, "p") == expected
        assert await client.invitation_list(limit=1, after="i") == [expected]
        assert await client.invitation_get("i") == expected
        await client.invitation_delete("i")


async def test_an_epoch_is_begun_or_another_one_stands_in_its_way() -> None:
    answers: tuple[Mapping[str, object], ...] = (
        {"epoch": 2},
        {"error": "epoch_conflict", "current_epoch": 2, "rewrap_epoch": 2},
        {"error": "conflict", "current_epoch": 2},
    )

    async def act(peer: Peer) -> None:
        await peer.welcome()
        for answer in answers:
            await peer.answer(await peer.request("epoch.begin"), answer)
        await peer.answer(await peer.request("epoch.complete"), {})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        found = [await client.epoch_begin(SPACE, 2, set_min_key_generation=True) for _ in answers]
        await client.epoch_complete(SPACE, 2)
    assert found == [EpochBegun(2), EpochConflict(EPOCH_CONFLICT, 2, 2), EpochConflict(EPOCH_CONFLICT, 2)]


@pytest.mark.parametrize("files", [False, True], ids=["records", "files"])
async def test_wrapped_keys_come_in_chunks_and_go_back_in_one_request(files: bool) -> None:
    prefix, chunk, place = ("file.", "deks.files.record", "cursor") if files else ("", "deks.record", "seq")

    async def act(peer: Peer) -> None:
        await peer.welcome()
        request = await peer.request(f"{prefix}deks.get")
        for number in (1, 2):
            await peer.chunk(request, chunk, {"id": f"r{number}", "dek": bytes(44), place: number})
        await peer.answer(request, {"_chunks": 2})
        await peer.answer(await peer.request(f"{prefix}deks.rewrap"), {"ok": True, "count": 1})
        for name, data in (("other", {}), (chunk, {"id": 1})):
            request = await peer.request(f"{prefix}deks.get")
            await peer.chunk(request, name, data)
            await peer.answer(request, {"_chunks": 1})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        listing = client.file_deks if files else client.deks
        rewrap = client.file_deks_rewrap if files else client.deks_rewrap
        assert [one.id async for one in listing(SPACE)] == ["r1", "r2"]
        assert await rewrap(SPACE, [RewrappedDek("r1", bytes(44))]) == 1
        for words in ("among wrapped DEKs", "of another shape"):
            with pytest.raises(NotThisProtocol, match=words):
                _ = [one async for one in listing(SPACE)]


@pytest.mark.parametrize("files", [False, True], ids=["records", "files"])
async def test_keys_go_back_only_over_the_connection_they_were_listed_over(files: bool) -> None:
    """Over the next one the server could not tell what was written since."""
    prefix = "file." if files else ""
    rewraps = []

    async def list_and_close(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(await peer.request(f"{prefix}deks.get"), {"_chunks": 0})
        await peer.connection.close()

    async def go_on(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(await peer.request(f"{prefix}deks.get"), {"_chunks": 0})
        rewraps.append(await peer.request(f"{prefix}deks.rewrap"))
        await peer.answer(rewraps[0], {"ok": True, "count": 1})
        await peer.answer(
            await peer.request(f"{'' if files else 'file.'}deks.rewrap"), {"ok": True, "count": 1}
        )
        await hold(peer)

    async with scripted(list_and_close, go_on) as server, client_of(server.url) as client:
        listing = client.file_deks if files else client.deks
        rewrap, other = client.file_deks_rewrap, client.deks_rewrap
        if not files:
            rewrap, other = other, rewrap
        assert [one async for one in listing(SPACE)] == []
        assert isinstance(await client.next_notice(), ResyncNeeded)  # connected again
        with pytest.raises(ConnectionLost, match="listed over a connection that is gone"):
            await rewrap(SPACE, [RewrappedDek("r", bytes(44))])
        assert rewraps == []
        assert [one async for one in listing(SPACE)] == []
        assert await rewrap(SPACE, [RewrappedDek("r", bytes(44))]) == 1
        assert await other(SPACE, [RewrappedDek("r", bytes(44))]) == 1


async def test_presence_and_events_are_sent_without_waiting_for_an_answer() -> None:
    heard: list[tuple[str, object]] = []

    async def act(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(3):
            frame = decode_frame(await peer.receive())
            assert isinstance(frame, Notification)
            heard.append((frame.method, frame.params))
        await peer.answer(await peer.request("membership.revoke"), {})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        await client.presence_set(SPACE, b"here")
        await client.event_send(SPACE, b"hello")
        await client.presence_clear(SPACE)
        await client.membership_revoke(SPACE, "cid")
    assert heard == [
        ("presence.set", {"space": SPACE, "data": b"here"}),
        ("event.send", {"space": SPACE, "data": b"hello"}),
        ("presence.clear", {"space": SPACE}),
    ]


async def test_each_announcement_has_its_type_and_one_that_cannot_be_read_asks_for_a_pull() -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        for method, params in (
            ("revoked", {"space": SPACE, "reason": "ucan_revoked"}),
            ("resubscribe", {"spaces": [SPACE]}),
            ("membership", {"space": SPACE, "cursor": 1, "entries": []}),
            ("file", {"space": SPACE, "cursor": 1, "files": []}),
            ("presence", {"space": SPACE, "peer": "p", "data": b""}),
            ("presence.leave", {"space": SPACE, "peer": "p"}),
            ("event", {"space": SPACE, "peer": "p", "data": b""}),
            ("invitation", {}),
            ("later", {"a": 1}),
        ):
            await peer.announce(method, params)
        await peer.answer(await peer.request("membership.revoke"), {})
        await peer.announce("revoked", {"space": 1})
        await hold(peer)

    async with scripted(act) as server, client_of(server.url) as client:
        kinds = [type(await client.next_notice()) for _ in range(9)]
        await client.membership_revoke(SPACE, "cid")
        last = await client.next_notice()
    assert isinstance(last, ResyncNeeded)
    assert kinds == [
        RevokedNotice,
        ResubscribeNotice,
        MembershipNotice,
        FileNotice,
        PresenceNotice,
        PresenceLeaveNotice,
        EventNotice,
        InvitationNotice,
        OtherNotice,
    ]
