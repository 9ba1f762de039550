"""What is not forwarded: refused as a write, confirmed at the home first as a read."""

import hashlib
import time
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from less_sync.auth import Permission
from less_sync.federation.outbound.calls import PeerSilent
from less_sync.storage import LocalBlobs
from less_sync.sync.access.looks import LIFE_S
from less_sync.sync.forwarding import Alone
from tests.federation.outbound.scripted_home import HOME, Edge, Stored, edge, record, until
from tests.live import Client, Person

OWNER = Person("owner")
ELSEWHERE = ("bad_request", "space is hosted on another server")


def member(seq: int) -> dict[str, object]:
    return {"chain_seq": seq, "entry_hash": bytes(32), "payload": b"member %d" % seq}


async def owner_of(at: Edge, space: str) -> tuple[Client, str]:
    return await at.live.join(OWNER), OWNER.grant(OWNER, space, Permission.ADMIN)


WRITES: dict[str, dict[str, object]] = {
    "membership.append": {
        "expected_version": 0,
        "payload": b"x",
        "entry_hash": hashlib.sha256(b"x").digest(),
    },
    "membership.revoke": {"ucan_cid": "a" * 64},
    "epoch.begin": {"epoch": 2},
    "epoch.complete": {"epoch": 2},
    "deks.rewrap": {"deks": []},
    "file.deks.rewrap": {"deks": []},
}


