"""Those who keep count of what servers lose would notice it."""

import pytest

from tests.federation.rig import Node, change, rig
from tests.federation.witnesses import Writer, undisturbed, written_once
from tests.integration.waiting import until
from tests.live import Person

PUSHES = 7


async def test_what_was_acknowledged_and_is_not_there_is_noticed(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r, undisturbed(r.home):
        shared, one = await r.share(r.home), Person("one")
        writer = await Writer.at(r.home, one, shared, 1)
        for _ in range(PUSHES):
            await writer.push()
        await written_once(r.home, shared, [writer])
        assert len(writer.acknowledged) == PUSHES - PUSHES // 3
        lost = list(writer.acknowledged)[2]
        await r.home.sql("DELETE FROM records WHERE id = $1", lost)
        with pytest.raises(AssertionError):
            await written_once(r.home, shared, [writer])


async def test_what_was_written_twice_is_noticed(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r:
        shared, one = await r.share(r.home), Person("one")
        writer = await Writer.at(r.home, one, shared, 1)
        await writer.push()
        ((id, (cursor, blob)),) = writer.acknowledged.items()
        await writer.client.push(
            change(blob, id=id, expected_cursor=cursor), space=shared.id, ucan=writer.ucan
        )
        with pytest.raises(AssertionError):
            await written_once(r.home, shared, [writer])


async def test_a_bystander_who_is_cut_off_is_noticed(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r:
        with pytest.raises(AssertionError, match=r"Dropped|connection is closed"):
            await kill_at_work(r.home)


async def kill_at_work(node: Node) -> None:
    """Kill a server when its bystander has written something."""

    async def written() -> bool:
        return bool(await node.sql("SELECT FROM records"))

    async with undisturbed(node):
        await until(written)
        await node.kill()
