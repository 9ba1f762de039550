"""One canonical line per request, and counts of all that happens."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from less_sync.sync.metrics import LINE_EVERY_S, LINES_AT_ONCE, Recorder
from tests.live import Live, live_server
from tests.sync.session.test_session import change


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


def line(*, code: str = "ok", ms: float = 2.0, level: str = "debug") -> dict[str, object]:
    return {
        "event": "request",
        "log_level": level,
        "method": "pull",
        "code": code,
        "ms": ms,
        "spaces": 3,
        "bytes": 40,
    }


@pytest.mark.parametrize(
    ("verbose", "code", "seconds", "expected"),
    [
        (False, "ok", 0.002, []),
        (False, "forbidden", 0.002, []),
        (False, "internal", 0.002, [line(code="internal", level="info")]),
        (False, "ok", 1.5, [line(ms=1500.0, level="info")]),
        (True, "ok", 0.002, [line()]),
        (True, "internal", 0.002, [line(code="internal", level="info")]),
    ],
)
def test_a_request_has_a_line_when_somebody_wants_it_or_it_is_remarkable(
    verbose: bool, code: str, seconds: float, expected: list[dict[str, object]]
) -> None:
    with capture_logs() as lines:
        Recorder(verbose=verbose).answered("pull", code, seconds, 3, 40)
    assert lines == expected


def test_times_are_told_apart_from_a_tenth_of_a_millisecond_to_half_a_minute() -> None:
    recorder = Recorder()
    times_s = (0.0001, 0.0004, 0.0009, 0.004, 0.09, 0.9, 9.0, 29.0, 31.0)
    for seconds in times_s:
        recorder.answered("pull", "ok", seconds, 1, 40)
    counts = [number for _, number in recorder.methods["pull"].seconds.cumulative()]
    assert [*dict.fromkeys(counts)] == list(range(1, len(times_s) + 1))


def test_what_clients_repeat_while_something_is_away_fills_no_log() -> None:
    now_s = [0.0]
    recorder = Recorder(clock=lambda: now_s[0])
    with capture_logs() as lines:
        for _ in range(LINES_AT_ONCE + 100):
            recorder.answered("pull", "internal", 0.002, 3, 40)
        assert lines == [line(code="internal", level="info")] * LINES_AT_ONCE
        now_s[0] += LINE_EVERY_S
        for _ in range(2):
            recorder.answered("pull", "internal", 0.002, 3, 40)
    assert lines[LINES_AT_ONCE:] == [{**line(code="internal", level="info"), "suppressed": 100}]


async def test_every_request_is_told_once_with_its_outcome_and_without_ids(live: Live) -> None:
    live.services.metrics = Recorder(verbose=True)
    client = await live.connect()
    with capture_logs() as lines:
        await client.subscribe()
        await client.push(change(), change())
        await client.push(change("no uuid"))
        await client.pull()
        await client.error("membership.append", {"space": client.space})
        await client.error("invitation.get", {"id": "no uuid"})
        await client.error("push", {"space": 3})
        await client.error("a method that does not exist", {})
    told = [one for one in lines if one["event"] == "request"]
    assert [(one["method"], one["code"], one["spaces"]) for one in told] == [
        ("subscribe", "ok", 1),
        ("push", "ok", 1),
        ("push", "bad_request", 1),
        ("pull", "ok", 1),
        ("membership.append", "invalid_params", 1),
        ("invitation.get", "bad_request", 0),
        ("push", "invalid_params", 1),
        ("other", "method_not_found", 0),
    ]
    assert all(one["bytes"] > 0 and set(one) == set(line()) for one in told)
