"""The keeper of the embedded Postgres: how often it tries, what ends it, and what it never does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgresError
from less_sync.bins.postgres.keeper import OwnPostgres, Pace

TIMEOUT_S = 10.0


class Scripted:
    """Stands in for the Postgres of a directory: each start does the next thing of a script.

    A number is for how many seconds of a clock of its own it runs before it ends with status 1, a text is
    why it does not start, and at the end of the script it runs for ever.
    """

    def __init__(self, data_dir: Path, script: list[float | str]) -> None:
        (data_dir / "postgres").mkdir(parents=True)
        self.script = script
        self.starts = 0
        self.open = 0
        self.now_s = 0.0
        self.url = "postgresql:///here"
        self.lasting = asyncio.Event()
        self._life_s: float | None = None

    @asynccontextmanager
    async def start(self, _data_dir: Path) -> "AsyncIterator[Scripted]":
        self.starts += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, str):
            raise EmbeddedPostgresError(step)
        self._life_s = step
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def wait(self) -> int:
        if self._life_s is None:
            self.lasting.set()
            await asyncio.Event().wait()
        else:
            self.now_s += self._life_s
        return 1

    def own(self, data_dir: Path, attempts: int) -> OwnPostgres:
        pace = Pace(pauses_s=(0.0,) * attempts, lasting_s=60.0, clock=lambda: self.now_s)
        return OwnPostgres(data_dir, start=self.start, pace=pace)


async def test_one_that_ended_is_started_again_and_failed_starts_are_tried_again(tmp_path: Path) -> None:
    postgres = Scripted(tmp_path, [1.0, "no room", "no room"])
    async with postgres.own(tmp_path, attempts=3) as own:
        keeper = asyncio.create_task(own.keep())
        await asyncio.wait_for(postgres.lasting.wait(), TIMEOUT_S)
        assert (postgres.starts, postgres.open) == (4, 1)
        keeper.cancel()
        await asyncio.wait({keeper})
    assert postgres.open == 0


@pytest.mark.parametrize(
    ("script", "starts", "reason"),
    [
        ([1.0, "no room", "no room", "no room"], 4, "after 3 attempts: no room"),
        ([1.0, 1.0, 1.0, 1.0], 4, "after 3 attempts: it ended with status 1"),
        ([1.0, "no room", 1.0, "no room"], 4, "after 3 attempts: no room"),
    ],
)
async def test_one_that_does_not_stay_is_given_up(
    script: list[float | str], starts: int, reason: str, tmp_path: Path
) -> None:
    postgres = Scripted(tmp_path, script)
    async with postgres.own(tmp_path, attempts=3) as own:
        with pytest.raises(EmbeddedPostgresError) as caught:
            await asyncio.wait_for(own.keep(), TIMEOUT_S)
        assert (postgres.starts, postgres.open) == (starts, 0)
    assert str(caught.value) == f"the embedded Postgres of {tmp_path} is given up {reason}"


async def test_one_that_lasted_a_minute_may_end_as_often_as_it_likes(tmp_path: Path) -> None:
    postgres = Scripted(tmp_path, [1.0, 1.0, 60.0, 1.0, 1.0, 60.0, 1.0, 1.0])
    async with postgres.own(tmp_path, attempts=3) as own:
        keeper = asyncio.create_task(own.keep())
        await asyncio.wait_for(postgres.lasting.wait(), TIMEOUT_S)
        assert postgres.starts == 9
        keeper.cancel()
        await asyncio.wait({keeper})


async def test_one_that_came_back_elsewhere_is_of_no_use(tmp_path: Path) -> None:
    postgres = Scripted(tmp_path, [1.0])
    async with postgres.own(tmp_path, attempts=3) as own:
        postgres.url = "postgresql:///elsewhere"
        with pytest.raises(EmbeddedPostgresError, match="came back at another address"):
            await asyncio.wait_for(own.keep(), TIMEOUT_S)


@pytest.mark.parametrize("replaced", [False, True])
async def test_no_empty_cluster_is_made_where_one_was_moved_away(replaced: bool, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    postgres = Scripted(data_dir, [1.0])
    async with postgres.own(data_dir, attempts=3) as own:
        data_dir.rename(tmp_path / "moved")
        if replaced:
            (data_dir / "postgres").mkdir(parents=True)
        with pytest.raises(EmbeddedPostgresError) as caught:
            await asyncio.wait_for(own.keep(), TIMEOUT_S)
    assert postgres.starts == 1
    assert data_dir.exists() == replaced
    assert str(caught.value) == (
        f"the data directory {data_dir} was moved away or replaced while the server ran; "
        "put it back and start the server again"
    )
