"""What the console shows of the metrics: the families of `/metrics` in a form that a page reads at once."""

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from less_sync.bins.admin.families import ROLE_LABEL

SHOWN: Final = frozenset(
    {
        "less_sync_connections",
        "less_sync_handshake_refusals",
        "less_sync_closes",
        "less_sync_slow_consumers",
        "less_sync_spaces_subscribed",
        "less_sync_notifications_delivered",
        "less_sync_notifications_dropped",
        "less_sync_rpc",
        "less_sync_rpc_seconds",
        "less_sync_http_requests",
        "less_sync_pull_rows",
        "less_sync_blob_bytes",
        "less_sync_lane_waiting_pushes",
        "less_sync_lane_waiting_bytes",
        "less_sync_lanes",
        "less_sync_lane_refusals",
        "less_sync_db_pool_connections_max",
        "less_sync_db_pool_connections",
        "less_sync_db_pool_in_use",
        "less_sync_db_pool_waiting",
        "less_sync_db_pool_failures",
        "less_sync_federation_peer_connections",
        "less_sync_federation_peer_spaces",
        "less_sync_federation_link_open",
        "less_sync_federation_link_spaces",
        "less_sync_federation_links_opened",
        "less_sync_delivery_lag_seconds",
        "less_sync_delivery_failures",
        "process_resident_memory_bytes",
        "process_cpu_seconds",
        "process_open_fds",
    }
)
"""Names of families, counters without their `_total`."""
_LE: Final = "le"


def figures(families: Iterable[Metric]) -> dict[str, list[Any]]:
    """The shown families: name to `[labels, value]` of each series.

    The value of a histogram is the list of its cumulative buckets as `[upper bound or null, count]`.
    """
    return {
        family.name: _histogram(family) if family.type == "histogram" else _plain(family)
        for family in families
        if family.name in SHOWN
    }


def _plain(family: Metric) -> list[Any]:
    return [[_labels(sample.labels), sample.value] for sample in family.samples]


def _histogram(family: Metric) -> list[Any]:
    series: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            labels = _labels(sample.labels)
            bound = labels.pop(_LE)
            buckets = series.setdefault(tuple(labels.items()), [])
            buckets.append([None if bound == "+Inf" else float(bound), sample.value])
    return [[dict(labels), buckets] for labels, buckets in series.items()]


def _labels(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != ROLE_LABEL}
