"""What the tests of backups begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bins.backup.source import CONTENTS, Source, filled


@pytest.fixture
async def source(database_url: str, tmp_path: Path) -> AsyncIterator[Source]:
    made = await filled(database_url, tmp_path)
    assert len(made.contents) == CONTENTS
    yield made
    await made.store.aclose()
