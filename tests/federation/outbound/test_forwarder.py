"""Requests for spaces whose home is another server, as clients on real sockets see them."""

import asyncio
from uuid import UUID

import pytest

from less_sync.federation.outbound.calls import LinkState, PeerLost, PeerSilent, PeerUnreachable, Repeat
from less_sync.sync.metrics import Recorder
from less_sync.sync.protocol.frames import Chunk, Notification
from tests.federation.outbound.scripted_home import HOME, edge, record, refusal, until
from tests.live import Person

OWNER = Person("owner")


def told(notice: Notification) -> dict[str, object]:
    assert isinstance(notice.params, dict)
    return notice.params


# subscribe


async def test_a_subscription_goes_to_the_home_with_id_since_and_ucan_alone(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        at.home.spaces[space].cursor = 42
        client, ucan = await at.member(OWNER, "bob", space)
        entry = {"id": space.upper(), "since": 7, "ucan": ucan, "token": "mine", "presence": True}
        result = await client.call("subscribe", {"spaces": [entry]})
        assert result == {"spaces": [{"id": space.upper(), "cursor": 42, "key_generation": 3}]}
        assert at.home.of("subscribe") == [{"spaces": [{"id": space, "since": 7, "ucan": ucan}]}]


async def test_all_spaces_of_a_home_go_out_in_one_request(database_url: str) -> None:
    async with edge(database_url) as at:
        spaces = [await at.shared(OWNER) for _ in range(3)]
        far = await at.shared(OWNER, at="other.test")
        client = await at.live.join(OWNER)
        entries = [
            {"id": one, "since": 0, "ucan": OWNER.grant(OWNER, one)} for one in (*spaces, far, client.space)
        ]
        result = await client.call("subscribe", {"spaces": entries})
        assert [one["id"] for one in result["spaces"]] == [*spaces, far, client.space]
        [sent] = at.home.of("subscribe")
        assert [one["id"] for one in sent["spaces"]] == spaces
        [sent] = at.homes["other.test"].of("subscribe")
        assert [one["id"] for one in sent["spaces"]] == [far]


async def test_a_home_that_fails_fails_for_its_own_spaces(database_url: str) -> None:
    async with edge(database_url) as at:
        space, far = await at.shared(OWNER), await at.shared(OWNER, at="other.test")
        client = await at.live.join(OWNER)
        at.home.before.append(("subscribe", PeerSilent()))
        entries = [{"id": one, "since": 0, "ucan": OWNER.grant(OWNER, one)} for one in (space, far)]
        result = await client.call("subscribe", {"spaces": [*entries, {"id": client.space, "since": 0}]})
        assert [one["id"] for one in result["spaces"]] == [far, client.space]
        assert result["errors"] == [{"space": space, "error": "internal"}]


async def test_a_slow_home_holds_up_nothing_that_is_heard_of_other_spaces(database_url: str) -> None:
    async with edge(database_url) as at:
        space, far = await at.shared(OWNER), await at.shared(OWNER, at="other.test")
        client = await at.live.join(OWNER)
        gate = at.home.gates["subscribe"] = asyncio.Event()
        entries = [{"id": one, "since": 0, "ucan": OWNER.grant(OWNER, one)} for one in (space, far)]
        asked = client.send("subscribe", {"spaces": [*entries, {"id": client.space, "since": 0}]})
        other = await at.live.join(OWNER)
        broker = at.live.services.broker
        await until(lambda: broker.cursor(UUID(far)) >= 0 and broker.cursor(UUID(client.space)) >= 0)
        for number in range(100):  # more than is held for a subscription that is not granted yet
            await other.push(record(number))
        at.homes["other.test"].link.announce_sync(far, record(2))
        heard = [await client.next() for _ in range(101)]
        spaces = [told(one)["space"] for one in heard if isinstance(one, Notification)]
        assert spaces == [client.space] * 100 + [far]
        gate.set()
        response, _ = await client.response(asked)
        assert isinstance(response.result, dict)
        assert len(response.result["spaces"]) == 3


@pytest.mark.parametrize("code", ["forbidden", "not_found", "bad_request", "rate_limited", "internal"])
async def test_what_a_home_says_of_a_space_is_passed_on(database_url: str, code: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.refused[ucan] = code
        assert await client.subscribe(space, ucan=ucan) == {
            "spaces": [],
            "errors": [{"space": space, "error": code}],
        }


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refusal("rate_limited"), "rate_limited"),
        (refusal("invalid_params"), "internal"),
        (PeerUnreachable(), "internal"),
        (PeerLost(), "internal"),
    ],
    ids=["rate_limited", "invalid_params", "unreachable", "lost"],
)
async def test_a_request_that_fails_at_the_home_fails_for_each_space(
    database_url: str, fault: Exception, code: str
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.before.append(("subscribe", fault))
        assert (await client.subscribe(space, ucan=ucan))["errors"] == [{"space": space, "error": code}]


async def test_spaces_a_home_says_nothing_about_are_internal(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.answer = {"spaces": [{"id": client.space, "cursor": 1, "key_generation": 1}]}
        assert (await client.subscribe(space, ucan=ucan))["errors"] == [{"space": space, "error": "internal"}]


async def test_an_unreadable_answer_counts_as_success_and_claims_no_cursor(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.answer = {"spaces": "?"}
        entry = {"id": space, "since": 9, "ucan": ucan}
        result = await client.call("subscribe", {"spaces": [entry]})
        assert result == {"spaces": [{"id": space, "cursor": 9, "key_generation": 1}]}


async def test_what_overtakes_the_answer_of_a_home_is_delivered(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        gate = at.home.gates["subscribe"] = asyncio.Event()
        asked = client.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        await until(lambda: at.home.sent)
        at.home.link.announce_sync(space, record(1))
        gate.set()
        response, _ = await client.response(asked)
        assert response.error is None
        [notice] = await client.heard()
        assert told(notice)["cursor"] == 1


async def test_who_is_refused_here_is_not_taken_to_the_home(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        stranger = await at.live.join(Person("eve"))
        result = await stranger.subscribe(space, ucan=OWNER.grant(Person("bob"), space))
        assert result["errors"] == [{"space": space, "error": "forbidden"}]
        assert await stranger.push(record(1), space=space) == {"ok": False, "error": "forbidden"}
        assert at.home.sent == []


# push


async def test_a_push_is_forwarded_and_its_answer_passed_on(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        for number in (1, 2):
            change = record(number, dek=bytes(44), epoch=5)
            params = {"space": space, "ucan": ucan, "changes": [change], "epoch": 7}
            assert await client.call("push", params) == {"ok": True, "cursor": number}
            assert at.home.of("push")[-1] == params


async def test_the_shadow_row_stays_as_it_is(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        assert (await client.push(record(1), space=space, ucan=ucan))["cursor"] == 1
        row = (await at.live.services.spaces.get_spaces([UUID(space)]))[UUID(space)]
        assert (row.cursor, row.home_server) == (0, HOME)


async def test_other_clients_here_hear_of_a_forwarded_push_once_and_the_pusher_does_not(
    database_url: str,
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space, ucan=hers)
        change = record(1, dek=bytes(44))
        await bob.push(change, space=space, ucan=ucan)
        assert await bob.heard() == []
        [notice] = await carol.heard()
        assert notice.method == "sync"
        assert told(notice) == {
            "space": space,
            "prev": 0,
            "cursor": 1,
            "key_generation": 0,
            "records": [{"id": change["id"], "blob": change["blob"], "cursor": 1, "dek": bytes(44)}],
        }


@pytest.mark.parametrize("code", ["conflict", "forbidden", "something_new"])
async def test_a_refused_push_is_passed_on_and_told_to_nobody(database_url: str, code: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        at.home.refused[ucan] = code
        assert await bob.push(record(1), space=space, ucan=ucan) == {"ok": False, "error": code}
        assert await carol.heard() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [(refusal("rate_limited"), "rate_limited"), (PeerUnreachable(), "internal"), (PeerSilent(), "internal")],
    ids=["rate_limited", "unreachable", "silent"],
)
async def test_a_push_that_does_not_get_there_says_so_in_its_result(
    database_url: str, fault: Exception, code: str
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.before.append(("push", fault))
        assert await client.push(record(1), space=space, ucan=ucan) == {"ok": False, "error": code}


async def test_pushes_of_one_session_reach_the_home_in_order_and_together(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        await client.push(record(0), space=space, ucan=ucan)
        gate = at.home.gates["push"] = asyncio.Event()
        ids = [
            client.send("push", {"space": space, "ucan": ucan, "changes": [record(number)]})
            for number in range(1, 31)
        ]
        await until(lambda: at.home.in_flight >= 30)
        gate.set()
        cursors = [(await client.response(one))[0].result for one in ids]
        assert cursors == [{"ok": True, "cursor": number + 1} for number in range(1, 31)]
        pushed = [one["changes"][0]["id"] for one in at.home.of("push")]
        assert pushed == [record(number)["id"] for number in range(31)]


async def test_what_a_person_has_on_its_way_is_bounded(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        again = await at.live.join(Person("bob"))
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.push(record(0), space=space, ucan=ucan)
        gate = at.home.gates["push"] = asyncio.Event()
        for number in range(1, 101):
            bob.send("push", {"space": space, "ucan": ucan, "changes": [record(number)]})
        await until(lambda: at.home.in_flight >= 64)
        # Another person, and what is not for a home, goes through.
        carols = carol.send("push", {"space": space, "ucan": hers, "changes": [record(200)]})
        assert (await again.push(record(1)))["ok"]
        await until(lambda: at.home.in_flight >= 65)
        assert at.home.in_flight_most == 65
        gate.set()
        assert (await carol.response(carols))[0].error is None
        for number in range(2, 102):
            assert (await bob.response(f"r{number}"))[0].error is None
        assert at.live.services.forwards.has("anybody")
        assert at.live.services.announce.writes_under_way == 0


async def test_a_push_that_waited_keeps_members_nobody_here_knows(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        await client.push(record(0), space=space, ucan=ucan)
        gate = at.home.gates["push"] = asyncio.Event()
        params = [
            {"space": space, "ucan": ucan, "changes": [record(number, hint="x")], "epoch": number}
            for number in range(1, 71)
        ]
        ids = [client.send("push", one) for one in params]
        await until(lambda: at.home.in_flight >= 64)
        gate.set()
        for one in ids:
            assert (await client.response(one))[0].error is None
        assert at.home.of("push")[1:] == params


async def test_a_push_is_announced_though_its_author_hangs_up(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        gate = at.home.gates["push"] = asyncio.Event()
        bob.send("push", {"space": space, "ucan": ucan, "changes": [record(1)]})
        await until(lambda: at.home.of("push"))
        bob.socket.abort()
        await until(lambda: len(at.live.connections()) <= 2)
        gate.set()
        notice = await carol.next()
        assert isinstance(notice, Notification)
        assert told(notice)["cursor"] == 1


async def test_after_an_unknown_outcome_others_are_told_to_pull(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        at.home.faults.append(("push", PeerSilent()))
        assert await bob.push(record(1), space=space, ucan=ucan) == {"ok": False, "error": "internal"}
        notice = await carol.next()
        assert isinstance(notice, Notification)
        assert told(notice) == {"space": space, "prev": -1, "cursor": 1, "key_generation": 3, "records": []}


async def test_an_unknown_outcome_that_was_none_tells_nobody_anything(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        at.home.before.append(("push", PeerSilent()))
        await bob.push(record(1), space=space, ucan=ucan)
        await until(lambda: len(at.home.of("subscribe")) >= 2)
        assert await carol.heard() == []


# pull


async def test_a_pull_is_relayed_chunk_by_chunk(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.write(space, {"id": "a", "blob": b"1", "later": [1, {"x": None}]})
        at.home.write(space, {"id": "b", "deleted": True})
        chunks = await client.pull(0, space, ucan)
        assert [name for name, _ in chunks] == ["pull.begin", "pull.record", "pull.record", "pull.commit"]
        assert chunks[1][1] == {
            "space": space,
            "id": "a",
            "blob": b"1",
            "later": [1, {"x": None}],
            "cursor": 1,
        }
        assert at.home.of("pull") == [{"spaces": [{"id": space, "since": 0, "ucan": ucan}]}]


async def test_whoever_listens_can_ask_what_links_carry(database_url: str) -> None:
    async with edge(database_url) as at:
        recorder = Recorder()
        at.forwarder.measure(recorder)
        assert set(map(len, recorder.measured().values())) == {0}
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        await client.subscribe(space, ucan=ucan)
        await at.home.link.reconnect()
        at.home.link.announce_sync(space, {"id": "a", "blob": b"12", "dek": b"3"})
        await client.pull(0, space, ucan)
        [where] = recorder.measured()["link_open"]
        stood = {name: value[where] for name, value in recorder.measured().items()}
        assert stood.pop("relayed_bytes") >= 6
        assert stood == {"link_open": 1, "link_opened": 1, "link_spaces": 1, "relayed_rows": 2}
        at.home.link.state = LinkState.IDLE
        assert recorder.measured()["link_open"] == {}  # nobody wants it: that is not a link that is down
        await at.home.link.aclose()
        assert recorder.measured()["link_open"] == {where: 0}


async def test_a_home_that_sends_nothing_is_left_out_of_a_pull(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.before += [("pull", PeerUnreachable()), ("pull", refusal("internal")), ("pull", PeerLost())]
        for _ in range(3):
            entries = [{"id": space, "since": 0, "ucan": ucan}, {"id": client.space, "since": 0}]
            response, chunks = await client.response(client.send("pull", {"spaces": entries}))
            assert response.result == {"_chunks": 2}
            assert [chunk.data["space"] for chunk in chunks if isinstance(chunk.data, dict)] == [
                client.space,
                client.space,
            ]


BAD_PULLS = {
    "another space": lambda space, chunks: [
        *chunks[:1],
        Chunk("", "pull.record", {"space": "x", "id": "a", "cursor": 1}),
        *chunks[1:],
    ],
    "no begin": lambda space, chunks: chunks[1:],
    "a second begin": lambda space, chunks: [chunks[0], *chunks],
    "behind the commit": lambda space, chunks: [*chunks, chunks[1]],
    "no commit": lambda space, chunks: chunks[:-1],
    "a wrong count": lambda space, chunks: [chunks[0], chunks[1], chunks[1], *chunks[2:]],
    "an unknown name": lambda space, chunks: [chunks[0], Chunk("", "pull.x", chunks[1].data), *chunks[1:]],
    "no map": lambda space, chunks: [chunks[0], Chunk("", "pull.record", [1]), *chunks[1:]],
}


@pytest.mark.parametrize("kind", BAD_PULLS)
async def test_a_pull_that_is_none_ends_in_an_error(database_url: str, kind: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.write(space, {"id": "a"})
        at.home.chunks = BAD_PULLS[kind]
        id = client.send("pull", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        response, chunks = await client.response(id)
        assert response.error is not None
        assert (response.error.code, response.error.message) == ("internal", "remote pull interrupted")
        assert all(chunk.data["space"] == space for chunk in chunks if isinstance(chunk.data, dict))


async def test_a_pull_that_breaks_off_ends_in_an_error(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.write(space, {"id": "a"})
        at.home.pull_breaks_after = 2
        error = await client.error("pull", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        assert error == ("internal", "remote pull interrupted")
        assert at.home.link.pulls_open == 0


async def test_a_client_that_hangs_up_ends_its_pull_at_the_home(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.spaces[space].records = [
            {"id": str(number), "blob": bytes(100_000), "cursor": 1} for number in range(1000)
        ]
        client.socket.stop_reading()
        client.send("pull", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        await until(lambda: bool(at.home.links and at.home.link.pulls_open))
        await asyncio.sleep(0.2)
        assert at.home.link.pulls_open == 1  # it is read no faster than the client reads
        client.socket.abort()
        await until(lambda: not at.home.link.pulls_open)


# invitations


async def test_an_invitation_is_forwarded_once(database_url: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.connect()
        params = {"mailbox_id": "a" * 64, "payload": "x", "server": "https://HOME.test/elsewhere"}
        result = await client.call("invitation.create", params)
        assert result == {"id": "forwarded", "payload": "x", "created_at": "", "expires_at": ""}
        [sent] = at.home.sent
        assert (sent.method, sent.params) == ("fed.invitation", {"mailbox_id": "a" * 64, "payload": "x"})
        assert sent.repeat is Repeat.IF_UNWRITTEN
        assert at.home.link.address.url == "wss://home.test/api/v1/federation/ws"


async def test_an_invitation_that_does_not_get_there_is_internal_and_not_counted(database_url: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.connect()
        params = {"mailbox_id": "a" * 64, "payload": "x", "server": HOME}
        for fault in (PeerLost(), PeerUnreachable(), refusal("rate_limited")) * 5:
            at.home.before.append(("fed.invitation", fault))
            assert await client.error("invitation.create", params) == (
                "internal",
                "failed to deliver invitation to remote server",
            )
        await client.call("invitation.create", params)


@pytest.mark.parametrize("server", ["stranger.test", "home.test:8443", "u@home.test", "home.test?x=1", "://"])
async def test_nobody_chooses_where_a_server_is_dialled(database_url: str, server: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.connect()
        params = {"mailbox_id": "a" * 64, "payload": "x", "server": server}
        assert await client.error("invitation.create", params) == (
            "bad_request",
            "target server is not a trusted federation peer",
        )
        assert at.home.sent == []


async def test_an_invitation_for_this_server_stays_here(database_url: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.connect()
        params = {"mailbox_id": "a" * 64, "payload": "x", "server": "Edge.test"}
        assert (await client.call("invitation.create", params))["id"] != "forwarded"
        assert at.home.sent == []
