"""A town for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.sharing.people import Town


@pytest.fixture
async def town(tmp_path: Path, database_url: str) -> AsyncIterator[Town]:
    """A dev server's surroundings; whoever is still running at the end is killed."""
    made = Town(tmp_path, database_url)
    yield made
    await made.end()
