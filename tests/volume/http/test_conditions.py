"""Dates of headers and conditional reads."""

import pytest

from less_sync.volume.http.conditions import http_date, not_modified, parse_date

_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
_AT = 1_700_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (_AT, _DATE),
        (1, "Thu, 01 Jan 1970 00:00:01 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (2**40 - 1, "Mon, 20 Feb 36812 00:36:15 GMT"),
    ],
)
def test_a_date_has_the_form_of_headers(seconds: int, text: str) -> None:
    assert http_date(seconds) == text
    if seconds < 2**37:
        assert parse_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "not-a-date",
        "Tuesday, 14-Nov-33 22:13:20 GMT",
        "Tue Nov 14 22:13:20 2023",
        "Tue, 14 Nov 2023 22:13:20 UTC",
        "Tue, 14 Nov 2023 22:13:20 +0000",
        "Tue, 14 Nov 2023 22:13:20 GMT ",
        "Tue, 14 Nov 2023 24:13:20 GMT",
        "Tue, 14 Nov 2023 22:60:20 GMT",
        "Tue, 14 Nov 2023 22:13:60 GMT",
        "Tue, 00 Nov 2023 22:13:20 GMT",
        "Tue, 31 Nov 2023 22:13:20 GMT",
        "Wed, 29 Feb 2023 22:13:20 GMT",
        "Tue, 14 Nov 0000 22:13:20 GMT",
        "Tue, \u0661\u0664 Nov 2023 22:13:20 GMT",
    ],
)
def test_another_form_of_a_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("since", "none_match", "last_modified", "expected"),
    [
        (_DATE, "", _AT, True),
        (_DATE, "", _AT + 1, False),
        (_DATE, "", _AT - 1, True),
        ("Wed, 14 Nov 2023 22:13:20 GMT", "", _AT, True),
        (_DATE, "", 0, False),
        ("not-a-date", "", _AT, False),
        (_DATE, '"other"', _AT, True),
        ("", '"0a0b0c0d"', _AT, True),
        ("", '"0a0b0c0d"', 0, True),
        ("not-a-date", '"0a0b0c0d"', _AT, True),
        (_DATE, '"0a0b0c0d"', _AT + 1, True),
        ("", "0a0b0c0d", _AT, False),
        ("", 'W/"0a0b0c0d"', _AT, False),
        ("", '"a", "0a0b0c0d"', _AT, False),
        ("", "*", _AT, False),
        ("", "", _AT, False),
    ],
)
def test_a_read_is_answered_with_304(since: str, none_match: str, last_modified: int, expected: bool) -> None:
    assert not_modified(since, none_match, last_modified, "0a0b0c0d") is expected
