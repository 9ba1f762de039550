"""As tests/js/test_logs.py, for five hundred longer logs."""

import pytest

from tests.client.sharing.random_logs import random_log
from tests.js.logs import check_same


@pytest.mark.parametrize("block", range(1, 6))
async def test_both_clients_come_to_the_same_end_for_many_random_logs(block: int) -> None:
    seeds = range(block * 1000, block * 1000 + 100)
    counted = await check_same({seed: random_log(seed, entries_max=30) for seed in seeds})
    assert counted["counted"] > counted["refused"] > 0, counted
