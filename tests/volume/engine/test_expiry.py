"""When the time of needles and volumes is over."""

import pytest

from less_sync.volume.engine.expiry import Expiry, is_expired, volume_expiry
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_TTL, Needle
from less_sync.volume.format.ttl import parse_ttl

MINUTE_NS = 60 * 10**9
NOW_S = 1_000_000


@pytest.mark.parametrize(
    ("flags", "ttl", "age_ns", "expired"),
    [
        (HAS_TTL | HAS_LAST_MODIFIED, "3m", 3 * MINUTE_NS - 1, False),
        (HAS_TTL | HAS_LAST_MODIFIED, "3m", 3 * MINUTE_NS, True),
        (HAS_TTL, "3m", 30 * MINUTE_NS, False),
        (HAS_LAST_MODIFIED, "3m", 30 * MINUTE_NS, False),
        (HAS_TTL | HAS_LAST_MODIFIED, "", 10**18, False),
    ],
)
def test_a_needle_expires_by_its_own_ttl_since_it_was_appended(
    flags: int, ttl: str, age_ns: int, *, expired: bool
) -> None:
    needle = Needle(1, 2, b"x", flags, last_modified=1, ttl=parse_ttl(ttl), append_at_ns=5)
    assert is_expired(needle, 5 + age_ns) is expired


@pytest.mark.parametrize(
    ("ttl", "age_s", "expected"),
    [
        ("1m", 59, Expiry.NO),
        ("1m", 60, Expiry.NO),
        ("1m", 119, Expiry.NO),
        ("1m", 120, Expiry.DESTROY),
        ("1h", 61 * 60, Expiry.EXPIRED),
        ("1h", 66 * 60, Expiry.EXPIRED),
        ("1h", 66 * 60 + 1, Expiry.DESTROY),
        ("5h", 310 * 60, Expiry.EXPIRED),
        ("5h", 310 * 60 + 1, Expiry.DESTROY),
        ("5y", 365 * 86_400, Expiry.NO),
        ("", 10**9, Expiry.NO),
    ],
)
def test_a_volume_goes_unreported_and_then_is_destroyed(ttl: str, age_s: int, expected: Expiry) -> None:
    found = volume_expiry(
        ttl=parse_ttl(ttl),
        data_bytes=9,
        last_modified_s=NOW_S - age_s,
        volume_bytes_max=1,
        now_s=NOW_S,
    )
    assert found is expected


@pytest.mark.parametrize(("data_bytes", "limit"), [(8, 1), (9, 0)])
def test_an_empty_volume_and_one_whose_limit_is_unknown_never_expire(data_bytes: int, limit: int) -> None:
    found = volume_expiry(
        ttl=parse_ttl("1m"), data_bytes=data_bytes, last_modified_s=0, volume_bytes_max=limit, now_s=NOW_S
    )
    assert found is Expiry.NO
