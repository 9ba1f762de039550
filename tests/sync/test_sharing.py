"""Shared spaces on real sockets: who is let in by which chain, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.auth import UCAN_CHARS_MAX, Permission
from less_sync.storage import PostgresSpaceStore, Space, SpacesRead
from less_sync.sync.protocol.frames import Notification
from tests.auth.minting import Person as Minter
from tests.auth.minting import twin_of
from tests.live import Client, Live, Person, cid_of, live_server

READ, WRITE, ADMIN = Permission.READ, Permission.WRITE, Permission.ADMIN
SPACE_METHODS: Sequence[tuple[str, Mapping[str, object]]] = (
    ("membership.append", {"payload": b"p", "entry_hash": sha256(b"p").digest(), "expected_version": 0}),
    ("membership.list", {}),
    ("membership.revoke", {"ucan_cid": "x"}),
    ("epoch.begin", {"epoch": 2}),
    ("epoch.complete", {"epoch": 1}),
    ("deks.get", {}),
    ("deks.rewrap", {"deks": []}),
    ("file.deks.get", {}),
    ("file.deks.rewrap", {"deks": []}),
)
"""Those that answer a refusal with an error, and what else they need to be well-formed."""


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


@pytest.fixture
def alice() -> Person:
    return Person("alice")


@pytest.fixture
def bob() -> Person:
    return Person("bob")


def change(blob: bytes = b"x") -> dict[str, object]:
    return {"id": str(uuid4()), "blob": blob, "expected_cursor": 0}


def refusal(space: str, code: str = "forbidden") -> dict[str, object]:
    return {"spaces": [], "errors": [{"space": space, "error": code}]}


async def may_read(client: Client, space: str, ucan: str) -> bool:
    """Whether subscribe and pull, which must agree, let the client in."""
    answer = await client.subscribe(space, ucan=ucan)
    chunks = await client.pull(space=space, ucan=ucan)
    assert (answer == refusal(space)) == (chunks == [])
    return bool(answer["spaces"])


async def may_write(client: Client, space: str, ucan: str) -> bool:
    """Whether a push is accepted; it is refused in no other way than as forbidden."""
    answer = await client.push(change(), space=space, ucan=ucan)
    assert answer["ok"] or answer == {"ok": False, "error": "forbidden"}
    return bool(answer["ok"])


async def revoke(owner: Client, person: Person, space: str, cid: str) -> None:
    """Revoke as the space's owner."""
    ucan = person.grant(person, space, ADMIN)
    assert await owner.call("membership.revoke", {"space": space, "ucan": ucan, "ucan_cid": cid}) == {}


@pytest.mark.one_connection
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
async def test_a_chain_of_any_allowed_depth_opens_subscribe_push_and_pull(live: Live, depth: int) -> None:
    people = [Person(f"person {number}") for number in range(depth + 1)]
    space = await (await live.join(people[0])).create_space(people[0])
    ucan = None
    for giver, taker in pairwise(people):
        ucan = giver.grant(taker, space, WRITE, proof=ucan)
    assert ucan is not None
    client = await live.join(people[-1])
    assert await may_read(client, space, ucan)
    assert await may_write(client, space, ucan)


@pytest.mark.in_process
async def test_a_reader_may_not_write_and_a_writer_may_not_revoke(
    live: Live, alice: Person, bob: Person
) -> None:
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    reading, writing = alice.grant(bob, space, READ), alice.grant(bob, space, WRITE)
    assert await may_read(client, space, reading)
    assert not await may_write(client, space, reading)
    assert await may_write(client, space, writing)
    params = {"space": space, "ucan": writing, "ucan_cid": cid_of(reading)}
    assert await client.error("membership.revoke", params) == ("forbidden", "forbidden")
    assert await may_read(client, space, reading)
    for node in live.nodes:
        node.services.authority.admin_operations = WRITE
    assert await client.call("membership.revoke", params) == {}
    assert not await may_read(client, space, reading)


async def test_a_chain_is_good_for_its_audience_and_its_space_alone(
    live: Live, alice: Person, bob: Person
) -> None:
    owner, client, carol = await live.join(alice), await live.join(bob), Person("carol")
    space, other = await owner.create_space(alice), await owner.create_space(alice)
    stranger = await live.join(carol)
    nobody = await live.connect("dave")  # a token without a DID
    ucan = alice.grant(bob, space)
    assert await may_read(client, space, ucan)
    for caller, wanted in ((stranger, space), (nobody, space), (client, other)):
        assert not await may_read(caller, wanted, ucan)
        assert not await may_write(caller, wanted, ucan)
    assert not await may_read(client, space, carol.grant(bob, space))  # rooted in another key
    assert not await may_read(client, space, "")


