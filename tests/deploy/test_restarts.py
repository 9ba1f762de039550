"""Each part restarted under load: what clients see, and that nothing is lost or doubled."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.restarts import DEVICES, HEADINGS, RESTARTS, World, restarted, world

ROOT: Final = Path(__file__).parents[2]
UNHEARD: Final = {"internal", "ConnectionLost"}
"""How requests end whose outcome the client cannot know."""
LOST: Final[dict[str, dict[str, int]]] = {
    "server, SIGTERM": {"1001": DEVICES},
    "server, `kill -9`": {"1006": DEVICES},
    "Postgres, fast shutdown": {},
    "Postgres, `kill -9`": {},
    "nginx, stop and start": {"1006": DEVICES},
    "nginx, reload": {},
}


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


@pytest.mark.parametrize("part", RESTARTS)
async def test_a_restart_under_load_loses_and_doubles_nothing_that_was_acknowledged(
    made: World, part: str
) -> None:
    seen = await restarted(made, RESTARTS[part])
    assert seen.lost == LOST[part]
    assert set(seen.errors) <= UNHEARD
    assert seen.errors["internal"] == 0 or part.startswith("Postgres")
    assert seen.pushed >= DEVICES


def test_the_page_shows_each_restart() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert f"| {' | '.join(HEADINGS)} |" in page
    shown = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}
    assert shown.keys() >= RESTARTS.keys()
