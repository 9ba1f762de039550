"""The life of a shared space by command: three clients, two people, one of them on two devices."""

import asyncio
import json
import signal
from pathlib import Path

from tests.client.sharing.people import TIMEOUT_S, Somebody, Town, eventually, files, line_with

QUICK = ("--interval", "0.05")


async def assert_shut_out(who: Somebody, folder: Path) -> None:
    for words in (
        ("pull", folder),
        ("push", folder),
        ("space", "members", folder),
        ("space", "presence", folder, "--once"),
        ("space", "send", "hello?", folder),
        ("space", "rotate", folder),
    ):
        refused = await who.run(*words)
        assert refused.status == 9, (words, refused.out, refused.err)


async def test_a_space_lives_through_invitation_presence_rotation_and_removal(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    laptop, phone, bobs = alice.folder("laptop"), town.parent / "alice-phone", town.parent / "bobs"
    async with town.server():
        assert (await alice.run("space", "create", laptop)).status == 0
        (laptop / "a.txt").write_text("a")
        assert (await alice.run("push", laptop)).status == 0

        # Invite and accept: bob, and alice's other device.
        for name in ("bob", "alice"):
            invited = await alice.run("space", "invite", laptop, "--to-user", name, "--permission", "admin")
            assert invited.status == 0, invited.err
        (waiting,) = await bob.told("space", "accept")
        assert waiting["event"] == "invitation"
        for who, folder in ((bob, bobs), (alice, phone)):
            accepted = await who.run("space", "accept", folder)
            assert (accepted.status, files(folder)) == (0, {"a.txt": "a"}), accepted.err
        assert [line["event"] for line in await bob.told("space", "accept")] == ["empty"]
        listed = await bob.told("space", "members", bobs)
        assert [(line["did"], line["you"]) for line in listed] == [
            (await alice.did(), False),
            (await bob.did(), True),
        ]

        # Write, everywhere at once.
        watches = [
            await who.start("watch", folder, *QUICK)
            for who, folder in ((alice, laptop), (alice, phone), (bob, bobs))
        ]
        for watch in watches:
            await line_with(watch, "watching")
        (bobs / "b.txt").write_text("b")
        await eventually(lambda: files(laptop) == files(phone) == files(bobs) == {"a.txt": "a", "b.txt": "b"})

        # Presence and a message.
        there = await alice.start("space", "presence", phone, "--say", "on the phone")
        listening = await bob.start("space", "presence", bobs, "--say", "at the desk")
        await line_with(listening, f"here: {await alice.did()}: on the phone")
        await line_with(there, f"here: {await bob.did()}: at the desk")
        there.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(there.wait(), TIMEOUT_S) == 0
        await line_with(listening, f"left: {await alice.did()}")
        assert (await alice.run("space", "send", "lunch?", laptop)).status == 0
        await line_with(listening, f"says: {await alice.did()}: lunch?")

        # A new key for all.
        (rotated,) = await bob.told("space", "rotate", bobs)
        assert (rotated["event"], rotated["epoch"]) == ("rotated", 2)
        (laptop / "c.txt").write_text("c")
        await eventually(lambda: files(phone).get("c.txt") == files(bobs).get("c.txt") == "c")

        # Bob is removed: his watch and his presence end, and he gets nothing any more.
        removed = await alice.run("space", "rotate", laptop, "--remove", await bob.did())
        assert removed.status == 0, removed.err
        for process in (watches[2], listening):
            await line_with(process, "your access to this shared space was revoked")
            assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 9
        (phone / "d.txt").write_text("d")
        await eventually(lambda: files(laptop).get("d.txt") == "d")
        await assert_shut_out(bob, bobs)
        assert sorted(files(bobs)) == ["a.txt", "b.txt", "c.txt"]
        assert [line["did"] for line in await alice.told("space", "members", laptop)] == [await alice.did()]
        assert files(laptop) == files(phone)
    assert _keys(laptop).keys() == _keys(phone).keys() == {"1", "2", "3"}
    assert _keys(bobs).keys() == {"1", "2"}
    assert _keys(laptop)["3"] not in _keys(bobs).values()


def _keys(folder: Path) -> dict[str, str]:

    keys: dict[str, str] = json.loads((folder / ".less-sync" / "shared.json").read_text())["keys"]
    return keys


async def test_who_comes_after_a_rotation_reads_all_of_it_and_a_reader_follows_too(town: Town) -> None:
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    plans, bobs, carols = alice.folder("plans"), town.parent / "bobs", town.parent / "carols"
    async with town.server():
        await alice.run("space", "create", plans)
        (plans / "a.txt").write_text("a")
        await alice.run("push", plans)
        bundle = (
            await alice.run("space", "invite-token", plans, "--to", await bob.did(), "--permission", "read")
        ).out
        assert (await bob.run("space", "join", bobs, bundle)).status == 0
        await alice.run("space", "rotate", plans)
        await alice.run("space", "invite", plans, "--to-user", "carol")
        await alice.run("space", "rotate", plans)
        (plans / "b.txt").write_text("b")
        await alice.run("push", plans)
        accepted = await carol.run("space", "accept", carols)
        assert (accepted.status, files(carols)) == (0, {"a.txt": "a", "b.txt": "b"}), accepted.err
        pulled = await bob.run("pull", bobs)
        assert (pulled.status, files(bobs)) == (0, {"a.txt": "a", "b.txt": "b"}), pulled.err


async def test_who_joined_by_a_token_gets_the_key_of_an_administrator_who_never_heard_of_them(
    town: Town,
) -> None:
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    plans, bobs, carols = alice.folder("plans"), town.parent / "bobs", town.parent / "carols"
    async with town.server():
        await alice.run("space", "create", plans)
        for who, folder, permission in ((bob, bobs, "write"), (carol, carols, "admin")):
            words = ("space", "invite-token", plans, "--to", await who.did(), "--permission", permission)
            assert (await who.run("space", "join", folder, (await alice.run(*words)).out)).status == 0
        assert (await carol.run("space", "rotate", carols)).status == 0
        (carols / "c.txt").write_text("c")
        assert (await carol.run("push", carols)).status == 0
        pulled = await bob.run("pull", bobs)
        assert (pulled.status, files(bobs)) == (0, {"c.txt": "c"}), pulled.err


async def test_who_is_many_files_and_a_key_behind_catches_up(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    plans, bobs = alice.folder("plans"), town.parent / "bobs"
    async with town.server():
        await alice.run("space", "create", plans)
        await alice.run("space", "invite", plans, "--to-user", "bob")
        assert (await bob.run("space", "accept", bobs)).status == 0
        for number in range(100):
            (plans / f"{number}.txt").write_text(str(number))
        assert (await alice.run("push", plans)).status == 0
        assert (await alice.run("space", "rotate", plans)).status == 0
        pulled = await bob.run("pull", bobs)
        assert (pulled.status, files(bobs)) == (0, files(plans)), pulled.err


async def test_sharing_commands_refuse_wrong_use_in_words(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    plans, bobs = alice.folder("plans"), town.parent / "bobs"
    async with town.server():
        await alice.run("space", "create", plans)
        await alice.run("space", "invite", plans, "--to-user", "bob")
        await alice.run("space", "create", alice.folder("other"))
        await alice.run("space", "invite", alice.folder("other"), "--to-user", "bob")
        ids = [line["id"] for line in await bob.told("space", "accept")]
        for who, words, text in (
            (bob, ("space", "accept", bobs), "invitations to several spaces wait"),
            (bob, ("space", "accept", bobs, "--id", "0" * 32), "no such invitation waits"),
            (alice, ("space", "accept", bobs), "no such invitation waits"),
            (alice, ("space", "rotate", plans, "--remove", await alice.did()), "you cannot remove yourself"),
            (alice, ("space", "rotate", plans, "--remove", "bob"), "--remove is not the did:key"),
            (alice, ("space", "invite", plans, "--to", "x"), "give --to and --mailbox, or --to-user"),
            (alice, ("space", "send", "x" * 5000, plans), "the text is too long by"),
        ):
            finished = await who.run(*words)
            assert (finished.status, text in " ".join(finished.err.split())) == (2, True), finished.err
        assert (await bob.run("space", "accept", bobs, "--id", ids[0])).status == 0
        rotating = await bob.run("space", "rotate", bobs)
        assert (rotating.status, "only who administers" in rotating.err) == (2, True)
