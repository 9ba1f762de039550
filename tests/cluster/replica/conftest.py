"""One Postgres and one standby for all tests of a module; each works with spaces of its own."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.migrations import migrate_up
from tests.cluster.replica.rig import Rig, rig
from tests.conftest import _scratch
from tests.standby import primary_of, standby_of


@dataclass(frozen=True, slots=True)
class Streaming:
    """Both, running."""

    folder: Path
    primary: EmbeddedPostgres
    standby: EmbeddedPostgres


@pytest.fixture(scope="module")
def streaming() -> Iterator[Streaming]:
    """A migrated Postgres and its standby."""
    with (
        tempfile.TemporaryDirectory(prefix="less-sync-test-", dir=_scratch()) as name,
        asyncio.Runner() as runner,
    ):
        folder = Path(name)
        primary = primary_of(folder / "primary")
        runner.run(primary.__aenter__())
        try:
            runner.run(migrate_up(primary.url))
            standby = standby_of(primary, folder / "standby")
            runner.run(standby.__aenter__())
            try:
                yield Streaming(folder, primary, standby)
            finally:
                runner.run(standby.__aexit__(None, None, None))
        finally:
            runner.run(primary.__aexit__(None, None, None))


@pytest.fixture
async def r(streaming: Streaming) -> AsyncIterator[Rig]:
    """Pulls with that standby, which is known and has everything."""
    async with rig(streaming.primary.url, [streaming.standby.url]) as made:
        await made.pair.resume()
        await made.ready()
        yield made
        await made.pair.resume()
