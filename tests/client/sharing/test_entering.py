"""What a folder has of a space is not lost by entering it again; its maker gets back in by the root key."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from less_sync.auth import Permission, ucan_cid
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.shared import SharedFile, SharedSpace, grant_of
from less_sync.client.sharing.bundle import make_bundle, open_bundle
from less_sync.client.sharing.entering import enter
from less_sync.client.sharing.session import Output
from tests.client.sharing.members import founder, new_person, ucan
from tests.client.sharing.people import Somebody, Town, files


def shared_json(folder: Path) -> bytes:
    return (folder / ".less-sync" / "shared.json").read_bytes()


def kept_beside(folder: Path) -> list[Path]:
    return sorted((folder / ".less-sync").glob("shared.*.json"))


async def created(alice: Somebody) -> tuple[Path, dict[str, Any]]:
    folder = alice.folder("plans")
    (told,) = await alice.told("space", "create", folder)
    (folder / "a.txt").write_text("a")
    assert (await alice.run("push", folder)).status == 0
    return folder, told


async def bundle(by: Somebody, folder: Path, whom: Somebody, *more: str) -> str:
    made = await by.run("space", "invite-token", folder, "--to", await whom.did(), *more)
    return made.out.strip()


async def test_joining_takes_no_better_access_away_without_being_told_to(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans, _ = await created(alice)
        before = shared_json(plans)
        bobs = await bundle(alice, plans, bob)
        weaker = await bundle(alice, plans, alice, "--permission", "read", "--expires", "3650d")
        shorter = await bundle(alice, plans, alice, "--permission", "admin", "--expires", "30d")
        before = shared_json(plans)
        for who, text, told in (
            (bob, bobs, "by the access of somebody else"),
            (alice, weaker, "this folder's access is better: admin, until "),
            (alice, shorter, "this folder's access is better: admin, until "),
        ):
            refused = await who.run("space", "join", plans, text)
            assert (refused.status, told in refused.err, "--force" in refused.err) == (2, True, True)
        await alice.run("space", "invite", plans, "--to-user", "alice")
        before = shared_json(plans)
        refused = await alice.run("space", "accept", plans)
        assert (refused.status, "access is better" in refused.err) == (2, True)
        assert shared_json(plans) == before
        assert kept_beside(plans) == []

        forced = await alice.run("space", "accept", plans, "--force")
        assert forced.status == 0, forced.err
        (kept,) = kept_beside(plans)
        assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (before, 0o600)
        assert f"the folder's former access is kept in {kept}" in forced.err
        forced = await bob.run("space", "join", plans, bobs, "--force")
        assert forced.status == 0, forced.err
        shared = SharedFile(plans).load()
        assert shared is not None
        assert (grant_of(shared.ucan).audience, shared.delegated) == (await bob.did(), ())
        assert len(kept_beside(plans)) == 2


def test_a_token_from_another_root_key_is_not_taken_for_a_better_one(tmp_path: Path) -> None:
    alice = founder(tmp_path)
    impostor, space = new_person(), alice.shared.space
    theirs = ucan(space, impostor, impostor, Permission.ADMIN, life_s=90_000)
    forged = ucan(space, impostor, alice.person, Permission.ADMIN, theirs, life_s=80_000)
    made = make_bundle(forged, SharedSpace(space=space, ucan=forged, keys={1: bytes(32)}), impostor)
    bundle = open_bundle(made, alice.person)
    folder, before = tmp_path / "alice", alice.shared
    with pytest.raises(UsageProblem, match="comes from another root key"):
        enter(alice.person, folder, bundle, Output(as_json=True), force=False)
    assert alice.shared == before
    enter(alice.person, folder, bundle, Output(as_json=True), force=True)
    assert (alice.shared.ucan, alice.shared.keys) == (forged, before.keys)
    assert alice.file.kept() == [before]


async def test_what_gives_as_much_for_as_long_is_taken_over_and_so_is_all_when_nothing_is_left(
    town: Town,
) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    theirs = town.parent / "theirs"
    async with town.server():
        plans, _ = await created(alice)
        first = await bundle(alice, plans, bob, "--permission", "read", "--expires", "10d")
        longer = await bundle(alice, plans, bob, "--permission", "read", "--expires", "20d")
        stronger = await bundle(alice, plans, bob, "--permission", "write", "--expires", "20d")
        for text in (first, first, longer, stronger):
            joined = await bob.run("space", "join", theirs, text)
            assert (joined.status, files(theirs)) == (0, {"a.txt": "a"}), joined.err
        assert len(kept_beside(theirs)) == 2
        brief = await bundle(alice, plans, bob, "--permission", "admin", "--expires", "2s")
        assert (await bob.run("space", "join", theirs, brief, "--force")).status == 0
        while (await bob.run("pull", theirs)).status != 9:
            pass
        joined = await bob.run("space", "join", theirs, first)
        assert joined.status == 0, joined.err


async def test_who_made_a_space_gets_back_in_after_another_took_the_folder_over(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    async with town.server():
        plans, made = await created(alice)
        text = await bundle(alice, plans, bob)
        assert (await bob.run("space", "join", plans, text, "--force")).status == 0
        assert (await alice.run("pull", plans)).status == 2
        (told,) = await alice.told("space", "recover", plans)
        assert (told["event"], told["permission"], told["space"]) == ("recovered", "admin", made["space"])
        # What was handed out from here can be taken back again.
        revoked = await alice.run("space", "revoke", plans, "--to", await bob.did())
        assert revoked.status == 0, revoked.err
        # A folder whose file is lost has what was kept beside.
        (plans / ".less-sync" / "shared.json").unlink()
        assert (await alice.run("space", "recover", plans)).status == 0
        assert (await alice.run("push", plans)).status == 0


async def test_who_made_a_space_gets_back_in_after_an_administrator_threw_them_out(town: Town) -> None:
    alice, mallory = town.person("alice"), town.person("mallory")
    theirs = town.parent / "theirs"
    async with town.server():
        plans, _ = await created(alice)
        await alice.run("space", "invite", plans, "--to-user", "mallory", "--permission", "admin")
        assert (await mallory.run("space", "accept", theirs)).status == 0
        shared = SharedFile(plans).load()
        assert shared is not None
        # All that was made from it goes with it, mallory's own token too.
        await mallory.run("space", "revoke", theirs, "--cid", ucan_cid(shared.ucan))
        for who, folder in ((alice, plans), (mallory, theirs)):
            assert (await who.run("pull", folder)).status == 9
        assert (await alice.run("space", "recover", plans)).status == 0
        removed = await alice.run("space", "rotate", plans, "--remove", await mallory.did())
        assert removed.status == 0, removed.err
        (plans / "b.txt").write_text("b")
        assert (await alice.run("push", plans)).status == 0
        assert [line["did"] for line in await alice.told("space", "members", plans)] == [await alice.did()]
        assert (await mallory.run("pull", theirs)).status == 9


async def test_recover_says_what_it_lacks(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    new = alice.folder("new")
    async with town.server():
        plans, made = await created(alice)
        root = Path(made["root_key_file"])
        (other,) = await alice.told("space", "create", alice.folder("other"))
        foreign = ("--root-key", other["root_key_file"])
        theirs = town.parent / "theirs"
        await bob.run("space", "join", theirs, await bundle(alice, plans, bob))
        lacks: list[tuple[Somebody, Path, tuple[str | Path, ...], str]] = [
            (alice, new, (), "has no keys of a shared space, and a root key opens nothing"),
            (alice, plans, foreign, f"is not the root key of space {made['space']}"),
            (alice, plans, ("--root-key", new / "none.pem"), "there is no root key"),
            (bob, theirs, (), "there is no root key"),
        ]
        for who, folder, more, told in lacks:
            refused = await who.run("space", "recover", folder, *more)
            assert (refused.status, told in refused.err) == (2, True), refused.err
            assert not (new / "none.pem").exists()
        # A new folder that was let in for reading has the keys.
        reads = await bundle(alice, plans, alice, "--permission", "read")
        assert (await alice.run("space", "join", new, reads)).status == 0
        moved = shutil.move(root, town.parent / "elsewhere.pem")
        assert (await alice.run("space", "recover", new)).status == 2
        assert (await alice.run("space", "recover", new, "--root-key", moved)).status == 0
        (new / "b.txt").write_text("b")
        assert (await alice.run("push", new)).status == 0
        listed = await bob.told("space", "members", theirs)
    assert [line["permission"] for line in listed if line["did"] == await alice.did()] == ["admin"]
    # Without a server it is done all the same, and the others hear of it later.
    alone = await alice.run("space", "recover", new, "--root-key", moved)
    assert (alone.status, "the other members could not be told" in alone.err) == (0, True)
    assert json.loads(shared_json(new))["space"] == made["space"]