@pytest.mark.parametrize("revoked", ["leaf", "proof", "twin of the leaf", "twin of the proof"])
async def test_a_revocation_kills_every_chain_through_the_token(live: Live, revoked: str) -> None:
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol")
    owner, client = await live.join(alice), await live.join(carol)
    space = await owner.create_space(alice)
    proof = alice.grant(bob, space)
    leaf, sibling = bob.grant(carol, space, proof=proof), bob.grant(carol, space, proof=proof)
    token = proof if "proof" in revoked else leaf
    await revoke(owner, alice, space, cid_of(twin_of(token) if "twin" in revoked else token))
    assert not await may_read(client, space, leaf)
    assert not await may_read(client, space, twin_of(leaf))
    assert not await may_write(client, space, leaf)
    assert not await may_write(client, space, twin_of(leaf))
    assert await may_write(client, space, sibling) == (token is leaf)


async def test_revoking_ends_the_live_subscription_at_once_and_nobody_else_s(live: Live) -> None:
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol")
    # In this order, whoever stays is at another node than the two others.
    owner, staying, leaving = [await live.join(person) for person in (alice, carol, bob)]
    space = await owner.create_space(alice)
    hers, his, theirs = (alice.grant(person, space, ADMIN) for person in (alice, bob, carol))
    await owner.subscribe(space, ucan=hers)
    await leaving.subscribe(space, ucan=his)
    await staying.subscribe(space, ucan=theirs)
    await leaving.subscribe()  # its own, which no revocation touches
    leaving.notify("presence.set", {"space": space, "data": b"here"})
    await live.settled(leaving)
    [present] = await staying.heard()
    assert present.method == "presence"
    await owner.heard()

    await revoke(owner, alice, space, cid_of(his))
    assert [notice.method for notice in await owner.heard()] == ["presence.leave"]
    revoked, left = await staying.heard()
    assert (revoked.method, revoked.params) == ("revoked", {"space": space, "reason": "ucan_revoked"})
    assert isinstance(present.params, dict)
    assert (left.method, left.params) == ("presence.leave", {"space": space, "peer": present.params["peer"]})

    assert await may_write(staying, space, theirs)
    leaving.notify("event.send", {"space": space, "data": b"still here?"})
    leaving.notify("presence.set", {"space": space, "data": b"here"})
    assert await leaving.methods_heard() == ["revoked"]
    assert await owner.methods_heard() == ["sync"]
    assert await staying.heard() == []
    answer = await staying.subscribe(space, ucan=theirs, presence=True)
    assert "peers" not in answer["spaces"][0]
    assert (await leaving.push(change()))["ok"]


async def test_a_subscription_renewed_with_another_chain_outlives_the_first_one(
    live: Live, alice: Person, bob: Person
) -> None:
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    first, second = alice.grant(bob, space), alice.grant(bob, space)
    await client.subscribe(space, ucan=first)
    await client.subscribe(space, ucan=second)
    await revoke(owner, alice, space, cid_of(first))
    await owner.push(change(), space=space, ucan=alice.grant(alice, space))
    assert await client.methods_heard() == ["revoked", "sync"]
    await revoke(owner, alice, space, cid_of(twin_of(second)))
    await owner.push(change(), space=space, ucan=alice.grant(alice, space))
    assert await client.methods_heard() == ["revoked"]


async def test_a_refused_renewal_ends_the_subscription(live: Live, alice: Person, bob: Person) -> None:
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    await client.subscribe(space, ucan=alice.grant(bob, space))
    assert await client.subscribe(space) == refusal(space)
    await owner.push(change(), space=space, ucan=alice.grant(alice, space))
    assert await client.heard() == []


class GatedSpaces(PostgresSpaceStore):
    """Holds back what it has read until the gate opens."""

    def __init__(self, inner: PostgresSpaceStore) -> None:
        self._inner = inner
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def read_spaces(self, ids: Sequence[UUID], cids: Collection[tuple[UUID, str]] = ()) -> SpacesRead:
        answer = await self._inner.read_spaces(ids, tuple(cids))
        self.asked.set()
        await self.gate.wait()
        return answer

    async def get_or_create_space(self, id: UUID, client_id: str) -> Space:
        return await self._inner.get_or_create_space(id, client_id)


@pytest.mark.in_process
@pytest.mark.parametrize("already", [False, True], ids=["new", "renewed"])
async def test_a_revocation_that_overtakes_a_subscribe_refuses_it(live: Live, already: bool) -> None:
    alice, bob = Person("alice"), Person("bob")
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    first, second = alice.grant(bob, space), alice.grant(bob, space)
    hers = alice.grant(alice, space)
    assert (await owner.push(change(), space=space, ucan=hers))["ok"]  # its root key is known from now on
    if already:
        await client.subscribe(space, ucan=first)
    services = live.nodes[-1].services  # the last one to connect is its client
    spaces = services.spaces
    assert isinstance(spaces, PostgresSpaceStore)
    services.spaces = gated = GatedSpaces(spaces)
    asked = client.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": second}]})
    await gated.asked.wait()
    await revoke(owner, alice, space, cid_of(second))
    await live.news_told()
    gated.gate.set()
    response, _ = await client.response(asked)
    assert response.result == refusal(space)
    assert (await owner.push(change(), space=space, ucan=hers))["ok"]
    assert "sync" not in await client.methods_heard()


