"""When a delivery that failed is tried again.

The distances are those that Standard Webhooks 1.0.0 proposes, ten attempts over about 75 hours.
"""

import random
from typing import Final

RETRIES_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""After which attempt how long: the first of them follows the first attempt."""
ATTEMPTS_MAX: Final = len(RETRIES_S) + 1
JITTER: Final = 0.1
"""Distances differ by so large a part at most, so that what failed together does not come back together."""


def retry_in_s(attempts: int, chance: random.Random, *, at_least_s: float = 0) -> float | None:
    """How long to wait behind a failed attempt; None: that was the last one.

    Args:
        attempts: made so far, this one included.
        at_least_s: what the receiver asked for.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    return max(RETRIES_S[attempts - 1] * chance.uniform(1 - JITTER, 1 + JITTER), at_least_s)
