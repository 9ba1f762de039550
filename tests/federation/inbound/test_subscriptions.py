"""`subscribe` of a peer, by UCAN and by token, and what ends a subscription."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from less_sync.auth import FstKeys, Permission, derive_fst_key, fst_leaf_tag
from less_sync.federation.settings import PeerQuotas
from tests.federation.inbound.peer_client import (
    EDGE1,
    EDGE2,
    KEYS,
    SECRET,
    Home,
    Shared,
    change,
    entry,
    home_server,
    subscribe,
)
from tests.live import Client, Person, cid_of

LINKS: Final = 8
LINKS_PER_TURN: Final = 32


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url) as running:
        yield running


def errors(result: Any) -> list[str]:
    assert result["spaces"] == []
    return [error["error"] for error in result["errors"]]


async def test_a_ucan_yields_a_token_and_the_token_the_next_one(home: Home) -> None:
    shared = await home.share()
    peer = await home.peer()
    ucan = shared.ucan(Permission.READ)
    by_ucan = await subscribe(peer, entry(shared.id, ucan=ucan))
    [space] = by_ucan["spaces"]
    assert list(space) == ["id", "cursor", "key_generation", "token"]
    assert (space["id"], space["cursor"], space["key_generation"]) == (shared.id, 0, 1)
    assert "errors" not in by_ucan
    claims = KEYS.verify(space["token"], peer_domain=EDGE1, now=0)
    assert claims.space_id == UUID(shared.id)
    assert claims.leaf_tag == fst_leaf_tag(cid_of(ucan))
    # Another connection restores with it, and its token is good for no longer.
    other = await home.peer()
    [restored] = (await subscribe(other, entry(shared.id, token=space["token"])))["spaces"]
    again = KEYS.verify(restored["token"], peer_domain=EDGE1, now=0)
    assert (again.expires_at, again.leaf_tag) == (claims.expires_at, claims.leaf_tag)
    assert restored["token"] != space["token"]
    assert home.usage().spaces == 2


async def test_a_token_ends_with_its_ucan(home: Home) -> None:
    shared = await home.share()
    until = int(home.live.services.now()) + 600
    [space] = (await subscribe(await home.peer(), entry(shared.id, ucan=shared.ucan(expires_at=until))))[
        "spaces"
    ]
    assert KEYS.verify(space["token"], peer_domain=EDGE1, now=0).expires_at == until


async def test_each_reason_for_a_refusal_in_the_order_of_the_entries(home: Home) -> None:
    shared, other = await home.share(), await home.share()
    alice = await home.live.connect()
    await alice.subscribe()
    peer = await home.peer()
    [space] = (await subscribe(peer, entry(shared.id, ucan=shared.ucan())))["spaces"]
    token = space["token"]
    foreign = await home.share()
    await home.set_home(foreign.id, "elsewhere.test")
    missing = str(uuid4())
    now = int(home.live.services.now())

    def made(space_id: str, *, peer: str = EDGE1, expires_at: int = now + 60) -> str:
        return KEYS.make(
            space_id=UUID(space_id),
            peer_domain=peer,
            expires_at=expires_at,
            nonce=bytes(8),
            leaf_tag=bytes(8),
        )

    cases = [
        (entry("no uuid", ucan=shared.ucan()), "bad_request"),
        (entry(shared.id), "bad_request"),
        (entry(shared.id, ucan="garbage", token=token), "forbidden"),
        (entry(shared.id, ucan=other.ucan()), "forbidden"),
        (entry(shared.id, ucan=shared.ucan(expires_at=now - 10)), "forbidden"),
        (entry(missing, ucan=shared.ucan()), "not_found"),
        (entry(foreign.id, ucan=foreign.ucan()), "forbidden"),
        (entry(alice.space, ucan=shared.ucan()), "not_found"),
        (entry(shared.id, token="garbage"), "forbidden"),
        (entry(other.id, token=token), "forbidden"),
        (entry(shared.id, token=made(shared.id, expires_at=now - 1)), "forbidden"),
        (entry(shared.id, token=made(shared.id, peer=EDGE2)), "forbidden"),
        (entry(missing, token=made(missing)), "not_found"),
        (entry(foreign.id, token=made(foreign.id)), "forbidden"),
        (entry(alice.space, token=made(alice.space)), "not_found"),
    ]
    stranger = await home.peer()
    result = await subscribe(stranger, *(case for case, _ in cases))
    assert result == {
        "spaces": [],
        "errors": [{"space": case["id"], "error": error} for case, error in cases],
    }
    assert home.usage().spaces == 1  # what was refused took nothing from the one that stands
    result = await subscribe(stranger, cases[0][0], entry(shared.id, ucan=shared.ucan()), cases[3][0])
    assert [space["id"] for space in result["spaces"]] == [shared.id]
    assert [error["error"] for error in result["errors"]] == ["bad_request", "forbidden"]


async def test_an_empty_list_is_answered_and_a_thousand_and_one_are_too_many(home: Home) -> None:
    peer = await home.peer()
    assert await subscribe(peer) == {"spaces": []}
    entries = [entry(str(uuid4()), ucan="x")] * 1001
    assert await peer.error("subscribe", {"spaces": entries}) == (
        "bad_request",
        "too many spaces in subscribe request",
    )
    assert len((await subscribe(peer, *entries[:1000]))["errors"]) == 1000
    assert await peer.error("subscribe", {"spaces": [{"id": "x"}]}) == (
        "invalid_params",
        "invalid subscribe params: spaces[0].since: missing",
    )


async def test_without_a_secret_there_are_no_tokens(database_url: str) -> None:
    async with home_server(database_url, fst_keys=None) as home:
        shared, peer = await home.share(), await home.peer()
        [space] = (await subscribe(peer, entry(shared.id, ucan=shared.ucan())))["spaces"]
        assert "token" not in space
        assert errors(await subscribe(peer, entry(shared.id, token="x"))) == ["internal"]


async def test_a_token_of_the_previous_secret_is_accepted_and_renewed_under_the_new_one(
    database_url: str,
) -> None:
    new = derive_fst_key("the next secret")
    async with home_server(database_url, fst_keys=FstKeys(new, derive_fst_key(SECRET))) as home:
        shared, peer = await home.share(), await home.peer()
        until = int(home.live.services.now()) + 60
        old = KEYS.make(
            space_id=UUID(shared.id), peer_domain=EDGE1, expires_at=until, nonce=bytes(8), leaf_tag=bytes(8)
        )
        [space] = (await subscribe(peer, entry(shared.id, token=old)))["spaces"]
        assert FstKeys(new).verify(space["token"], peer_domain=EDGE1, now=0).expires_at == until


async def test_ids_count_once_whatever_their_spelling_and_are_echoed_as_sent(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    ucan = shared.ucan()
    spellings = [shared.id, shared.id.replace("-", ""), "{" + shared.id + "}", shared.id.upper()]
    result = await subscribe(peer, *(entry(text, ucan=ucan) for text in spellings))
    assert [space["id"] for space in result["spaces"]] == spellings
    assert home.usage().spaces == 1
    writer = await home.member(shared)
    await writer.push(change(), space=shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
    [notice] = await peer.heard()
    assert isinstance(notice.params, dict)
    assert notice.method == "sync"
    assert notice.params["space"] == shared.id.upper()
    assert (notice.params["prev"], notice.params["cursor"], notice.params["key_generation"]) == (0, 1, 1)
    peer.notify("unsubscribe", {"spaces": [shared.id, shared.id.upper(), "nonsense", str(uuid4())]})
    await home.live.settled(peer)
    assert home.usage().spaces == 0
    await writer.push(change(), space=shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
    assert await peer.heard() == []


async def test_spaces_beyond_the_quota_fail_the_whole_request(database_url: str) -> None:
    async with home_server(database_url, quotas=PeerQuotas(spaces=2)) as home:
        first, second, third = [await home.share() for _ in range(3)]
        peer = await home.peer()
        over = ("rate_limited", "space subscription quota exceeded")
        await subscribe(peer, entry(first.id, ucan=first.ucan()))
        both = {"spaces": [entry(one.id, ucan=one.ucan()) for one in (second, third)]}
        assert await peer.error("subscribe", both) == over
        assert home.usage().spaces == 1
        writer = await home.member(second)
        await writer.push(change(), space=second.id, ucan=second.owner.grant(second.owner, second.id))
        assert await peer.heard() == []
        # What it holds already costs nothing, and what it gives up makes room.
        await subscribe(peer, entry(first.id, ucan=first.ucan()), entry(second.id, ucan=second.ucan()))
        one_more = {"spaces": [entry(third.id, ucan=third.ucan())]}
        assert await peer.error("subscribe", one_more) == over
        peer.notify("unsubscribe", {"spaces": [first.id]})
        await peer.call("subscribe", one_more)
        other = await home.peer(EDGE2)
        await other.call("subscribe", both)
        assert (home.usage().spaces, home.usage(EDGE2).spaces) == (2, 2)


async def admin(home: Home, owner: Person) -> Client:
    return await home.live.join(owner, mailbox_id=uuid4().hex * 2)


async def revoke(home: Home, shared: Any, ucan: str) -> None:
    client = await admin(home, shared.owner)
    mine = shared.owner.grant(shared.owner, shared.id, Permission.ADMIN)
    params = {"space": shared.id, "ucan": mine, "ucan_cid": cid_of(ucan)}
    await client.call("membership.revoke", params)


async def test_a_revocation_ends_what_rests_on_it_and_what_does_not_tell_after_saying_so(home: Home) -> None:
    shared = await home.share()
    hit, other = shared.ucan(), shared.ucan()
    by_hit, by_other, by_token = [await home.peer() for _ in range(3)]
    await subscribe(by_hit, entry(shared.id, ucan=hit))
    [space] = (await subscribe(by_other, entry(shared.id, ucan=other)))["spaces"]
    await subscribe(by_token, entry(shared.id, token=space["token"]))
    assert home.usage().spaces == 3
    await revoke(home, shared, hit)
    assert home.usage().spaces == 1
    writer = await home.member(shared)
    await writer.push(change(), space=shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
    assert await by_hit.methods_heard() == ["revoked"]
    assert await by_token.methods_heard() == ["revoked"]
    assert await by_other.methods_heard() == ["revoked", "sync"]
    # The revoked one does not come back, by UCAN or by token; the others do.
    [hers] = (await subscribe(by_token, entry(shared.id, token=space["token"])))["spaces"]
    assert hers["cursor"] == 1
    assert errors(await subscribe(by_hit, entry(shared.id, ucan=hit))) == ["forbidden"]


async def test_a_token_whose_ucan_is_revoked_gives_nothing_back(home: Home) -> None:
    shared = await home.share()
    root = shared.owner
    bob, carol = Person("bob"), Person("carol")
    proof = root.grant(bob, shared.id)
    leaf = bob.grant(carol, shared.id, proof=proof)
    peer = await home.peer()
    [space] = (await subscribe(peer, entry(shared.id, ucan=leaf)))["spaces"]
    await revoke(home, shared, leaf)
    assert home.usage().spaces == 0
    assert errors(await subscribe(peer, entry(shared.id, token=space["token"]))) == ["forbidden"]
    # A revoked proof takes every chain through it along.
    another = bob.grant(carol, shared.id, proof=proof)
    await subscribe(peer, entry(shared.id, ucan=another))
    await revoke(home, shared, proof)
    assert home.usage().spaces == 0
    assert errors(await subscribe(peer, entry(shared.id, ucan=another))) == ["forbidden"]


async def test_a_fault_of_the_database_forbids_nothing(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    ucan = shared.ucan()
    [space] = (await subscribe(peer, entry(shared.id, ucan=ucan)))["spaces"]
    peer.notify("unsubscribe", {"spaces": [shared.id]})
    for table in ("spaces", "revocations"):
        await home.sql(f"ALTER TABLE {table} RENAME TO away")
        result = await subscribe(
            peer,
            entry(shared.id, ucan=ucan),
            entry("no uuid", ucan=ucan),
            entry(shared.id, token=space["token"]),
            entry(shared.id, token="garbage"),
        )
        assert errors(result) == ["internal", "bad_request", "internal", "forbidden"]
        await home.sql(f"ALTER TABLE away RENAME TO {table}")
    assert home.usage().spaces == 0


async def test_a_peer_s_subscription_outlives_the_ucan_it_began_with(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    # A chain is good through the whole second it expires in.
    now = int(home.live.services.now())
    await subscribe(peer, entry(shared.id, ucan=shared.ucan(expires_at=now + 1)))
    while int(home.live.services.now()) <= now + 2:
        await home.live.settled(peer)
    writer = await home.member(shared)
    await writer.push(change(), space=shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
    assert await peer.methods_heard() == ["sync"]


def long_chain(shared: Shared) -> str:
    """A UCAN handed on as often as it may be."""
    holder = shared.owner
    ucan: str | None = None
    for _ in range(LINKS):
        heir = Person("heir")
        ucan = holder.grant(heir, shared.id, Permission.ADMIN, proof=ucan)
        holder = heir
    assert ucan is not None
    return ucan


async def test_long_chains_hold_nobody_up(home: Home) -> None:
    shared, peer, ucans = await home.share(), await home.peer(), home.live.services.authority.ucans
    entries = [entry(shared.id, ucan=long_chain(shared)) for _ in range(24)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            before = len(ucans)
            await asyncio.sleep(0)
            most = max(most, len(ucans) - before)

    watching = asyncio.create_task(watch())
    answer = await subscribe(peer, *entries)
    watching.cancel()
    assert len(answer["spaces"]) == len(entries)
    assert len(ucans) == LINKS * len(entries)
    assert LINKS <= most <= LINKS_PER_TURN
