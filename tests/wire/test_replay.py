"""Every recorded conversation, replayed byte for byte on real sockets, with a database of its own each."""

from pathlib import Path

import pytest

from tests.wire.replay import replay
from tests.wire.scenario import load
from tests.wire.served import served

VECTORS = load()


@pytest.mark.parametrize("name", VECTORS.scenarios)
async def test_scenario_replays_byte_for_byte(name: str, database_url: str, tmp_path: Path) -> None:
    scenario = VECTORS.scenarios[name]
    async with served(scenario, VECTORS, database_url, tmp_path) as target:
        await replay(scenario, target)