@pytest.mark.in_process
async def test_an_expired_chain_ends_its_subscription_and_only_that(
    live: Live, alice: Person, bob: Person
) -> None:
    clock = [time.time()]
    for node in live.nodes:
        node.services.now = lambda: clock[0]
    owner, client = await live.join(alice), await live.join(bob)
    short, long = await owner.create_space(alice), await owner.create_space(alice)
    expires_at = int(clock[0]) + 600
    brief = alice.grant(bob, short, expires_at=expires_at)
    await client.subscribe(long, ucan=alice.grant(bob, long))
    hers = {space: alice.grant(alice, space) for space in (short, long)}
    await owner.subscribe(short, ucan=hers[short])
    clock[0] = expires_at + 0.9  # good through the whole second
    await client.subscribe(short.upper(), ucan=brief)
    client.notify("presence.set", {"space": short, "data": b"here"})
    await live.settled(client)
    clock[0] = expires_at + 1
    notice = await client.next()
    assert isinstance(notice, Notification)
    assert (notice.method, notice.params) == ("resubscribe", {"spaces": [short.upper()]})
    assert await owner.methods_heard() == ["presence", "presence.leave"]
    for space in (short, long):
        assert await may_write(owner, space, hers[space])
    [sync] = await client.heard()
    assert isinstance(sync.params, dict)
    assert (sync.method, sync.params["space"]) == ("sync", long)
    assert not await may_read(client, short, brief)


async def test_after_the_answer_to_a_revoke_nothing_by_that_chain_is_written(
    live: Live, alice: Person, bob: Person, database_url: str
) -> None:
    rounds = 12
    owner, client = await live.join(alice), await live.join(bob)
    con = await asyncpg.connect(database_url)
    try:
        for _ in range(rounds):
            space = await owner.create_space(alice)
            ucan = alice.grant(bob, space)
            pushes = [
                client.send("push", {"space": space, "ucan": ucan, "changes": [change()]}) for _ in range(10)
            ]
            await revoke(owner, alice, space, cid_of(ucan))
            written = await con.fetchval("SELECT count(*) FROM records WHERE space_id = $1", UUID(space))
            answers = [(await client.response(id))[0].result for id in pushes]
            accepted = [answer for answer in answers if isinstance(answer, dict) and answer["ok"]]
            assert len(accepted) == written
            assert answers[len(accepted) :] == [{"ok": False, "error": "forbidden"}] * (10 - len(accepted))
            after = await con.fetchval("SELECT count(*) FROM records WHERE space_id = $1", UUID(space))
            assert after == written
    finally:
        await con.close()


async def test_a_token_for_another_did_ends_the_subscriptions_to_shared_spaces(
    live: Live, alice: Person, bob: Person
) -> None:
    owner, client, other_key = await live.join(alice), await live.join(bob), Person("bob")
    space = await owner.create_space(alice)
    hers = alice.grant(alice, space)
    await client.subscribe(space, ucan=alice.grant(bob, space))
    await client.subscribe()
    same = live.token("bob", did=bob.did)
    assert await client.call("token.refresh", {"token": same}) == {"ok": True}
    assert (await owner.push(change(), space=space, ucan=hers))["ok"]
    assert await client.methods_heard() == ["sync"]
    fresh = live.token("bob", did=other_key.did)
    assert await client.call("token.refresh", {"token": fresh}) == {"ok": True}
    assert (await owner.push(change(), space=space, ucan=hers))["ok"]
    assert await client.heard() == []
    again = await live.join(bob)
    assert (await again.push(change()))["ok"]
    assert await client.methods_heard() == ["sync"]


async def test_a_claim_on_a_shared_space_opens_nothing_and_writes_nothing(
    live: Live, alice: Person, database_url: str
) -> None:
    owner = await live.join(alice)
    space = await owner.create_space(alice)
    thief = await live.connect("mallory", personal_space_id=space)
    for _ in range(2):  # the second time its root key is known
        assert await thief.push(change()) == {"ok": False, "error": "forbidden"}
        assert await thief.subscribe() == refusal(space)
        assert await thief.pull() == []
        for method, more in SPACE_METHODS:
            answer = await thief.error(method, {"space": space, **more})
            assert answer == ("forbidden", "forbidden"), method
    con = await asyncpg.connect(database_url)
    try:
        row = await con.fetchrow("SELECT cursor, key_generation FROM spaces WHERE id = $1", UUID(space))
        assert row is not None
        assert tuple(row) == (0, 1)
        assert await con.fetchval("SELECT count(*) FROM revocations") == 0
    finally:
        await con.close()


