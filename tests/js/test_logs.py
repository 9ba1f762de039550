"""The JavaScript client reads membership logs to the same end as this one; tests/js/long has many more."""

from tests.client.sharing.random_logs import random_log
from tests.js.logs import check_same


async def test_both_clients_come_to_the_same_end_for_random_logs() -> None:
    counted = await check_same({seed: random_log(seed) for seed in range(60)})
    # The logs are worth reading: entries count, others do not, keys are found, people are removed.
    assert all(counted[what] for what in ("counted", "passed over", "refused", "keys", "gone")), counted
