"""Which alerts a heartbeat raises or ends: limits on what a server reports, each with a distance between.

Pure. What is live already is given, so an alert that a person resolved too early is raised by the next
heartbeat, and one that is live is not raised every minute.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Severity = Literal["warning", "critical"]
_RANK: Final = {"info": 0, "warning": 1, "critical": 2}

DISK_CRITICAL: Final = 0.05
DISK_WARNING: Final = 0.10
DISK_WELL: Final = 0.12
"""Free part of the disk: below the first two an alert is raised, above the last it is over."""
SKEW_WARNING_S: Final = 60.0
SKEW_WELL_S: Final = 30.0
"""How far a server's clock is from the database's: above the first, and below the second."""
BACKUP_INTERVALS: Final = 2
"""Of the server's own backup interval: a backup older than so many is too old."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What is looked at: a report, and how far the server's clock was ahead of the database's."""

    name: str
    report: Mapping[str, Any]
    skew_s: float


@dataclass(frozen=True, slots=True)
class Condition:
    """A limit that is passed."""

    kind: str
    severity: Severity
    title: str
    detail: Mapping[str, Any]


def judge(beat: Beat, live: Mapping[str, str]) -> tuple[list[Condition], list[str]]:
    """What changes.

    Args:
        live: the agent's live alerts of these kinds, and how severe each is.

    Returns:
        what is to be raised: new, or more severe than it is; and the kinds that are over.
    """
    raised: list[Condition] = []
    over: list[str] = []
    for kind, look in _LOOKS.items():
        found = look(beat)
        if isinstance(found, Condition):
            # Severity falls only with the alert: a value around the lower limit would change it all the time.
            if kind not in live or _RANK[found.severity] > _RANK[live[kind]]:
                raised.append(found)
        elif found and kind in live:
            over.append(kind)
    return raised, over


def _disk(beat: Beat) -> Condition | bool:
    free = beat.report.get("disk_free_ratio")
    if free is None or DISK_WARNING <= free <= DISK_WELL:
        return False
    if free > DISK_WELL:
        return True
    severity: Severity = "critical" if free < DISK_CRITICAL else "warning"
    title = f"{beat.name}: {free:.1%} of the disk is free"
    return Condition("agent.disk", severity, title, {"disk_free_ratio": free})


def _database(beat: Beat) -> Condition | bool:
    well = beat.report.get("database_ok")
    if well is None or well:
        return bool(well)
    return Condition("agent.database", "critical", f"{beat.name}: its database does not answer", {})


def _backup(beat: Beat) -> Condition | bool:
    interval_s = beat.report.get("backup_interval_seconds")
    if interval_s is None:
        return True  # nobody means to make backups any more
    age_s = beat.report.get("backup_age_seconds")
    if age_s is None or age_s <= BACKUP_INTERVALS * interval_s:
        return age_s is not None
    title = f"{beat.name}: the last backup is {age_s} s old"
    detail = {"backup_age_seconds": age_s, "backup_interval_seconds": interval_s}
    return Condition("agent.backup", "warning", title, detail)


def _clock(beat: Beat) -> Condition | bool:
    off_s = abs(beat.skew_s)
    if off_s <= SKEW_WARNING_S:
        return off_s < SKEW_WELL_S
    ahead = "ahead" if beat.skew_s > 0 else "behind"
    title = f"{beat.name}: its clock is {off_s:.0f} s {ahead}"
    return Condition("agent.clock_skew", "warning", title, {"skew_seconds": round(beat.skew_s, 3)})


_LOOKS: Final[Mapping[str, Callable[[Beat], Condition | bool]]] = {
    "agent.disk": _disk,
    "agent.database": _database,
    "agent.backup": _backup,
    "agent.clock_skew": _clock,
}
"""Each answers with the limit that is passed, True when all is well, False when it cannot tell."""
KINDS: Final = tuple(_LOOKS)
