"""Commands and the client in JavaScript at a dev server: who has which makes no difference."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from less_sync.auth import encode_did_key
from less_sync.bins.dev import DevIssuer, dev_mailbox_id
from less_sync.client.sharing.person import Person
from tests.client.sharing.people import TIMEOUT_S, Somebody, Town, files, line_with
from tests.js.persons import NodePerson, Refusal, node_person


@pytest.fixture
async def town(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> AsyncIterator[Town]:
    made = Town(tmp_path_factory.mktemp("town"), database_url)
    yield made
    await made.end()


@asynccontextmanager
async def in_node(who: Somebody, name: str) -> AsyncIterator[NodePerson]:
    """A user of the dev server with the JavaScript client, and a folder for what it keeps."""
    issuer = DevIssuer(who.town.data_dir)
    key = issuer.user_key(who.name)
    person = Person(key, encode_did_key(key.public_key()))
    async with node_person(
        who.town.port, issuer.mint(who.name, now=datetime.now(UTC)), person, who.folder(name)
    ) as made:
        yield made


def address(who: Somebody) -> dict[str, str]:
    """DID and mailbox, as an app's own backend would know them."""
    issuer = DevIssuer(who.town.data_dir)
    return {
        "did": encode_did_key(issuer.user_key(who.name).public_key()),
        "mailbox": dev_mailbox_id(who.name),
    }


async def test_who_is_invited_from_javascript_joins_with_a_folder_and_is_removed_by_a_rotation(
    town: Town,
) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    folder = bob.folder("bobs")
    async with town.server(), in_node(alice, "app") as app:
        space = await app.ask("create")
        await app.ask("write", path="from-js.txt")
        await app.ask("invite", **address(bob))
        (waiting,) = await bob.told("space", "accept")
        assert waiting["space"] == space
        assert (await bob.run("space", "accept", folder)).status == 0
        assert files(folder) == {"from-js.txt": "from-js.txt"}
        (folder / "from-py.txt").write_text("hello")
        assert (await bob.run("push", folder)).status == 0
        assert ["from-py.txt", "hello"] in await app.ask("read")
        listed = [line["did"] for line in await bob.told("space", "members", folder)]
        told = await app.ask("members")
        assert listed == [one["did"] for one in told["members"]]

        # A new key reaches the folder; the next one is not for it.
        assert (await app.ask("rotate"))["epoch"] == 2
        await app.ask("write", path="second.txt")
        assert (await bob.run("pull", folder)).status == 0
        assert files(folder).keys() == {"from-js.txt", "from-py.txt", "second.txt"}
        watch = await bob.start("watch", folder, "--interval", "0.05")
        await line_with(watch, "watching")
        assert (await app.ask("rotate", remove=[await bob.did()]))["epoch"] == 3
        await line_with(watch, "your access to this shared space was revoked")
        assert await watch.wait() == 9
        await app.ask("write", path="third.txt")
        assert (await bob.run("pull", folder)).status == 9
        assert "third.txt" not in files(folder)
    kept = json.loads((folder / ".less-sync" / "shared.json").read_bytes())
    assert kept["keys"].keys() == {"1", "2"}


@pytest.mark.parametrize("way", ["mailbox", "bundle"])
async def test_who_is_invited_by_command_joins_from_javascript_reads_writes_and_is_revoked(
    town: Town, way: str
) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    folder = alice.folder("plans")
    async with town.server(), in_node(bob, "app") as app:
        assert (await alice.run("space", "create", folder)).status == 0
        (folder / "a.txt").write_text("a")
        assert (await alice.run("push", folder)).status == 0
        if way == "mailbox":
            invited = await alice.run("space", "invite", folder, "--to-user", "bob", "--permission", "admin")
            assert invited.status == 0, invited.err
            assert await app.ask("accept") is not None
            assert await app.ask("mailbox") == []
        else:
            made = await alice.run(
                "space", "invite-token", folder, "--to", await bob.did(), "--permission", "admin"
            )
            assert await app.ask("join", bundle=made.out) is True
        assert await app.ask("read") == [["a.txt", "a"]]
        await app.ask("write", path="b.txt")
        assert (await alice.run("pull", folder)).status == 0
        assert files(folder) == {"a.txt": "a", "b.txt": "b.txt"}

        # An administrator in JavaScript gives a new key, one by command the next; both go on.
        assert (await app.ask("rotate"))["epoch"] == 2
        (folder / "c.txt").write_text("c")
        assert (await alice.run("push", folder)).status == 0
        assert (await alice.run("space", "rotate", folder)).status == 0
        assert await app.ask("learn") == [3, None]
        assert [path for path, _ in await app.ask("read")] == ["a.txt", "b.txt", "c.txt"]
        await app.ask("write", path="d.txt")
        assert (await alice.run("pull", folder)).status == 0
        assert (folder / "d.txt").exists()
        revoked = await alice.run("space", "revoke", folder, "--to", await bob.did())
        assert revoked.status == 0, revoked.err
        with pytest.raises(Refusal, match="forbidden"):
            await app.ask("members")


async def test_what_javascript_lets_in_a_folder_can_revoke_and_the_other_way_round(town: Town) -> None:
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    folder = carol.folder("carols")
    async with town.server(), in_node(alice, "app") as app:
        await app.ask("create")
        bundle = await app.ask("invite_token", did=await carol.did(), permission="admin")
        assert (await carol.run("space", "join", folder, bundle)).status == 0
        # Carol lets Bob in by command; Alice removes Carol, and Bob goes with her.
        made = await carol.run("space", "invite-token", folder, "--to", await bob.did())
        async with in_node(bob, "app") as other:
            assert await other.ask("join", bundle=made.out) is True
            assert len((await app.ask("members"))["members"]) == 3
            await app.ask("revoke", did=await carol.did())
            with pytest.raises(Refusal, match="forbidden"):
                await other.ask("members")
        assert (await carol.run("space", "members", folder)).status == 9
        assert [one["you"] for one in (await app.ask("members"))["members"]] == [True]


async def test_both_see_who_is_there_and_what_they_say(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    folder = bob.folder("bobs")
    async with town.server(), in_node(alice, "app") as app:
        await app.ask("create")
        bundle = await app.ask("invite_token", did=await bob.did(), permission="admin")
        assert (await bob.run("space", "join", folder, bundle)).status == 0
        there = await bob.start("space", "presence", folder, "--say", "by command")
        await app.ask("present", text="in an app")
        await line_with(there, f"here: {await alice.did()}: in an app")
        await app.ask("send", text="hello")
        await line_with(there, f"says: {await alice.did()}: hello")
        assert (await bob.run("space", "send", "lunch?", folder)).status == 0

        async def heard(*wanted: str) -> None:
            async with asyncio.timeout(TIMEOUT_S):
                while [*wanted] not in await app.ask("heard"):  # noqa: ASYNC110  # asked, not told
                    await asyncio.sleep(0.02)

        await heard("here", await bob.did(), "by command")
        await heard("event", await bob.did(), "lunch?")
        # With a new key, too: whoever is there goes on seeing the others.
        assert (await bob.run("space", "rotate", folder)).status == 0
        await app.ask("learn")
        await app.ask("send", text="with a new key")
        await line_with(there, f"says: {await alice.did()}: with a new key")
        there.send_signal(signal.SIGINT)
        await heard("left", await bob.did(), "by command")
