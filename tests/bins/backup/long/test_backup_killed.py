"""A backup that is killed before any of its steps on the disk goes on, and is whole in the end."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.bins.backup.manifest import finished_backups
from tests.bins.backup.source import Source, assert_whole, filled
from tests.wire.command import ROOT

KILLED = -9
STRIDE = 3
"""Every third step is tried: there are nine kinds of them, and each comes often."""


@pytest.fixture
async def source(database_url: str, tmp_path: Path) -> AsyncIterator[Source]:
    made = await filled(database_url, tmp_path)
    yield made
    await made.store.aclose()


async def child(source: Source, step: int) -> tuple[int, str]:
    """Make a backup in a process that is killed before this step; its status and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bins.backup.killed", str(step), source.url),
        *(str(source.data_dir), str(source.data_dir.parent / "files")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("before", [False, True], ids=["the first", "one with a backup before it"])
async def test_a_backup_that_is_killed_anywhere_goes_on(source: Source, before: bool) -> None:
    backups = source.data_dir / "backups"
    if before:
        await source.take()
    status, out = await child(source, 0)
    assert status == 0
    steps = int(out)
    assert steps > 40
    for step in range(1, steps + 1, STRIDE):
        for folder in await asyncio.to_thread(lambda: sorted(backups.iterdir())[int(before) :]):
            shutil.rmtree(folder)
        assert (await child(source, step))[0] == KILLED
        left = await asyncio.to_thread(lambda: [path for path, _ in finished_backups(backups)])
        taken = await source.take()
        if len(left) == int(before):  # it was not finished, and the same folder is now
            assert len(list(backups.iterdir())) == 1 + int(before)
        await assert_whole(source, taken)
