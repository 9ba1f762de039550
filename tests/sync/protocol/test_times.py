"""Times in results."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.times import time_text

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_771_446_580 * SECOND + 123_500, "2026-02-18T20:29:40.1235Z"),
        (1_767_323_045 * SECOND, "2026-01-02T03:04:05Z"),
        (10 * SECOND, "1970-01-01T00:00:10Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (100_000, "1970-01-01T00:00:00.1Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (4_070_908_800 * SECOND, "2099-01-01T00:00:00Z"),
    ],
)
def test_a_fraction_is_written_only_if_there_is_one_and_without_trailing_zeros(
    microseconds: int, text: str
) -> None:
    assert time_text(microseconds) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_text_is_the_time_to_the_microsecond(moment: datetime) -> None:
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    text = time_text(microseconds)
    assert datetime.fromisoformat(text) == moment
    assert len(text) <= len("2026-02-18T20:29:40.123456Z")


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63)])
def test_a_time_outside_of_the_calendar_is_refused(microseconds: int) -> None:
    with pytest.raises(OverflowError):
        time_text(microseconds)
