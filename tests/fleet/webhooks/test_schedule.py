"""When a failed delivery is tried again."""

import random

import pytest

from less_sync.fleet.webhooks.schedule import ATTEMPTS_MAX, RETRIES_S, retry_in_s


class Chance(random.Random):
    """Always the same place between the bounds, 0 to 1."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self.place = place

    def random(self) -> float:
        return self.place


def test_ten_attempts_over_about_75_hours() -> None:
    waits = [retry_in_s(attempts, Chance(0.5)) for attempts in range(1, 12)]
    assert waits == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400, None, None]
    assert ATTEMPTS_MAX == 10
    assert 75 <= sum(RETRIES_S) / 3_600 <= 76


@pytest.mark.parametrize("attempts", range(1, 10))
def test_jitter_stays_within_a_tenth(attempts: int) -> None:
    usual = RETRIES_S[attempts - 1]
    assert retry_in_s(attempts, Chance(0)) == pytest.approx(usual * 0.9)
    assert retry_in_s(attempts, Chance(1)) == pytest.approx(usual * 1.1)
    waits = {retry_in_s(attempts, random.Random(seed)) for seed in range(50)}
    assert len(waits) == 50


def test_never_before_the_receiver_wants_it() -> None:
    assert retry_in_s(1, Chance(0.5), at_least_s=60) == 60
    assert retry_in_s(3, Chance(0.5), at_least_s=60) == 1_800
    assert retry_in_s(10, Chance(0.5), at_least_s=60) is None
