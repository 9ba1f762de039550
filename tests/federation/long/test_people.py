"""People with accounts on different servers share a folder, by command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.client.sharing.people import TIMEOUT_S, Somebody, Town, eventually, files, line_with
from tests.federation.rig import Node, Rig, rig
from tests.live import Person

QUICK = ("--interval", "0.05")
AT_HOME_ALONE = "this is done at the home of the space, which is another server than yours"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Resident(Somebody):
    """A user of one of the servers, with a token and a key of their own."""

    node: Node
    token: str
    key_file: Path

    def environment(self) -> dict[str, str]:
        return {
            "LESS_SYNC_SERVER": f"http://{self.node.host}:{self.node.port}",
            "LESS_SYNC_TOKEN": self.token,
            "LESS_SYNC_DID_KEY_FILE": str(self.key_file),
            "XDG_CONFIG_HOME": str(self.town.parent / f"{self.name}.config"),
        }


def resident(town: Town, name: str, node: Node) -> Resident:
    person, key_file = Person(name), town.parent / f"{name}.pem"
    key_file.write_bytes(person.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o600)
    return Resident(town, name, node, node.token(name, did=person.did), key_file)


@dataclass(frozen=True)
class Shared:
    """A folder of alice's, whose server is the home of its space, and bob's, at the edge."""

    rig: Rig
    alice: Resident
    bob: Resident
    plans: Path
    bobs: Path


@asynccontextmanager
async def shared(
    databases: list[str], parent: Path, settings: dict[str, dict[str, str]] | None = None
) -> AsyncIterator[Shared]:
    """Alice has invited bob to administer, from server to server, and he has accepted."""
    town = Town(parent, "")
    async with rig(databases, settings=settings or {}) as r:
        try:
            alice, bob = resident(town, "alice", r.home), resident(town, "bob", r.edge1)
            plans, bobs = alice.folder("plans"), parent / "bobs"
            (plans / "a.txt").write_text("a")
            assert (await alice.run("space", "create", plans)).status == 0
            assert (await alice.run("push", plans)).status == 0
            address = (await bob.run("space", "address")).out.split()
            words = ("--at", "edge1.test", "--home", "home.test", "--permission", "admin")
            (invited,) = await alice.told("space", "invite", plans, *address, *words)
            assert (invited["at"], invited["home"], invited["id"]) == ("edge1.test", "home.test", "forwarded")
            (waiting,) = await bob.told("space", "accept")
            assert (waiting["event"], waiting["home"]) == ("invitation", "home.test")
            accepted = await bob.run("space", "accept", bobs)
            assert (accepted.status, files(bobs)) == (0, {"a.txt": "a"}), accepted.err
            yield Shared(r, alice, bob, plans, bobs)
        finally:
            await town.end()


async def test_a_folder_is_shared_across_servers_until_one_is_removed(
    databases: list[str], tmp_path: Path
) -> None:
    async with shared(databases, tmp_path) as s:
        alice, bob, plans, bobs = s.alice, s.bob, s.plans, s.bobs
        assert [line["you"] for line in await bob.told("space", "members", bobs)] == [False, True]
        watches = [await who.start("watch", folder, *QUICK) for who, folder in ((alice, plans), (bob, bobs))]
        for watch in watches:
            await line_with(watch, "watching")
        (bobs / "b.txt").write_text("b")
        (plans / "c.txt").write_text("c")
        await eventually(lambda: files(plans) == files(bobs) == {"a.txt": "a", "b.txt": "b", "c.txt": "c"})

        # A new key reaches who is elsewhere.
        assert (await alice.run("space", "rotate", plans)).status == 0
        (plans / "d.txt").write_text("d")
        await eventually(lambda: files(bobs).get("d.txt") == "d")
        (bobs / "e.txt").write_text("e")
        await eventually(lambda: files(plans).get("e.txt") == "e")

        # Who is removed at the home hears no more at the edge.
        removed = await alice.run("space", "rotate", plans, "--remove", await bob.did())
        assert removed.status == 0, removed.err
        await line_with(watches[1], "your access to this shared space was revoked")
        assert await asyncio.wait_for(watches[1].wait(), TIMEOUT_S) == 9
        (plans / "f.txt").write_text("f")
        assert (await bob.run("pull", bobs)).status == 9
        assert sorted(files(bobs)) == ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"]


async def test_what_only_the_home_does_is_said_and_leaves_the_folder_as_it_was(
    databases: list[str], tmp_path: Path
) -> None:
    stores = {
        name: {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(tmp_path / name)}
        for name in ("home", "edge1")
    }
    async with shared(databases, tmp_path, stores) as s:
        bob, bobs = s.bob, s.bobs
        before = (bobs / ".less-sync" / "shared.json").read_bytes()
        for words in (
            ("invite", bobs, "--to", await s.alice.did(), "--mailbox", "0" * 64),
            ("rotate", bobs),
            ("rotate", bobs, "--remove", await s.alice.did()),
            ("revoke", bobs, "--cid", "00" * 32),
        ):
            told = await bob.run("space", *words)
            assert (told.status, AT_HOME_ALONE in told.err) == (1, True), (words, told.err)
            assert (bobs / ".less-sync" / "shared.json").read_bytes() == before
        (bobs / "large").write_bytes(bytes(5 * MIB))
        (bobs / "b.txt").write_text("b")
        pushed = await bob.run("push", bobs)
        assert (pushed.status, "pushed: b.txt" in pushed.out) == (3, True), pushed.err
        assert "your server does not pass it on between you and the space's home" in pushed.err
        records = await s.rig.home.sql("SELECT id FROM records")
        assert (len(records), await s.rig.edge1.sql("SELECT id FROM records")) == (2, [])


async def test_what_is_written_while_the_home_is_away_comes_there_once_it_is_back(
    databases: list[str], tmp_path: Path
) -> None:
    async with shared(databases, tmp_path) as s:
        watch = await s.bob.start("watch", s.bobs, *QUICK)
        await line_with(watch, "watching")
        await s.rig.home.stop()
        (s.bobs / "b.txt").write_text("b")
        await line_with(watch, "trying again")
        await s.rig.start(s.rig.home)
        await line_with(watch, "pushed: b.txt")
        # It listens at another port now, which a folder takes for another server.
        pulled = await s.alice.run("pull", s.plans, "--yes")
        assert (pulled.status, files(s.plans)) == (0, {"a.txt": "a", "b.txt": "b"}), pulled.err
        (s.plans / "c.txt").write_text("c")
        assert (await s.alice.run("push", s.plans)).status == 0
        await eventually(lambda: files(s.bobs).get("c.txt") == "c")
