"""What the families of metrics say to a fleet plane: sums without a name in them. Pure."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric

from less_sync.sync.metrics import INTERNAL

PERIOD_S_MIN: Final = 1.0
"""Of a shorter time no rate is told."""
_PERCENTILE: Final = 0.99
_MINUTE_S: Final = 60.0
_FAULT: Final = 500
"""From this status on the fault is the server's."""


class Counted(NamedTuple):
    """What stood where at one moment."""

    connections: int = 0
    peers: int = 0
    pushes: float = 0
    pulls: float = 0
    errors: float = 0
    push_seconds: Mapping[float, float] = {}
    """Upper bound to how many pushes took no longer, since the start."""


class Rates(NamedTuple):
    """What happened between two moments."""

    pushes_per_minute: float | None = None
    pulls_per_minute: float | None = None
    errors_per_minute: float | None = None
    push_p99_ms: float | None = None


def counted(families: Iterable[Metric]) -> Counted:
    """Read the families that matter; the others are passed over, and so are labels that name anybody."""
    found = {family.name: family for family in families}
    rpc = _samples(found, "less_sync_rpc")
    http = _samples(found, "less_sync_http_requests")
    links = _samples(found, "less_sync_federation_link_open")
    peers = _samples(found, "less_sync_federation_peer_connections")
    return Counted(
        connections=round(sum(value for _, value in _samples(found, "less_sync_connections"))),
        peers=round(sum(value for _, value in (*links, *peers))),
        pushes=sum(value for labels, value in rpc if labels["method"] == "push"),
        pulls=sum(value for labels, value in rpc if labels["method"] == "pull"),
        errors=sum(value for labels, value in rpc if labels["code"] == INTERNAL)
        + sum(value for labels, value in http if _is_fault(labels["code"])),
        push_seconds={
            math.inf if labels["le"] == "+Inf" else float(labels["le"]): value
            for labels, value in _samples(found, "less_sync_rpc_seconds")
            if labels["method"] == "push" and "le" in labels
        },
    )


def rates(before: Counted, now: Counted, period_s: float) -> Rates:
    """How often what happened, and what push took that was slower than 99 of 100."""
    if period_s < PERIOD_S_MIN:
        return Rates()
    return Rates(
        pushes_per_minute=_per_minute(before.pushes, now.pushes, period_s),
        pulls_per_minute=_per_minute(before.pulls, now.pulls, period_s),
        errors_per_minute=_per_minute(before.errors, now.errors, period_s),
        push_p99_ms=_percentile_ms(before.push_seconds, now.push_seconds),
    )


def _per_minute(before: float, now: float, period_s: float) -> float:
    return round(max(0.0, now - before) * _MINUTE_S / period_s, 2)


def _samples(found: Mapping[str, Metric], name: str) -> list[tuple[Mapping[str, str], float]]:
    family = found.get(name)
    if family is None:
        return []
    return [
        (sample.labels, sample.value) for sample in family.samples if not sample.name.endswith("_created")
    ]


def _is_fault(status: str) -> bool:
    return status.isdigit() and int(status) >= _FAULT


def _percentile_ms(before: Mapping[float, float], now: Mapping[float, float]) -> float | None:
    """Between the bounds of its bucket in proportion; beyond the last bound, that bound."""
    counts = [(bound, now[bound] - before.get(bound, 0)) for bound in sorted(now)]
    if not counts or counts[-1][1] <= 0:
        return None
    wanted = _PERCENTILE * counts[-1][1]
    low_s, below = 0.0, 0.0
    for bound_s, count in counts:
        if count >= wanted:
            part = (wanted - below) / (count - below)
            high_s = low_s if bound_s == math.inf else bound_s
            return round((low_s + (high_s - low_s) * part) * 1000, 3)
        low_s, below = bound_s, count
    return None
