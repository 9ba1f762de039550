"""Large files in a shared space: read by all who are let in, over rotations of its key."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.client.sharing.people import Town, eventually

MIB = 1024 * 1024


@pytest.fixture
async def town(tmp_path: Path, database_url: str) -> AsyncIterator[Town]:
    made = Town(tmp_path, database_url)
    yield made
    await made.end()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def stored(town: Town) -> int:
    return sum(path.is_file() for path in (town.data_dir / "files").rglob("spaces/*/files/*"))


async def test_who_comes_after_a_rotation_reads_large_files_from_before_it(town: Town) -> None:
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    plans, bobs, carols = alice.folder("plans"), town.parent / "bobs", town.parent / "carols"
    async with town.server():
        await alice.run("space", "create", plans)
        (plans / "old").write_bytes(os.urandom(2 * MIB))
        assert (await alice.run("push", plans)).status == 0
        words = ("space", "invite-token", plans, "--to", await bob.did(), "--permission", "read")
        joined = await bob.run("space", "join", bobs, (await alice.run(*words)).out)
        assert (joined.status, contents(bobs)) == (0, contents(plans)), joined.err
        await alice.run("space", "invite", plans, "--to-user", "carol")
        assert (await alice.run("space", "rotate", plans)).status == 0
        (plans / "new").write_bytes(os.urandom(MIB))
        assert (await alice.run("push", plans)).status == 0
        accepted = await carol.run("space", "accept", carols)
        assert (accepted.status, contents(carols)) == (0, contents(plans)), accepted.err
        pulled = await bob.run("pull", bobs)
        assert (pulled.status, contents(bobs)) == (0, contents(plans)), pulled.err
        (carols / "old").write_bytes(os.urandom(MIB))  # of alice's, under the key before
        assert (await carol.run("push", carols)).status == 0
        await alice.run("pull", plans)
        assert contents(plans) == contents(carols)
        await eventually(lambda: stored(town) == 2)
        removed = await alice.run("space", "rotate", plans, "--remove", await bob.did())
        assert removed.status == 0, removed.err
        assert (await bob.run("pull", bobs)).status == 9
        (bobs / "old").unlink()
        assert (await bob.run("push", bobs)).status in (2, 9)


async def epochs(town: Town) -> list[int]:
    """The epoch that the key of each stored part is wrapped for."""
    connection = await asyncpg.connect(town.database_url)
    try:
        rows = await connection.fetch("SELECT wrapped_dek FROM files")
    finally:
        await connection.close()
    return sorted(int.from_bytes(row["wrapped_dek"][:4], "big") for row in rows)


async def test_what_is_sent_after_a_removal_has_keys_that_who_was_removed_cannot_open(town: Town) -> None:
    parts = 32
    town.settings["MAX_FILE_SIZE"] = str(2 * MIB)
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    plans, bobs = alice.folder("plans"), town.parent / "bobs"
    async with town.server():
        await alice.run("space", "create", plans)
        words = ("space", "invite-token", plans, "--permission", "write", "--to")
        assert (
            await bob.run("space", "join", bobs, (await alice.run(*words, await bob.did())).out)
        ).status == 0
        await alice.run(*words, await carol.did())
        (bobs / "film").write_bytes(os.urandom(parts * MIB))
        push = await bob.start("push", bobs)
        await eventually(lambda: stored(town) >= 2)
        push.send_signal(signal.SIGSTOP)
        before = stored(town)
        removed = await alice.run("space", "rotate", plans, "--remove", await carol.did())
        assert removed.status == 0, removed.err
        push.send_signal(signal.SIGCONT)
        assert await push.wait() == 0
        found = await epochs(town)
        assert (len(found), before < parts // 2) == (parts, True)
        assert found.count(1) <= 1  # the one that was on its way
        assert (await alice.run("pull", plans)).status == 0
    assert contents(plans) == contents(bobs)
