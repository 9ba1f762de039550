"""`less-sync space create|invite-token|join|revoke|explain` as people run them, against a server process."""

import asyncio
import json
import re
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import asyncpg
import pytest

from less_sync.auth import Permission, b64url_encode
from less_sync.client.folder.access import ServerOption, TokenOptions
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import grant_of
from less_sync.client.sharing.log_access import standing
from less_sync.client.sharing.session import Options, connected, refusal
from less_sync.sync.client import SyncClient
from tests.client.sharing.members import founder, joined
from tests.client.sharing.people import TIMEOUT_S, Somebody, Town, eventually, files, line_with
from tests.sync.scripted_server import Peer, hold, scripted

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"


async def shared_folder(alice: Somebody) -> Path:
    folder = alice.folder("plans")
    assert (await alice.run("space", "create", folder)).status == 0
    return folder


async def invite(alice: Somebody, folder: Path, whom: Somebody, *more: str) -> str:
    finished = await alice.run("space", "invite-token", folder, "--to", await whom.did(), *more)
    assert finished.status == 0, finished.err
    return finished.out.strip()


async def test_two_people_share_a_folder_until_access_is_revoked_and_the_live_watch_ends(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans, theirs = await shared_folder(alice), town.parent / "bob-plans"
        (plans / "a.txt").write_text("from alice")
        assert (await alice.run("push", plans)).status == 0
        bundle = await invite(alice, plans, bob)
        joined = await bob.run("space", "join", theirs, bundle)
        assert (joined.status, files(theirs)) == (0, {"a.txt": "from alice"})

        hers = await alice.start("watch", plans, "--interval", "0.05")
        his = await bob.start("watch", theirs, "--interval", "0.05")
        await line_with(hers, "watching")
        await line_with(his, "watching")
        (theirs / "b.txt").write_text("from bob")
        (plans / "a.txt").write_text("edited by alice")
        both = {"a.txt": "edited by alice", "b.txt": "from bob"}
        await eventually(lambda: files(plans) == files(theirs) == both)

        revoked = await alice.run("space", "revoke", plans, "--to", await bob.did())
        assert revoked.status == 0, revoked.err
        await line_with(his, "your access to this shared space was revoked")
        assert await asyncio.wait_for(his.wait(), TIMEOUT_S) == 9

        (plans / "c.txt").write_text("for alice alone")
        await line_with(hers, "pushed: c.txt")
        for verb in ("pull", "push", "watch"):
            refused = await bob.run(verb, theirs)
            assert (refused.status, "was revoked" in refused.err) == (9, True)
        assert files(theirs) == both
        assert hers.returncode is None


async def test_a_revoked_link_kills_what_was_passed_on_from_it_and_no_other(town: Town) -> None:
    alice, bob, carol, dave = (town.person(name) for name in ("alice", "bob", "carol", "dave"))
    async with town.server():
        plans = await shared_folder(alice)
        (plans / "a.txt").write_text("a")
        await alice.run("push", plans)
        from_alice = await invite(alice, plans, bob)
        bobs, carols, daves = (town.parent / name for name in ("bobs", "carols", "daves"))
        await bob.run("space", "join", bobs, from_alice)
        carols_bundle = await invite(bob, bobs, carol, "--permission", "read")
        assert (await carol.run("space", "join", carols, carols_bundle)).status == 0
        assert (await dave.run("space", "join", daves, await invite(alice, plans, dave))).status == 0
        assert (await alice.run("space", "revoke", plans, "--bundle", from_alice)).status == 0
        statuses = [
            (await who.run("pull", folder)).status
            for who, folder in ((alice, plans), (bob, bobs), (carol, carols), (dave, daves))
        ]
    assert statuses == [0, 9, 9, 0]


async def test_a_reader_pulls_and_watches_but_cannot_push_or_pass_on_more(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans = await shared_folder(alice)
        (plans / "a.txt").write_text("a")
        await alice.run("push", plans)
        theirs = town.parent / "theirs"
        await bob.run("space", "join", theirs, await invite(alice, plans, bob, "--permission", "read"))
        (theirs / "mine.txt").write_text("not for the space")
        pushed = await bob.run("push", theirs)
        assert (pushed.status, "for reading only" in pushed.err) == (2, True)
        more = await bob.run("space", "invite-token", theirs, "--to", await alice.did())
        assert (more.status, "you cannot pass on write: your own access is read" in more.err) == (2, True)
        watch = await bob.start("watch", theirs, "--interval", "0.05")
        await line_with(watch, "watching")
        (plans / "b.txt").write_text("b")
        await alice.run("push", plans)
        await eventually(lambda: "b.txt" in files(theirs))
        not_admin = await bob.run("space", "revoke", theirs, "--cid", "ab" * 32)
        told = "your token does not allow this: it is for read"
        assert (not_admin.status, told in not_admin.err) == (1, True), not_admin.err
        assert (await alice.run("pull", plans)).out == "nothing to do\n"


async def test_trouble_of_the_server_is_not_told_as_lost_access(town: Town) -> None:
    alice = town.person("alice")
    async with town.server():
        plans = await shared_folder(alice)
        for before, after, status in (("members", "gone", 6), ("gone", "members", 0)):
            connection = await asyncpg.connect(town.database_url)
            await connection.execute(f"ALTER TABLE {before} RENAME TO {after}")
            await connection.close()
            for words in (("members", plans), ("invite", plans, "--to-user", "alice"), ("rotate", plans)):
                finished = await alice.run("space", *words)
                assert finished.status == status, (words, finished.err)
                assert ("Error: the server has trouble" in finished.err) is (status == 6)


async def test_times_are_told_to_the_minute_in_utc_and_to_programs_in_seconds(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans = await shared_folder(alice)
        invited = await alice.run("space", "invite", plans, "--to-user", "bob")
        assert re.fullmatch(rf"invited to write; the invitation waits until {TIME}\n", invited.out)
        (told,) = await alice.told("space", "invite", plans, "--to-user", "bob")
        assert 0 < told["expires_at"] - time.time() <= 7 * 86_400
        listed = await bob.run("space", "accept")
        assert len(re.findall(rf": write, until {TIME}, from did:key:", listed.out)) == 2
        waiting = await bob.told("space", "accept")
        assert all(0 < one["expires_at"] - time.time() <= 90 * 86_400 for one in waiting)


def test_a_refusal_to_who_is_let_in_says_what_the_token_lacks_or_that_it_may_pass(tmp_path: Path) -> None:
    alice = founder(tmp_path)
    bob = joined(tmp_path, "bob", alice, Permission.WRITE)
    for member, told in ((alice, "refused this for now"), (bob, "it is for write")):
        error = refusal(grant_of(member.shared.ucan))
        assert (error.exit_code, told in str(error)) == (1, True)


@pytest.mark.parametrize("count", [0, 2])
async def test_an_answer_that_is_not_about_the_space_is_an_error_and_no_crash(
    tmp_path: Path, count: int
) -> None:
    alice = founder(tmp_path)
    ucan = alice.shared.ucan

    async def act(peer: Peer) -> None:
        await peer.welcome()
        request = await peer.request("subscribe")
        space = {"id": str(alice.shared.space), "cursor": 0, "key_generation": 1}
        await peer.answer(request, {"spaces": [space] * count})

    async def token() -> str:
        return "token"

    async with scripted(act) as server, SyncClient(server.url, token) as client:
        with pytest.raises(FolderError, match="not about the one space"):
            await standing(client, ucan)


async def test_a_command_whose_clock_is_far_ahead_of_the_servers_does_not_go_on(tmp_path: Path) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome_by_token()
        await hold(peer)

    alice = founder(tmp_path)
    mine = b64url_encode(json.dumps({"did": alice.person.did}).encode())
    for minutes, stops in ((10, True), (4, False), (-10, False)):
        date = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes), usegmt=True)
        async with scripted(act, date=date) as server:
            tokens = TokenOptions(token=f"a.{mine}.c")
            options = Options(ServerOption(server.url), tokens, None)
            expected = pytest.raises(FolderError, match="by 10 minutes")
            with expected if stops else nullcontext():
                async with connected(options, alice.person, grant=None):
                    pass


async def test_secrets_are_kept_private_and_never_printed(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans = await shared_folder(alice)
        (created,) = await alice.told("space", "create", alice.folder("second"))
        bundle = await invite(alice, plans, bob)
        kept = plans / ".less-sync" / "shared.json"
        for path in (kept, Path(created["root_key_file"])):
            assert path.stat().st_mode & 0o777 == 0o600
        secrets = json.loads(kept.read_text())
        said = [
            await bob.run("space", "join", town.parent / "theirs", bundle),
            await alice.run("space", "explain", plans),
            await alice.run("space", "explain", bundle, "--json"),
            await alice.run("space", "revoke", plans, "--bundle", bundle),
            await alice.run("space", "join", town.parent / "x", bundle),
            await bob.run("pull", town.parent / "theirs"),
        ]
    assert [one.status for one in said] == [0, 0, 0, 0, 2, 9]
    for one in said:
        for secret in (secrets["ucan"], secrets["ucan"].split(".")[2], secrets["keys"]["1"], bundle[-60:]):
            assert secret not in one.out + one.err


async def test_explain_reads_the_database_and_says_what_it_could_not_check_without_one(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans = await shared_folder(alice)
        bundle = await invite(alice, plans, bob)
        database = {"DATABASE_URL": town.database_url}
        yes = await alice.run("space", "explain", bundle, **database)
        assert (yes.status, yes.out.splitlines()[-1]) == (0, "yes")
        assert "note: link 2 was issued by the root key of the space" in yes.out
        more = await alice.run("space", "explain", bundle, "--permission", "admin", **database)
        assert (more.status, more.out.splitlines()[-1]) == (9, "no: link 1: grants less than is needed")
        other = await alice.run("space", "explain", bundle, "--as", await alice.did(), **database)
        assert (other.status, other.out.splitlines()[-1]) == (9, "no: link 1: given to somebody else")
        await alice.run("space", "revoke", plans, "--bundle", bundle)
        no = await alice.run("space", "explain", bundle, **database)
        assert (no.status, no.out.splitlines()[-1]) == (9, "no: link 1: is revoked")
        assert "REVOKED" in no.out
        unknown = await alice.run("space", "explain", bundle, "--space", "0" * 32, **database)
        assert (unknown.status, unknown.out.splitlines()[-1]) == (9, "no: there is no such space")
        blind = await alice.run("space", "explain", bundle)
        assert (blind.status, blind.out.splitlines()[-1]) == (0, "yes, as far as could be checked")
        assert blind.out.count("not checked: ") == 2


async def test_wrong_use_has_its_exit_code_and_says_what_to_do(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans = await shared_folder(alice)
        bundle = await invite(alice, plans, bob)
        did = await bob.did()
        for words, text in (
            (("space", "create", plans), "is the folder of a shared space already"),
            (("space", "join", town.parent / "x", bundle), "made for another DID"),
            (("space", "join", town.parent / "x", bundle[:-9]), "the bundle is damaged"),
            (("space", "join", town.parent / "x", "hello"), "this is no bundle"),
            (("space", "invite-token", plans, "--to", "did:key:zQ"), "--to is not the did:key"),
            (("space", "invite-token", plans, "--to", did, "--expires", "soon"), "--expires"),
            (
                ("space", "invite-token", alice.folder("none"), "--to", did),
                "not the folder of a shared space",
            ),
            (("space", "revoke", plans, "--to", await alice.did()), "no token for that DID"),
            (("space", "revoke", plans), "give one of --cid, --bundle and --to"),
            (("space", "explain", "hello"), "this is no token of a space"),
        ):
            finished = await alice.run(*words)
            assert (finished.status, text in " ".join(finished.err.split())) == (2, True), finished.err
        personal = alice.folder("personal")
        (personal / "a").write_text("a")
        assert (await alice.run("push", personal)).status == 0
        taken = await alice.run("space", "create", personal)
        assert (taken.status, "synced with another space" in taken.err) == (2, True)
        stranger = await bob.run("pull", plans)
        assert (stranger.status, "joined by another person" in stranger.err) == (2, True)
    down = await alice.run("space", "create", alice.folder("later"))
    assert (down.status, "is it running?" in down.err) == (6, True)
    assert not (alice.folder("later") / ".less-sync" / "shared.json").exists()
