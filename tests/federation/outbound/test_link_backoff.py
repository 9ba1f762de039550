"""When a link dials again, by numbers alone."""

import random

import pytest

from less_sync.federation.outbound.backoff import Backoff
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.sync.client.errors import NO_CLOSE_FRAME

LIMITS = LinkLimits()


class Middle(random.Random):
    """Draws the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class Top(random.Random):
    """Draws the end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def backoff(chance: random.Random | None = None) -> Backoff:
    return Backoff(chance or Middle(), LIMITS)


def test_the_wait_doubles_up_to_a_minute() -> None:
    waits = backoff()
    assert [waits.unreachable() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_jitter_is_a_fifth_either_way_and_from_the_given_source() -> None:
    first = [Backoff(random.Random(seed), LIMITS).unreachable() for seed in range(200)]
    assert all(0.4 <= wait <= 0.6 for wait in first)
    assert min(first) < 0.42
    assert max(first) > 0.58
    assert first == [Backoff(random.Random(seed), LIMITS).unreachable() for seed in range(200)]
    assert backoff(Top()).refused(403) == pytest.approx(36)


def test_a_connection_that_was_open_for_half_a_minute_begins_anew() -> None:
    waits = backoff()
    for _ in range(5):
        waits.unreachable()
    assert waits.closed(NO_CLOSE_FRAME, 29.9) == 16
    assert waits.closed(NO_CLOSE_FRAME, 30.0) == 0.5


def test_401_waits_up_to_five_minutes() -> None:
    waits = backoff()
    assert [waits.refused(401) for _ in range(12)] == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize("status", [400, 403, 404, 501])
def test_what_must_be_configured_first_waits_from_half_a_minute_to_five(status: int) -> None:
    waits = backoff()
    assert [waits.refused(status) for _ in range(5)] == [30, 60, 120, 240, 300]
    assert waits.unreachable() == 60


@pytest.mark.parametrize("status", [302, 426, 429, 500, 502, 503, 504])
def test_other_answers_wait_as_a_peer_that_is_away(status: int) -> None:
    waits = backoff()
    assert [waits.refused(status) for _ in range(3)] == [0.5, 1, 2]


@pytest.mark.parametrize("code", [1001, 4001])
def test_what_was_closed_as_planned_is_dialled_within_a_second(code: int) -> None:
    waits = backoff()
    waits.unreachable()
    assert waits.closed(code, 5.0) == 0.5
    assert backoff(Top()).closed(code, 3600.0) == 1.0
    assert waits.unreachable() == 1  # and counts for nothing


def test_a_peer_that_recycles_every_connection_at_once_is_not_dialled_in_a_circle() -> None:
    waits = backoff()
    assert [waits.closed(1001, 0.0) for _ in range(4)] == [0.5, 1, 2, 4]


def test_too_many_connections_wait_from_half_a_minute_and_a_violation_from_five_seconds() -> None:
    waits = backoff()
    assert [waits.closed(4003, 0.1) for _ in range(3)] == [30, 60, 60]
    waits = backoff()
    assert [waits.closed(4005, 0.1) for _ in range(5)] == [5, 10, 20, 40, 60]


@pytest.mark.parametrize("code", [1000, 1006, 1009, 1011, 1013, 4000, 4002, 4006])
def test_any_other_end_waits_as_usual(code: int) -> None:
    waits = backoff()
    assert [waits.closed(code, 0.1) for _ in range(3)] == [0.5, 1, 2]
