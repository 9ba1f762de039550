"""Histograms: every value is in one bucket, however many came before somebody asked."""

import random

from less_sync.storage import Histogram
from less_sync.storage.counts import UNSORTED_MAX

BOUNDS = (1, 2.5, 10)


def test_values_are_in_the_first_bucket_whose_bound_they_are_not_above() -> None:
    histogram = Histogram(BOUNDS)
    for value in (1, 0.5, 2.5, 2.75, 10, 10.25):
        histogram.add(value)
    assert histogram.cumulative() == [("1", 2), ("2.5", 3), ("10", 5), ("+Inf", 6)]
    assert (histogram.count, histogram.total) == (6, 27.0)
    assert histogram.cumulative() == [("1", 2), ("2.5", 3), ("10", 5), ("+Inf", 6)]


def test_whoever_asks_seldom_or_often_is_told_the_same_and_little_is_kept() -> None:
    chance = random.Random(7)
    values = [chance.choice((*BOUNDS, chance.uniform(0, 20))) for _ in range(5 * UNSORTED_MAX + 3)]
    seldom, often = Histogram(BOUNDS), Histogram(BOUNDS)
    for number, value in enumerate(values, 1):
        seldom.add(value)
        often.add(value)
        assert often.count == number
        assert len(seldom._unsorted) < UNSORTED_MAX
    told = [*(sum(value <= bound for value in values) for bound in BOUNDS), len(values)]
    assert [number for _, number in seldom.cumulative()] == told
    assert often.cumulative() == seldom.cumulative()
