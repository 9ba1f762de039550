"""What a server reports of itself with each heartbeat: a fixed list (docs/fleet.md 4.4)."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final


class Kind(Enum):
    """Of what type a figure is; each may be null, for servers that have none."""

    INTEGER = auto()
    """Not negative."""
    NUMBER = auto()
    """Not negative, perhaps with a fraction."""
    FLAG = auto()
    TEXT = auto()
    TEXTS = auto()


REPORT: Final[Mapping[str, Kind]] = {
    "connections": Kind.INTEGER,
    "spaces": Kind.INTEGER,
    "records": Kind.INTEGER,
    "files": Kind.INTEGER,
    "storage_bytes": Kind.INTEGER,
    "file_bytes": Kind.INTEGER,
    "database_id": Kind.TEXT,
    "peers": Kind.INTEGER,
    "pushes_per_minute": Kind.NUMBER,
    "pulls_per_minute": Kind.NUMBER,
    "errors_per_minute": Kind.NUMBER,
    "push_p99_ms": Kind.NUMBER,
    "cpu_ratio": Kind.NUMBER,
    "memory_used_bytes": Kind.INTEGER,
    "memory_total_bytes": Kind.INTEGER,
    "disk_used_bytes": Kind.INTEGER,
    "disk_total_bytes": Kind.INTEGER,
    "disk_free_ratio": Kind.NUMBER,
    "database_ok": Kind.FLAG,
    "database_kind": Kind.TEXT,
    "migration": Kind.INTEGER,
    "backup_age_seconds": Kind.INTEGER,
    "backup_interval_seconds": Kind.INTEGER,
    "draining": Kind.FLAG,
    "stopping": Kind.FLAG,
    "features": Kind.TEXTS,
}
"""Every figure there is, in the order in which it is told."""
UPTIME: Final = "uptime_seconds"
"""Kept with the report, though a heartbeat has it beside it."""


def shown(report: Mapping[str, Any]) -> dict[str, Any]:
    """A kept report with every figure; null stands for what was not told."""
    return {name: report.get(name) for name in REPORT}