@pytest.mark.one_connection
@pytest.mark.parametrize(
    "method", ["push", "pull", "subscribe", "epoch.begin", "membership.list", "deks.get"]
)
async def test_a_space_claimed_as_personal_that_is_shared_is_open_to_its_members(
    live: Live, alice: Person, bob: Person, method: str
) -> None:
    owner = await live.join(alice)
    space = await owner.create_space(alice)
    member = await live.join(bob, personal_space_id=space)
    ucan = alice.grant(bob, space, ADMIN)
    match method:
        case "push":
            assert await may_write(member, space, ucan)
        case "pull":
            assert len(await member.pull(ucan=ucan)) == 2
        case "subscribe":
            assert (await member.subscribe(ucan=ucan))["spaces"]
        case _:
            await member.call(method, {"space": space, "ucan": ucan, "epoch": 2})
    assert await may_read(member, space, ucan)
    assert await may_write(member, space, ucan)
    await revoke(owner, alice, space, cid_of(ucan))
    assert not await may_read(member, space, ucan)
    assert not await may_write(member, space, ucan)


@pytest.mark.one_connection
@pytest.mark.parametrize("table", ["spaces", "revocations"])
@pytest.mark.parametrize("known", [False, True], ids=["root key unknown", "root key known"])
async def test_a_storage_fault_while_authorising_is_never_called_forbidden(
    live: Live, alice: Person, database_url: str, table: str, known: bool
) -> None:
    client = await live.join(alice)
    space = await client.create_space(alice)
    ucan = alice.grant(alice, space, ADMIN)
    if known:
        assert await may_write(client, space, ucan)
    con = await asyncpg.connect(database_url)
    try:
        await con.execute(f"ALTER TABLE {table} RENAME TO away")
        assert await client.subscribe(space, ucan=ucan) == refusal(space, "internal")
        assert await client.push(change(), space=space, ucan=ucan) == {"ok": False, "error": "internal"}
        for method, more in SPACE_METHODS:
            answer = await client.error(method, {"space": space, "ucan": ucan, **more})
            assert answer == ("internal", "internal"), method
        await con.execute(f"ALTER TABLE away RENAME TO {table}")
    finally:
        await con.close()
    assert await may_read(client, space, ucan)
    assert await may_write(client, space, ucan)


@pytest.mark.one_connection
async def test_one_space_asked_for_twice_is_judged_by_each_token(
    live: Live, alice: Person, bob: Person
) -> None:
    owner, client = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    good, bad = alice.grant(bob, space), alice.grant(bob, space)
    await revoke(owner, alice, space, cid_of(bad))
    entries = [{"id": space, "since": 0, "ucan": ucan} for ucan in (bad, good, "", good)]
    response, chunks = await client.response(client.send("pull", {"spaces": entries}))
    assert [chunk.name for chunk in chunks] == ["pull.begin", "pull.commit"] * 2
    assert response.result == {"_chunks": 4}
    answer = await client.call("subscribe", {"spaces": entries})
    assert [entry["id"] for entry in answer["spaces"]] == [space] * 2
    assert answer["errors"] == [{"space": space, "error": "forbidden"}] * 2


async def test_a_space_created_after_a_refused_attempt_is_there(live: Live, alice: Person) -> None:
    client = await live.join(alice)
    space = str(uuid4())
    ucan = alice.grant(alice, space)
    assert not await may_write(client, space, ucan)
    assert not await may_read(client, space, ucan)
    await client.call("space.create", {"id": space, "root_public_key": alice.root_key})
    assert await may_write(client, space, ucan)
    assert await may_read(client, space, ucan)


@pytest.mark.one_connection
@pytest.mark.parametrize("over", [False, True], ids=["longest", "longer"])
async def test_a_ucan_is_read_up_to_its_longest_and_not_beyond(live: Live, over: bool) -> None:
    owner = Minter()
    client = await live.connect("alice", did=owner.did)
    space = uuid4()
    await client.call("space.create", {"id": str(space), "root_public_key": owner.compressed})
    until = int(time.time()) + 600
    shortest = owner.grant(owner, space, exp=until, pad="")
    # Three bytes of padding are four characters, so a step is one or two of them.
    fill = (UCAN_CHARS_MAX - len(shortest)) * 3 // 4 + over * 2
    ucan = owner.grant(owner, space, exp=until, pad="x" * fill)
    assert (len(ucan) > UCAN_CHARS_MAX) == over
    assert abs(len(ucan) - UCAN_CHARS_MAX) <= 3
    assert await may_read(client, str(space), ucan) != over
    assert await may_write(client, str(space), ucan) != over
