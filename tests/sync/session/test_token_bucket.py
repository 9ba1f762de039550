"""The token bucket of presence updates and events, on a clock the test moves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.session.token_bucket import FLOOD_WINDOW_S, TokenBucket, Verdict

PASS, DROP, CLOSE = Verdict


def bucket(now_s: float = 0.0, *, per_s: int = 50, burst: int = 200) -> TokenBucket:
    return TokenBucket(per_s=per_s, burst=burst, now_s=now_s)


def test_a_burst_passes_and_what_exceeds_it_is_dropped() -> None:
    one = bucket()
    assert [one.take(0.0) for _ in range(203)] == [PASS] * 200 + [DROP] * 3


def test_tokens_come_back_at_the_rate_and_never_beyond_the_burst() -> None:
    one = bucket()
    for _ in range(200):
        one.take(0.0)
    assert one.take(0.019) is DROP
    assert [one.take(0.04), one.take(0.04), one.take(0.04)] == [PASS, PASS, DROP]
    assert Counter(one.take(1000.0) for _ in range(250)) == {PASS: 200, DROP: 50}


def test_a_steady_client_at_the_rate_loses_nothing() -> None:
    one = bucket()
    assert {one.take(n / 50) for n in range(5000)} == {PASS}


def test_ten_times_the_rate_for_ten_seconds_closes() -> None:
    one = bucket()
    verdicts = [one.take(n / 500) for n in range(5000)]
    assert verdicts.index(CLOSE) == 4999
    assert Counter(verdicts)[PASS] in (699, 700)


def test_a_little_less_than_that_is_only_thinned_out() -> None:
    one = bucket()
    assert CLOSE not in [one.take(n / 490) for n in range(20_000)]


def test_a_short_flood_is_forgotten_with_its_window() -> None:
    one = bucket()
    assert CLOSE not in [one.take(0.0) for _ in range(4999)]
    assert one.take(FLOOD_WINDOW_S) is PASS
    assert CLOSE not in [one.take(FLOOD_WINDOW_S) for _ in range(4998)]
    assert one.take(FLOOD_WINDOW_S + 1) is CLOSE


@given(
    st.lists(st.floats(0, 0.2), max_size=300),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_in_any_stretch_no_more_passes_than_burst_and_rate_allow(
    gaps: list[float], per_s: int, burst: int
) -> None:
    one = bucket(per_s=per_s, burst=burst)
    now, passed = 0.0, list[float]()
    for gap in gaps:
        now += gap
        if one.take(now) is PASS:
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + per_s * (passed[last] - passed[first]) + 1e-6
