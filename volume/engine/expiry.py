"""When the time of a needle, and of a whole volume, is over (docs/volume.md 7.6)."""

from enum import Enum
from typing import Final

from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_TTL, Needle
from less_sync.volume.format.superblock import SUPERBLOCK_BYTES
from less_sync.volume.format.ttl import ttl_minutes

_MINUTE_S: Final = 60
_MINUTE_NS: Final = _MINUTE_S * 1_000_000_000
GRACE_MINUTES_MAX: Final = 10


def is_expired(needle: Needle, now_ns: int) -> bool:
    """Whether a needle's own TTL has passed since it was appended.

    Only of a needle that says when it was modified, though that time itself does not matter. In versions 1
    and 2 nothing tells when a needle was appended: one with a TTL is over at once there.
    """
    if not (needle.flags & HAS_TTL and needle.flags & HAS_LAST_MODIFIED):
        return False
    minutes = ttl_minutes(needle.ttl)
    return bool(minutes) and now_ns >= needle.append_at_ns + minutes * _MINUTE_NS


class Expiry(Enum):
    """What becomes of a volume."""

    NO = "no"
    """It is reported."""
    EXPIRED = "expired"
    """It is not reported any more, but still served."""
    DESTROY = "destroy"
    """Its files are removed."""


def volume_expiry(
    *, ttl: int, data_bytes: int, last_modified_s: int, volume_bytes_max: int, now_s: int
) -> Expiry:
    """Judge a volume at a heartbeat.

    Args:
        ttl: of the volume, as in `format.ttl`.
        last_modified_s: the greatest time of a needle, or of the data file at the load.
        volume_bytes_max: the master's limit; 0 until it has told it, and nothing expires before.
    """
    minutes = ttl_minutes(ttl)
    if not volume_bytes_max or data_bytes <= SUPERBLOCK_BYTES or not minutes:
        return Expiry.NO
    age_s = now_s - last_modified_s
    if minutes >= age_s // _MINUTE_S:
        return Expiry.NO
    grace_minutes = min(minutes // 10, GRACE_MINUTES_MAX)
    return Expiry.DESTROY if (minutes + grace_minutes) * _MINUTE_S < age_s else Expiry.EXPIRED
