"""What tests of restores begin with."""

from pathlib import Path

import pytest

from tests.bins.restore.made import contents_of, fill, make_backup
from tests.bins.restore.restoring import Source


@pytest.fixture
async def source(database_url: str, tmp_path: Path) -> Source:
    contents = contents_of(await fill(database_url))
    return Source(database_url, contents, await make_backup(database_url, contents, tmp_path / "backup"))
