"""Subscriptions at a home outlive connections, and end with the sessions that use them."""

import asyncio
from functools import partial
from uuid import UUID

import pytest

from less_sync.federation.outbound.calls import LinkState, PeerLost
from less_sync.federation.outbound.requests import (
    BYTES_MAX,
    SPACES_MAX,
    TOKEN_CHARS_MAX,
    Wish,
    batches,
    encode_wishes,
)
from less_sync.federation.outbound.wanted import UCAN_BYTES_PER_SESSION_MAX, Wanted
from less_sync.sync.forwarding import HomeSpace
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.frames import Notification
from tests.federation.outbound.scripted_home import edge, record, refusal, until
from tests.live import Client, Person

OWNER = Person("owner")
LOST = {"reason": "federation_unavailable"}


async def told(client: Client) -> list[tuple[str, object]]:
    return [(notice.method, notice.params) for notice in await client.heard()]


async def test_a_new_connection_subscribes_by_the_token_and_then_by_each_session_s_ucan(
    database_url: str,
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)

        def asked(times: int) -> bool:
            return len(at.home.of("subscribe")) == times

        for first, token in ((1, "T1"), (3, "T3")):
            await at.home.link.reconnect()
            await until(partial(asked, first + 2))
            assert at.home.of("subscribe")[first:] == [
                {"spaces": [{"id": space, "since": 0, **shown}]}
                for shown in ({"token": token}, {"ucan": ucan})
            ]
        assert await told(bob) == []


@pytest.mark.parametrize("tokens", [True, False])
async def test_who_was_revoked_while_there_was_no_connection_hears_nothing_by_another_s_right(
    database_url: str, tokens: bool
) -> None:
    async with edge(database_url) as at:
        at.home.tokens = tokens
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)  # the first one's is shown first
        await bob.subscribe(space, ucan=ucan)
        at.home.refused[ucan] = "forbidden"
        await at.home.link.reconnect()
        notice = await bob.next()
        assert isinstance(notice, Notification)
        assert (notice.method, notice.params) == ("revoked", {"space": space, **LOST})
        at.home.link.announce_sync(space, record(1))
        assert [name for name, _ in await told(carol)] == ["sync"]
        assert await told(bob) == []


async def test_without_a_token_a_ucan_is_shown(database_url: str) -> None:
    async with edge(database_url) as at:
        at.home.tokens = False
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        await at.home.link.reconnect()
        assert at.home.of("subscribe")[1:] == [{"spaces": [{"id": space, "since": 0, "ucan": ucan}]}]


