"""`If-Modified-Since`, `If-None-Match` and the dates of headers (RFC 9110 sections 5.6.7 and 13).

Existing servers let `If-Modified-Since` win over an entity tag that differs, and know no lists, no weak tags
and no `*`; this is what their clients count on.
"""

import re
import time
from calendar import timegm
from functools import lru_cache
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE: Final = re.compile(
    rf"(?:{'|'.join(_DAYS)}), (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)
_DATES_KEPT: Final = 1024


@lru_cache(_DATES_KEPT)
def http_date(seconds: int) -> str:
    """Unix seconds as headers tell them: `Tue, 14 Nov 2023 22:13:20 GMT`; years may have five digits."""
    at = time.gmtime(seconds)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


def parse_date(text: str) -> int | None:
    """Unix seconds of a date in exactly that form, whatever day of the week it names; None of another."""
    found = _DATE.fullmatch(text)
    if not found:
        return None
    day, year, hour, minute, second = (int(found[part]) for part in (1, 3, 4, 5, 6))
    month = _MONTHS.index(found[2]) + 1
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second < 60 and year):
        return None
    seconds = timegm((year, month, day, hour, minute, second))
    # A day that its month does not have would run over into the next.
    return seconds if time.gmtime(seconds).tm_mday == day else None


def not_modified(since: str, none_match: str, last_modified: int, etag: str) -> bool:
    """Whether a read is answered with 304.

    Args:
        since: value of `If-Modified-Since`, or empty.
        none_match: value of `If-None-Match`, or empty.
        last_modified: of the file, in Unix seconds; 0 when it is not known.
        etag: of the file, without quotes.
    """
    if since and last_modified:
        asked = parse_date(since)
        if asked is not None and asked >= last_modified:
            return True
    return bool(none_match) and none_match == f'"{etag}"'
