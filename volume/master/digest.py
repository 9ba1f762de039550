"""The digest that lets a master see from 8 bytes whether it knows all volumes as they are."""

import struct
from collections.abc import Sequence
from typing import Final

from xxhash import xxh64_intdigest

from less_sync.volume.engine.reports import VolumeReport

_NUMBERS: Final = struct.Struct("<IQQQQIIIIIB")
assert _NUMBERS.size == 57
_MODIFIED: Final = struct.Struct("<q")
_MULTIPLIER: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1
_COUNT_MAX: Final = (1 << 32) - 1


def report_hash(report: VolumeReport) -> int:
    """64 bits of everything that a master keeps of a volume, but for the key of its remote copy."""
    digest = xxh64_intdigest(
        _NUMBERS.pack(
            report.id,
            report.size,
            min(report.file_count, _COUNT_MAX),
            min(report.deleted_count, _COUNT_MAX),
            report.deleted_bytes,
            report.placement,
            report.version & 0xFF,
            report.ttl,
            report.revision,
            report.disk_id,
            report.read_only,
        )
    )
    for part in (
        _MODIFIED.pack(report.modified_s),
        report.collection.encode(),
        report.disk_type.encode(),
        report.remote_name.encode(),
    ):
        digest = (digest ^ xxh64_intdigest(part)) * _MULTIPLIER & _MASK
        digest ^= digest >> 29
    return digest


class Digests:
    """Hashes of the volumes of the last report, so that only those that changed are hashed again."""

    def __init__(self) -> None:
        self._hashes: dict[VolumeReport, int] = {}

    def of(self, reports: Sequence[VolumeReport]) -> tuple[dict[VolumeReport, int], int]:
        """The hash of each report, and the digest of all: their exclusive or, 0 for none."""
        former = self._hashes
        self._hashes = {
            report: known if (known := former.get(report)) is not None else report_hash(report)
            for report in reports
        }
        digest = 0
        for one in self._hashes.values():
            digest ^= one
        return self._hashes, digest