async def test_what_happened_meanwhile_is_told_once_by_a_frame_nobody_takes_for_a_change(
    database_url: str,
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.link.announce_sync(space, record(1))
        await bob.heard()
        for _ in range(2):
            at.home.write(space, record(2))
        for frames in ([("sync", 3)], []):
            await at.home.link.reconnect()
            heard = await told(bob)
            assert [(name, one["cursor"]) for name, one in heard if isinstance(one, dict)] == frames
            assert all(isinstance(one, dict) and one["prev"] == -1 for _, one in heard)
        at.home.link.announce_sync(space, record(3))
        [(name, params)] = await told(bob)
        assert isinstance(params, dict)
        assert (name, params["prev"], params["cursor"]) == ("sync", 3, 4)


async def test_a_refused_token_is_replaced_by_the_ucan_of_a_session(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space, ucan=hers)
        at.home.refused |= {"T2": "forbidden", ucan: "forbidden"}
        await at.home.link.reconnect()
        shown = [one["spaces"][0] for one in at.home.of("subscribe")[2:]]
        assert [one.get("token") or one.get("ucan") for one in shown] == ["T2", ucan, hers]
        assert await told(bob) == [("revoked", {"space": space, **LOST})]
        at.home.link.announce_sync(space, record(1))
        assert [name for name, _ in await told(carol)] == ["sync"]
        assert await told(bob) == []


@pytest.mark.parametrize("code", ["forbidden", "not_found"])
async def test_who_is_let_in_no_more_by_anything_is_told_so(database_url: str, code: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.refused |= {"T1": code, ucan: code}
        await at.home.link.reconnect()
        assert await told(bob) == [("revoked", {"space": space, **LOST})]
        assert not at.live.services.broker.listened_to(UUID(space))
        assert len(at.home.of("subscribe")) == (2 if code == "not_found" else 3)


async def test_a_write_in_doubt_is_told_of_although_a_later_one_is_known(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space, ucan=hers)
        at.home.faults.append(("push", PeerLost()))
        at.home.before.append(("subscribe", refusal("internal")))  # so that the second write comes first
        assert (await bob.push(record(1), space=space, ucan=ucan))["error"] == "internal"
        await until(lambda: len(at.home.of("subscribe")) == 3)
        assert (await carol.push(record(2), space=space, ucan=hers))["cursor"] == 2
        notice = await carol.next()
        assert isinstance(notice, Notification)
        assert isinstance(notice.params, dict)
        assert (notice.params["prev"], notice.params["cursor"]) == (-1, 2)


@pytest.mark.parametrize("code", ["internal", "rate_limited"])
async def test_a_home_that_cannot_just_then_is_asked_again(database_url: str, code: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.before.append(("subscribe", refusal(code)))
        at.home.write(space, record(1))
        await at.home.link.reconnect()
        notice = await bob.next()
        assert isinstance(notice, Notification)
        assert isinstance(notice.params, dict)
        assert (notice.params["prev"], notice.params["cursor"]) == (-1, 1)
        assert len(at.home.of("subscribe")) == 3


async def test_a_connection_lost_while_it_restores_says_so(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.before.append(("subscribe", PeerLost()))
        with pytest.raises(PeerLost):
            await at.home.link.reconnect()
        await at.home.link.reconnect()
        assert await told(bob) == []


async def test_nothing_is_asked_for_when_nobody_wants_anything(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        assert (await bob.push(record(1), space=space, ucan=ucan))["ok"]
        [home] = at.forwarder.homes
        assert not home.wanted
        await at.home.link.reconnect()
        assert at.home.of("subscribe") == []


@pytest.mark.parametrize("how", ["unsubscribe", "hang up"])
async def test_a_space_that_nobody_uses_is_given_back_after_a_while(database_url: str, how: str) -> None:
    async with edge(database_url, linger_s=0.05) as at:
        spaces = [await at.shared(OWNER) for _ in range(2)]
        client = await at.live.join(OWNER)
        other = await at.live.join(OWNER)
        for one in spaces:
            await client.subscribe(one, ucan=OWNER.grant(OWNER, one))
        await other.subscribe(spaces[1], ucan=OWNER.grant(OWNER, spaces[1]))
        if how == "unsubscribe":
            client.notify("unsubscribe", {"spaces": spaces})
        else:
            client.socket.abort()
        await until(lambda: at.home.notified)
        assert at.home.notified == [("unsubscribe", {"spaces": [spaces[0]]})]
        other.notify("unsubscribe", {"spaces": spaces})
        await until(lambda: len(at.home.notified) == 2)
        [home] = at.forwarder.homes
        assert not home.wanted
        assert at.home.notified[1] == ("unsubscribe", {"spaces": [spaces[1]]})


async def test_who_comes_back_at_once_finds_the_subscription_still_there(database_url: str) -> None:
    async with edge(database_url, linger_s=0.3) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        for _ in range(3):
            await bob.subscribe(space, ucan=ucan)
            bob.notify("unsubscribe", {"spaces": [space]})
            await bob.heard()
        await bob.subscribe(space, ucan=ucan)
        await asyncio.sleep(0.7)
        assert at.home.notified == []
        at.home.link.announce_sync(space, record(1))
        assert [name for name, _ in await told(bob)] == ["sync"]


async def test_one_users_refusal_does_not_end_the_space_for_others(database_url: str) -> None:
    async with edge(database_url, linger_s=0.05) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space, ucan=hers)
        at.home.refused[ucan] = "forbidden"
        await bob.subscribe(space, ucan=ucan)
        at.home.link.announce_sync(space, record(1))
        assert await told(bob) == []
        assert [name for name, _ in await told(carol)] == ["sync"]


async def test_a_session_that_ends_while_its_home_is_asked_leaves_nothing(database_url: str) -> None:
    async with edge(database_url, linger_s=0.05) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        gate = at.home.gates["subscribe"] = asyncio.Event()
        bob.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
        await until(lambda: at.home.in_flight == 1)
        bob.socket.abort()
        await until(lambda: at.home.in_flight == 0)
        gate.set()
        await until(lambda: at.home.notified)
        [home] = at.forwarder.homes
        assert not home.wanted
        assert not at.live.services.broker.listened_to(UUID(space))


async def test_two_push_a_third_listens_and_the_link_dies(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        dan, his = await at.member(OWNER, "dan", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        acknowledged: list[int] = []

        async def push(client: Client, ucan: str, first: int) -> None:
            for number in range(first, first + 30):
                result = await client.push(record(number), space=space, ucan=ucan)
                if result["ok"]:
                    acknowledged.append(result["cursor"])

        async def die() -> None:
            for _ in range(5):
                await asyncio.sleep(0.02)
                at.home.faults.append(("push", PeerLost()))
                at.home.link.state = LinkState.BACKOFF
                at.home.write(space, record(0))  # nobody tells us
                await asyncio.sleep(0.02)
                await at.home.link.reconnect()

        await asyncio.gather(push(bob, ucan, 100), push(dan, his, 200), die())
        cursor = at.home.spaces[space].cursor
        heard: list[dict[str, int]] = []
        while not heard or heard[-1]["cursor"] < cursor:
            frame = await carol.next()
            assert isinstance(frame, Notification)
            assert isinstance(frame.params, dict)
            heard.append(frame.params)
        assert heard[-1]["cursor"] == cursor
        assert len(set(acknowledged)) == len(acknowledged)
        assert at.live.services.announce.writes_under_way == 0


# What is kept, and what a request may have.


class Session:
    """A listener that keeps what it is told."""

    connection_id = "x"
    is_peer = False

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def deliver(self, frame: bytes) -> None:
        self.told.append(frame)

    def deliver_soon(self, frame: bytes) -> None:
        self.deliver(frame)

    def notify(self, payload: bytes) -> None:
        self.told.append(payload)

    def overflow(self) -> None:
        raise AssertionError

    def end(self, close: Close) -> None:
        raise AssertionError


def test_the_ucans_kept_for_a_session_are_bounded() -> None:
    wanted, session = Wanted(lambda spaces: None), Session()
    ucan = "u" * (UCAN_BYTES_PER_SESSION_MAX // 4)
    for number in range(6):
        wanted.grant(UUID(int=number), session, ucan)
    assert [len(one.sessions[session]) for one in wanted] == [len(ucan)] * 4 + [0, 0]
    wanted.grant(UUID(int=0), session, "short")
    wanted.grant(UUID(int=5), session, ucan[:-10])
    assert [len(one.sessions[session]) for one in wanted][5] == len(ucan) - 10


def test_a_late_answer_about_a_space_that_nobody_wants_any_more_leaves_nothing() -> None:
    wanted = Wanted(lambda spaces: None)
    wanted.learn(UUID(int=1), "token", HomeSpace(1, 1, None))
    assert len(wanted) == 0


def test_requests_have_bounds_in_spaces_and_bytes() -> None:
    wishes = [Wish(UUID(int=number), token="t") for number in range(2 * SPACES_MAX + 1)]
    assert [len(one) for one in batches(wishes)] == [SPACES_MAX, SPACES_MAX, 1]
    wishes = [Wish(UUID(int=number), ucan="u" * (BYTES_MAX // 3)) for number in range(5)]
    assert [len(one) for one in batches(wishes)] == [2, 2, 1]
    assert all(len(encode_wishes(one)) < 4 * 1024 * 1024 for one in batches(wishes))
    assert list(batches([])) == []


def test_the_frame_of_a_restore_is_that_of_the_recorded_servers() -> None:
    space = UUID("6dfe56d8-7987-439f-b044-ea19e633ef46")
    assert encode_wishes([Wish(space, token="T")]).hex() == (
        "a16673706163657381a3626964782436646665353664382d373938372d343339662d623034342d656131396536333365663436"
        "6573696e63650065746f6b656e6154"
    )


@pytest.mark.parametrize(("chars", "shown"), [(TOKEN_CHARS_MAX, "token"), (TOKEN_CHARS_MAX + 1, "ucan")])
async def test_a_token_of_absurd_length_is_not_kept(database_url: str, chars: int, shown: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        at.home.answer = {
            "spaces": [{"id": space, "cursor": 0, "key_generation": 1, "token": "t" * chars}],
        }
        await bob.subscribe(space, ucan=ucan)
        await at.home.link.reconnect()
        assert shown in at.home.of("subscribe")[1]["spaces"][0]


async def test_what_is_left_to_be_asked_makes_no_link_dial_that_waits(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        link = at.home.link
        link.state, calls = LinkState.BACKOFF, link.calls
        at.forwarder.doubt(UUID(space))
        link.announce("revoked", space=space, reason="ucan_revoked")
        assert [name for name, _ in await told(bob)] == ["revoked"]
        assert link.calls == calls
        at.home.refused[ucan] = "forbidden"
        await link.reconnect()
        await until(lambda: not at.live.services.broker.listened_to(UUID(space)))