@pytest.mark.parametrize("method", WRITES)
async def test_writes_that_nothing_carries_are_refused(database_url: str, method: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await owner_of(at, space)
        error = await client.error(method, {"space": space, "ucan": ucan, **WRITES[method]})
        assert error == ELSEWHERE
        assert at.home.sent == []


@pytest.mark.parametrize("method", WRITES)
async def test_who_may_not_write_is_told_that_first(database_url: str, method: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        eve = Person("eve")
        client = await at.live.join(eve)
        error = await client.error(
            method, {"space": space, "ucan": OWNER.grant(eve, space, Permission.READ), **WRITES[method]}
        )
        assert error[0] == "forbidden"


@pytest.mark.parametrize("known", [True, False], ids=["read before", "not read before"])
async def test_a_space_whose_row_names_this_server_is_served_from_here(
    database_url: str, *, known: bool
) -> None:
    async with edge(database_url) as at:
        client = await at.live.join(OWNER)
        space = await client.create_space(OWNER)
        ucan = OWNER.grant(OWNER, space, Permission.ADMIN)
        if known:
            await client.subscribe(space, ucan=ucan)
        await execute(
            database_url, f"UPDATE spaces SET home_server = 'https://edge.test' WHERE id = '{space}'"
        )
        for method in ("membership.append", "membership.revoke", "deks.rewrap"):
            await client.call(method, {"space": space, "ucan": ucan, **WRITES[method]})
        assert await client.call("epoch.begin", {"space": space, "ucan": ucan, "epoch": 2}) == {"epoch": 2}
        await client.call("epoch.complete", {"space": space, "ucan": ucan, "epoch": 2})
        for number in (1, 2):
            assert (await client.push(record(number), space=space, ucan=ucan))["cursor"] == number + 1
        assert len(await client.pull(0, space, ucan)) == 5
        assert (await client.subscribe(space, ucan=ucan))["spaces"][0]["cursor"] == 3
        assert at.home.sent == []


async def test_a_space_that_was_given_away_while_it_was_in_use_goes_to_its_home(database_url: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.join(OWNER)
        space = await client.create_space(OWNER)
        ucan = OWNER.grant(OWNER, space, Permission.ADMIN)
        assert (await client.push(record(1), space=space, ucan=ucan))["cursor"] == 1
        await execute(database_url, f"UPDATE spaces SET home_server = '{HOME}' WHERE id = '{space}'")
        at.home.spaces[space] = Stored(cursor=7)
        params = {"space": space, "ucan": ucan, "changes": [record(2)]}
        assert await client.call("push", params) == {"ok": True, "cursor": 8}
        assert at.home.of("push") == [params]
        await execute(database_url, f"UPDATE spaces SET home_server = NULL WHERE id = '{space}'")
        at.live.services.clock = lambda: time.monotonic() + 2 * LIFE_S
        assert (await client.push(record(3), space=space, ucan=ucan))["cursor"] == 2


# Reads of the shadow row, which the home has to confirm.

READS = ("membership.list", "deks.get", "file.deks.get")


@pytest.mark.parametrize("method", READS)
async def test_a_read_is_confirmed_at_the_home_and_believed_for_five_minutes(
    database_url: str, method: str
) -> None:
    now = [1000.0]
    async with edge(database_url, clock=lambda: now[0]) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        for later_s, asked in ((0, 1), (299, 1), (2, 2)):
            now[0] += later_s
            await client.call(method, {"space": space, "ucan": ucan, "since": 0})
            assert at.home.of("subscribe") == [{"spaces": [{"id": space, "since": 0, "ucan": ucan}]}] * asked


@pytest.mark.parametrize("method", READS)
async def test_a_subscription_confirms_reads_too_until_something_is_revoked(
    database_url: str, method: str
) -> None:
    now = [1000.0]
    async with edge(database_url, clock=lambda: now[0]) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        await client.subscribe(space, ucan=ucan)
        params = {"space": space, "ucan": ucan, "since": 0}
        await client.call(method, params)
        assert len(at.home.of("subscribe")) == 1
        at.home.link.announce("revoked", space=space, reason="ucan_revoked")
        await until(lambda: len(at.home.of("subscribe")) == 2)
        for asked in (3, 4):  # what was revoked is not said: nothing is believed for a while
            await client.call(method, params)
            assert len(at.home.of("subscribe")) == asked
        now[0] += 301
        for _ in range(2):
            await client.call(method, params)
            assert len(at.home.of("subscribe")) == 5


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("code", ["forbidden", "internal"])
async def test_a_read_that_the_home_does_not_confirm_fails(database_url: str, method: str, code: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        if code == "forbidden":
            at.home.refused[ucan] = code
        else:
            at.home.before.append(("subscribe", PeerSilent()))
        assert (await client.error(method, {"space": space, "ucan": ucan, "since": 0}))[0] == code


async def test_the_membership_log_comes_out_of_a_pull(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.write(space, record(1))
        at.home.spaces[space].members = [member(1), member(2), member(3)]
        listed = await client.call("membership.list", {"space": space, "ucan": ucan, "since_seq": 1})
        assert listed == {"entries": [member(2), member(3)], "metadata_version": 3}
        assert at.home.of("pull") == [{"spaces": [{"id": space, "since": 0, "ucan": ucan}]}]


@pytest.mark.parametrize("fault", ["no pull", "an end in the middle"])
async def test_a_membership_log_is_whole_or_an_error(database_url: str, fault: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        at.home.spaces[space].members = [member(1), member(2)]
        if fault == "no pull":
            at.home.chunks = lambda space, chunks: []
        else:
            at.home.pull_breaks_after = 2
        assert (await client.error("membership.list", {"space": space, "ucan": ucan}))[0] == "internal"


async def test_a_space_asked_about_only_to_confirm_is_given_back(database_url: str) -> None:
    async with edge(database_url, linger_s=0.05) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        await client.call("deks.get", {"space": space, "ucan": ucan, "since": 0})
        await until(lambda: at.home.notified)
        assert at.home.notified == [("unsubscribe", {"spaces": [space]})]


# Files and new spaces.


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
async def test_files_of_a_space_elsewhere_are_not_served_from_here(
    database_url: str, tmp_path: Path, method: str
) -> None:
    async with edge(database_url, blobs=LocalBlobs(tmp_path)) as at:
        space = await at.shared(OWNER)
        client = await at.live.join(OWNER)
        headers = {
            "Authorization": f"Bearer {at.live.token(OWNER.name, did=OWNER.did)}",
            "X-UCAN": OWNER.grant(OWNER, space),
            "X-Record-ID": str(uuid4()),
            "X-Wrapped-DEK": "A" * 58 + "AA",
        }
        url = f"http://127.0.0.1:{at.live.port}/api/v1/spaces/{space}/files/{uuid4()}"
        async with httpx.AsyncClient() as http:
            answer = await http.request(
                method, url, headers=headers, content=b"x" if method == "PUT" else None
            )
        assert answer.status_code == 409
        assert method == "HEAD" or answer.json() == {"error": "space is hosted on another server"}
        assert await client.heard() == []


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("home.test", "home.test"),
        ("https://HOME.test:443/x", "home.test"),
        ("edge.test", None),
        ("https://edge.test:8443/", None),
        ("", None),
    ],
)
async def test_of_a_home_that_a_client_names_our_own_text_is_kept(
    database_url: str, named: str, kept: str | None
) -> None:
    async with edge(database_url) as at:
        client = await at.live.join(OWNER)
        space = uuid4()
        params = {"id": str(space), "root_public_key": OWNER.root_key, "home_server": named}
        echo = {"home_server": kept} if kept else {}
        assert await client.call("space.create", params) == {"id": str(space), "key_generation": 1} | echo
        row = (await at.live.services.spaces.get_spaces([space]))[space]
        assert row.home_server == kept


@pytest.mark.parametrize("named", ["stranger.test", "home.test:81", "u:p@home.test", "home.test#x"])
async def test_a_home_that_is_not_trusted_is_refused(database_url: str, named: str) -> None:
    async with edge(database_url) as at:
        client = await at.live.join(OWNER)
        params = {"id": str(uuid4()), "root_public_key": OWNER.root_key, "home_server": named}
        assert await client.error("space.create", params) == (
            "bad_request",
            "home server is not a trusted federation peer",
        )


# Servers that are alone.


@pytest.mark.parametrize("why", ["no forwarder", "no key", "not trusted"])
async def test_without_a_way_to_its_home_a_space_is_not_served_from_its_row(
    database_url: str, why: str
) -> None:
    trusted = ("other.test",) if why == "not trusted" else (HOME,)
    async with edge(database_url, can_sign=lambda: why != "no key", trusted=trusted) as at:
        client = await at.live.join(OWNER)
        space = await client.create_space(OWNER)
        await execute(database_url, f"UPDATE spaces SET home_server = '{HOME}' WHERE id = '{space}'")
        if why == "no forwarder":
            at.live.services.federate(Alone())
        ucan = OWNER.grant(OWNER, space)
        assert (await client.subscribe(space, ucan=ucan))["errors"] == [{"space": space, "error": "internal"}]
        assert await client.push(record(1), space=space, ucan=ucan) == {"ok": False, "error": "internal"}
        assert await client.pull(0, space, ucan) == []
        assert (await client.error("membership.list", {"space": space, "ucan": ucan}))[0] == "internal"
        assert at.home.sent == []


async def test_an_invitation_needs_federation(database_url: str) -> None:
    async with edge(database_url, can_sign=lambda: False) as at:
        client = await at.live.connect()
        params = {"mailbox_id": "a" * 64, "payload": "x", "server": "stranger.test"}
        error = await client.error("invitation.create", params)
        assert error == ("bad_request", "federation is not enabled on this server")


async def execute(database_url: str, statement: str) -> None:
    """Do what an operator does by hand."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_home_that_is_not_dialled_is_told_of_once_and_without_its_password(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        client, ucan = await at.member(OWNER, "bob", space)
        home = "https://user:secret@stranger.test"
        await execute(database_url, f"UPDATE spaces SET home_server = '{home}' WHERE id = '{space}'")
        with capture_logs() as logs:
            for _ in range(3):
                pushed = await client.call("push", {"space": space, "ucan": ucan, "changes": []})
                assert pushed == {"ok": False, "error": "internal"}
        assert [one["home"] for one in logs if one["event"] == "home is not dialled"] == ["stranger.test"]
        assert "secret" not in str(logs)
