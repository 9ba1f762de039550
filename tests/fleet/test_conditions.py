"""Limits on what a server reports, how often it may, and answers that many wait for: without a database."""

import asyncio
from typing import Any

import pytest

from less_sync.fleet.conditions import KINDS, Beat, judge
from less_sync.fleet.heartbeat_limit import PER_INTERVAL_MAX, TOKENS_MAX, HeartbeatLimit
from less_sync.fleet.reused import Reused


def judged(
    report: dict[str, Any], live: dict[str, str], skew_s: float = 0.0
) -> tuple[dict[str, str], list[str]]:
    raised, over = judge(Beat("sync-1", report, skew_s), live)
    return {condition.kind: condition.severity for condition in raised}, over


@pytest.mark.parametrize(
    ("free", "live", "raised", "over"),
    [
        (0.10, None, None, False),
        (0.0999, None, "warning", False),
        (0.05, None, "warning", False),
        (0.0499, None, "critical", False),
        (0.0499, "warning", "critical", False),
        (0.06, "critical", None, False),
        (0.12, "warning", None, False),
        (0.1201, "warning", None, True),
        (0.1201, None, None, False),
        (None, "warning", None, False),
    ],
)
def test_the_disk(free: float | None, live: str | None, raised: str | None, over: bool) -> None:
    before = {} if live is None else {"agent.disk": live}
    after = {} if raised is None else {"agent.disk": raised}
    assert judged({"disk_free_ratio": free}, before) == (after, ["agent.disk"] if over else [])


@pytest.mark.parametrize(
    ("age_s", "interval_s", "raised", "over"),
    [
        (200, 100, False, True),
        (201, 100, True, False),
        (None, 100, False, False),
        (201, None, False, True),
    ],
)
def test_the_backup(age_s: int | None, interval_s: int | None, raised: bool, over: bool) -> None:
    report = {"backup_age_seconds": age_s, "backup_interval_seconds": interval_s}
    assert judged(report, {})[0] == ({"agent.backup": "warning"} if raised else {})
    assert judged(report, {"agent.backup": "warning"})[1] == (["agent.backup"] if over else [])


@pytest.mark.parametrize(
    ("skew_s", "raised", "over"),
    [(29, False, True), (30, False, False), (60, False, False), (-61, True, False)],
)
def test_the_clock(skew_s: float, raised: bool, over: bool) -> None:
    assert judged({}, {}, skew_s)[0] == ({"agent.clock_skew": "warning"} if raised else {})
    assert judged({}, {"agent.clock_skew": "warning"}, skew_s)[1] == (["agent.clock_skew"] if over else [])


def test_what_is_not_told_changes_nothing_but_for_backups_that_nobody_means_to_make() -> None:
    live = dict.fromkeys(KINDS, "warning")
    assert judged({}, live, 45.0) == ({}, ["agent.backup"])


def test_an_agent_has_a_number_of_heartbeats_per_interval() -> None:
    now = 1000.0
    limit = HeartbeatLimit(lambda: now)
    assert [limit.wait_s(b"a", 60) for _ in range(PER_INTERVAL_MAX)] == [0] * PER_INTERVAL_MAX
    now += 20
    assert limit.wait_s(b"a", 60) == 40
    assert limit.wait_s(b"b", 60) == 0
    now += 40
    assert limit.wait_s(b"a", 60) == 0


def test_what_is_counted_is_bounded_and_who_is_beyond_is_let_pass() -> None:
    limit = HeartbeatLimit(lambda: 1000.0)
    for number in range(TOKENS_MAX):
        limit.wait_s(number.to_bytes(4, "big"), 60)
    assert [limit.wait_s(b"late", 60) for _ in range(PER_INTERVAL_MAX + 1)] == [0] * (PER_INTERVAL_MAX + 1)


@pytest.mark.anyio
async def test_an_answer_is_asked_for_once_and_a_failure_is_not_kept() -> None:
    now, asked = 1000.0, 0
    reused: Reused[int] = Reused(5.0, lambda: now)

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked == 1:
            raise ConnectionError
        return asked

    with pytest.raises(ConnectionError):
        await reused.get(ask)
    assert await asyncio.gather(*[reused.get(ask) for _ in range(5)]) == [2] * 5
    now += 4.9
    assert await reused.get(ask) == 2
    now += 0.2
    assert await reused.get(ask) == 3
