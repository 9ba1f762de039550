"""What a home announces, and who hears of it at its edge."""

import asyncio
from functools import partial
from uuid import UUID, uuid4

import pytest

from less_sync.federation.outbound.relay import read_news
from less_sync.sync.protocol.frames import Notification, decode_server_frame
from tests.federation.outbound.scripted_home import ScriptedHome, edge, record, refusal, until
from tests.live import Client, Person

OWNER = Person("owner")
SPACE = "6dfe56d8-7987-439f-b044-ea19e633ef46"


async def pairs(client: Client) -> list[tuple[str, object]]:
    return [(notice.method, notice.params) for notice in await client.heard()]


ANNOUNCED: list[tuple[str, dict[str, object]]] = [
    ("sync", {"prev": 1, "cursor": 2, "key_generation": 3, "rewrap_epoch": 4, "records": []}),
    ("sync", {"prev": -1, "cursor": 9, "key_generation": 3, "records": []}),
    ("membership", {"cursor": 2, "entries": [{"chain_seq": 1, "entry_hash": b"h", "payload": b"p"}]}),
    ("file", {"cursor": 3, "files": [{"id": "f", "record_id": "r", "size": 5, "dek": b"d"}]}),
    ("file", {"cursor": 3, "files": [{"id": "f", "record_id": "r", "deleted": True}]}),
    ("revoked", {"reason": "ucan_revoked"}),
]


@pytest.mark.parametrize(("method", "params"), ANNOUNCED)
async def test_what_the_home_announces_is_relayed_as_it_is_known(
    database_url: str, method: str, params: dict[str, object]
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space.upper(), ucan=hers)
        at.home.link.announce(method, space=space, unknown=1, **params)
        assert await pairs(bob) == [(method, {"space": space, **params})]
        assert await pairs(carol) == [(method, {"space": space.upper(), **params})]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("presence", {"peer": "x", "data": b"d"}),
        ("presence.leave", {"peer": "x"}),
        ("event", {"peer": "x", "data": b"d"}),
        ("invitation", {}),
        ("resubscribe", {"spaces": [SPACE]}),
        ("something", {}),
        ("sync", {"prev": 1, "cursor": "2", "key_generation": 3, "records": []}),
        ("sync", {"prev": 1, "cursor": 2, "key_generation": 3}),
        ("file", {"cursor": 2, "files": [{"id": 1}]}),
        ("revoked", {}),
    ],
)
async def test_everything_else_is_dropped(database_url: str, method: str, params: dict[str, object]) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.link.announce(method, space=space, **params)
        assert await bob.heard() == []


