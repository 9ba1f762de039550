"""Every recorded conversation, replayed byte for byte on real sockets, with a database of its own each."""

from pathlib import Path

import pytest

from tests.wire.not_served import NOT_SERVED
from tests.wire.replay import Mismatch, replay
from tests.wire.scenario import load
from tests.wire.served import served

VECTORS = load()
PATIENCE_NOT_SERVED_S = 2.0
"""How long a scenario of the list waits for what the server does not send."""


def test_the_list_names_existing_scenarios() -> None:
    assert set(VECTORS.scenarios) >= NOT_SERVED


@pytest.mark.parametrize("name", VECTORS.scenarios)
async def test_scenario_replays_byte_for_byte_or_is_on_the_list(
    name: str, database_url: str, tmp_path: Path
) -> None:
    scenario = VECTORS.scenarios[name]
    async with served(scenario, VECTORS, database_url, tmp_path) as target:
        if name not in NOT_SERVED:
            await replay(scenario, target)
            return
        with pytest.raises(Mismatch):  # passes now? Take it off the list in not_served.py
            await replay(scenario, target, patience_s=PATIENCE_NOT_SERVED_S)
