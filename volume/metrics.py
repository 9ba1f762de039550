"""What the server measures, in the text format of Prometheus (docs/volume.md 9.4).

Names are those of existing servers, so that their dashboards work. Counts are plain integers that requests
raise; everything else is looked up when somebody asks.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from less_sync.volume.counters import SECONDS_BUCKETS, Durations

if TYPE_CHECKING:
    from less_sync.volume.counters import Counters
    from less_sync.volume.engine.reports import DiskReport, VolumeReport

PREFIX: Final = "SeaweedFS_volumeServer_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPED: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_BOUNDS_S: Final = tuple(0.0001 * 2**k for k in range(SECONDS_BUCKETS))

Labels = tuple[tuple[str, str], ...]


class State(NamedTuple):
    """What is looked up at the moment of asking."""

    volumes: Iterable["VolumeReport"]
    disks: Iterable["DiskReport"]
    directories: Iterable[str]
    """Paths of the disks, in order."""
    upload_bytes: int
    download_bytes: int
    upload_bytes_max: int
    download_bytes_max: int
    started_s: float
    """Unix time."""
    version: str
    size_limit: str
    """`30GB`, or `8000GB` where offsets have 5 bytes."""


class _Page:
    """Collects families of samples."""

    def __init__(self) -> None:
        self._lines: Final[list[str]] = []

    def family(self, name: str, kind: str, words: str, samples: Iterable[tuple[Labels, float]]) -> None:
        self._lines.extend((f"# HELP {name} {words}", f"# TYPE {name} {kind}"))
        self._lines.extend(_sample(name, tuple(sorted(labels)), value) for labels, value in samples)

    def histogram(self, name: str, words: str, label: str, found: Mapping[str, Durations]) -> None:
        self._lines.extend((f"# HELP {name} {words}", f"# TYPE {name} histogram"))
        for value, durations in sorted(found.items()):
            labels = ((label, value),)
            below = 0
            for bound, count in zip(_BOUNDS_S, durations.buckets, strict=False):
                below += count
                self._lines.append(_sample(f"{name}_bucket", (*labels, ("le", f"{bound:.6g}")), below))
            self._lines.append(_sample(f"{name}_bucket", (*labels, ("le", "+Inf")), durations.count))
            self._lines.append(_sample(f"{name}_sum", labels, durations.sum_ns / 1e9))
            self._lines.append(_sample(f"{name}_count", labels, durations.count))

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def render(counters: "Counters", state: State) -> str:
    """One page with everything."""
    page = _Page()
    _requests(page, counters)
    _flows(page, state)
    _volumes(page, list(state.volumes))
    _disks(page, list(state.disks), list(state.directories))
    _failures(page, counters)
    _replication(page, counters)
    for phase in ("compact", "commit"):
        page.family(
            f"{PREFIX}vacuuming_{phase}_count",
            "counter",
            "Vacuums by whether this phase of them came to its end.",
            [
                ((("success", str(done).lower()),), count)
                for (found, done), count in sorted(counters.vacuums.items())
                if found == phase
            ],
        )
    page.histogram(
        PREFIX + "vacuuming_seconds",
        "How long the phases of vacuums take.",
        "type",
        counters.vacuum_durations,
    )
    page.family(
        PREFIX + "start_time_seconds", "gauge", "Unix time of the start.", [((), round(state.started_s, 3))]
    )
    build = (
        ("version", state.version),
        ("commit", ""),
        ("sizelimit", state.size_limit),
        ("goos", sys.platform),
        ("goarch", os.uname().machine),
    )
    page.family("SeaweedFS_build_info", "gauge", "What this server stands in for.", [(build, 1)])
    return page.text()


def _requests(page: _Page, counters: "Counters") -> None:
    totals = [
        ((("type", method), ("code", str(status))), count)
        for (method, status), count in sorted(counters.requests.items())
    ]
    page.family(PREFIX + "request_total", "counter", "Requests by method and status.", totals)
    page.histogram(PREFIX + "request_seconds", "How long requests take.", "type", counters.request_durations)
    page.family(PREFIX + "handler_total", "counter", "What befell requests.", _by(counters.handlers, "type"))
    page.family(PREFIX + "in_flight_requests", "gauge", "Requests under way.", _by(counters.running, "type"))
    page.family(PREFIX + "connections", "gauge", "Open HTTP connections.", [((), counters.connections)])
    for name, words, value in (
        (
            "connections_refused",
            "HTTP connections closed because too many were open.",
            counters.connections_refused,
        ),
        ("heads_refused", "Requests whose head was refused.", counters.heads_refused),
    ):
        page.family(PREFIX + name, "counter", words, [((), value)])


def _flows(page: _Page, state: State) -> None:
    for name, words, value in (
        ("in_flight_upload_size", "Bytes of uploads under way.", state.upload_bytes),
        ("in_flight_download_size", "Bytes of downloads under way.", state.download_bytes),
        (
            "concurrent_upload_limit",
            "Most bytes of uploads under way; 0 is no limit.",
            state.upload_bytes_max,
        ),
        (
            "concurrent_download_limit",
            "Most bytes of downloads under way; 0 is no limit.",
            state.download_bytes_max,
        ),
    ):
        page.family(PREFIX + name, "gauge", words, [((), value)])


def _volumes(page: _Page, volumes: list["VolumeReport"]) -> None:
    held = Counter(one.collection for one in volumes)
    read_only = Counter(one.collection for one in volumes if one.read_only)
    sizes: Counter[tuple[str, str]] = Counter()
    for one in volumes:
        sizes[one.collection, "normal"] += one.size
        sizes[one.collection, "deleted_bytes"] += one.deleted_bytes
    page.family(
        PREFIX + "volumes",
        "gauge",
        "Volumes.",
        [((("collection", name), ("type", "volume")), count) for name, count in sorted(held.items())],
    )
    page.family(
        PREFIX + "read_only_volumes",
        "gauge",
        "Volumes that take no writes.",
        [((("collection", name), ("type", "IsReadOnly")), read_only[name]) for name in sorted(held)],
    )
    page.family(
        PREFIX + "total_disk_size",
        "gauge",
        "Bytes of data files, and those of them that are garbage.",
        [((("collection", name), ("type", kind)), size) for (name, kind), size in sorted(sizes.items())],
    )


def _disks(page: _Page, disks: list["DiskReport"], directories: list[str]) -> None:
    page.family(
        PREFIX + "max_volumes", "gauge", "Most volumes.", [((), sum(disk.max_volumes for disk in disks))]
    )
    resources = [
        ((("name", directory), ("type", kind)), value)
        for directory, disk in zip(directories, disks, strict=True)
        for kind, value in (
            ("all", disk.total_bytes),
            ("used", disk.total_bytes - disk.free_bytes),
            ("free", disk.free_bytes),
            ("avail", disk.free_bytes),
        )
    ]
    page.family(PREFIX + "resource", "gauge", "Bytes of the disks below the directories.", resources)
    page.family(
        PREFIX + "disk_error_status",
        "gauge",
        "1: the disk does not answer.",
        [
            ((("name", directory), ("type", "error")), int(not disk.healthy))
            for directory, disk in zip(directories, disks, strict=True)
        ],
    )


def _failures(page: _Page, counters: "Counters") -> None:
    page.family(
        PREFIX + "master_disconnections",
        "counter",
        "Streams to masters that broke.",
        _by(counters.master_disconnections, "address"),
    )
    for name, words, value in (
        ("file_read_failures", "Reads that failed.", counters.read_failures),
        ("file_read_invalid_needles", "Reads of damaged records.", counters.read_invalid_needles),
        ("file_write_failures", "Writes that failed.", counters.write_failures),
    ):
        page.family(PREFIX + name, "counter", words, [((), value)])


def _replication(page: _Page, counters: "Counters") -> None:
    page.family(
        PREFIX + "replication_operations_total",
        "counter",
        "Operations that went to replicas.",
        [
            ((("operation", operation), ("result", result)), count)
            for (operation, result), count in sorted(counters.replications.items())
        ],
    )
    page.histogram(
        PREFIX + "replication_seconds",
        "How long replicas take.",
        "operation",
        counters.replication_durations,
    )
    page.family(
        PREFIX + "replication_targets",
        "gauge",
        "Replicas of the last operation.",
        [((), counters.replication_targets)],
    )
    page.family(
        PREFIX + "replication_failures_total",
        "counter",
        "Operations that replicas failed.",
        [
            ((("operation", operation), ("reason", reason)), count)
            for (operation, reason), count in sorted(counters.replication_failures.items())
        ],
    )


def _by(counts: Mapping[str, int], label: str) -> list[tuple[Labels, float]]:
    return [(((label, value),), count) for value, count in sorted(counts.items())]


def _sample(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{text.translate(_ESCAPED)}"' for key, text in labels)
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"