async def test_a_home_is_not_heard_about_spaces_that_are_not_wanted_of_it(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        far = await at.shared(OWNER, at="other.test")
        bob, ucan = await at.member(OWNER, "bob", space)
        _, proof = await at.member(OWNER, "bob", far)
        await bob.subscribe(space, ucan=ucan)
        await bob.subscribe(bob.space)
        for other in (far, bob.space, str(uuid4()), "no id"):
            for method, params in ANNOUNCED:
                at.home.link.announce(method, space=other, **params)
        assert await bob.heard() == []
        assert proof


async def test_news_comes_in_the_order_in_which_the_home_sent_it_behind_own_pushes(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await carol.subscribe(space, ucan=hers)
        gate = at.home.gates["push"] = asyncio.Event()
        id = bob.send("push", {"space": space, "ucan": ucan, "changes": [record(1)]})
        await until(lambda: at.home.in_flight == 1)
        first = at.home.write(space, record(2))  # its news is late
        gate.set()
        await bob.response(id)
        [push] = await carol.heard()
        assert isinstance(push.params, dict)
        assert (push.params["prev"], push.params["cursor"]) == (1, 2)
        assert first == 1
        at.home.link.announce_sync(space, record(3))
        at.home.link.announce("membership", space=space, cursor=4, entries=[])
        assert [(name, told["cursor"]) for name, told in await pairs(carol) if isinstance(told, dict)] == [
            ("sync", 3),
            ("membership", 4),
        ]


async def test_after_a_revocation_each_session_is_shown_to_the_home_again(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        await bob.subscribe(space, ucan=ucan)
        await carol.subscribe(space, ucan=hers)
        at.home.refused[ucan] = "forbidden"
        at.home.link.announce("revoked", space=space, reason="ucan_revoked")
        broker = at.live.services.broker
        await until(lambda: len(at.home.of("subscribe")) == 4)
        await until(lambda: sum(space == str(one) for s in broker._spaces.values() for one in s) == 1)
        at.home.link.announce_sync(space, record(1))
        revoked = ("revoked", {"space": space, "reason": "ucan_revoked"})
        assert await pairs(bob) == [revoked]
        assert [name for name, _ in await pairs(carol)] == ["revoked", "sync"]
        assert await bob.heard() == []


def has_asked(home: ScriptedHome, times: int) -> bool:
    return len(home.of("subscribe")) == times


async def test_what_the_home_granted_before_it_announced_a_revocation_is_shown_again(
    database_url: str,
) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        for asked in (1, 3):  # a session asks; then the server itself, because of the revocation before
            gate = at.home.gates["subscribe"] = asyncio.Event()
            if asked == 1:
                bob.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": ucan}]})
            else:
                at.home.link.announce("revoked", space=space, reason="ucan_revoked")
            await until(partial(has_asked, at.home, asked))
            at.home.link.announce("revoked", space=space, reason="ucan_revoked")
            gate.set()
            await until(partial(has_asked, at.home, asked + 1))
        assert [one["spaces"][0]["ucan"] for one in at.home.of("subscribe")] == [ucan] * 4


async def test_an_answer_that_was_overtaken_takes_no_cursor_back(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        gate = at.home.gates["subscribe"] = asyncio.Event()
        at.home.answer = {"spaces": [{"id": space, "cursor": 1, "key_generation": 1}]}
        at.home.link.announce("revoked", space=space, reason="ucan_revoked")
        await until(partial(has_asked, at.home, 2))
        for _ in range(2):
            at.home.link.announce_sync(space, record(1))
        gate.set()
        await until(lambda: at.home.answer is None)
        heard = [params for name, params in await pairs(bob) if name == "sync"]
        assert [params["cursor"] for params in heard if isinstance(params, dict)] == [1, 2, 2]


async def test_who_cannot_be_shown_to_the_home_just_then_is_shown_later(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await at.member(OWNER, "bob", space)
        await bob.subscribe(space, ucan=ucan)
        at.home.refused[ucan] = "forbidden"
        at.home.before.append(("subscribe", refusal("internal")))
        at.home.link.announce("revoked", space=space, reason="ucan_revoked")
        await until(lambda: not at.live.services.broker.listened_to(UUID(space)))
        assert len(at.home.of("subscribe")) == 3
        assert [name for name, _ in await pairs(bob)] == ["revoked"]


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        (
            "sync",
            {
                "prev": 1,
                "cursor": 2,
                "key_generation": 3,
                "records": [{"id": "a", "blob": bytes(200), "cursor": 2}],
            },
            {"prev": -1, "cursor": 2, "key_generation": 3, "records": []},
        ),
        (
            "membership",
            {"cursor": 2, "entries": [{"chain_seq": 1, "entry_hash": b"h", "payload": bytes(200)}]},
            {"cursor": 2, "entries": []},
        ),
        (
            "file",
            {"cursor": 2, "files": [{"id": "f", "record_id": "r", "size": 5, "dek": bytes(200)}]},
            {"cursor": 2, "files": []},
        ),
    ],
)
def test_news_too_long_for_a_frame_says_pull(
    method: str, params: dict[str, object], told: dict[str, object]
) -> None:
    news = read_news(Notification(method, {"space": SPACE, **params}), frame_bytes_max=200)
    assert news is not None
    [notice] = news.change.notices
    frame = decode_server_frame(notice.build("spelled so"))
    assert frame == Notification(method, {"space": "spelled so", **told})
    assert news.change.clients_only
