"""The page for people, `/ui/index.html` (docs/volume.md, section 3.8)."""

import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from less_sync.volume.format.ttl import ttl_text
from less_sync.volume.http.handlers import Immediate
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response
from less_sync.volume.http.status import disk_statuses, sorted_volumes
from less_sync.volume.version import version_text

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.services import Services

VOLUMES_MAX: Final = 10_000
"""More are not shown: a page of them would be of no use to anybody."""
_TEMPLATE: Final = Path(__file__).parent / "static" / "index.html"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class PageHandler(Immediate):
    """Tables of disks and volumes."""

    def __init__(self, services: "Services") -> None:
        self._services: Final = services
        self._started: Final = time.monotonic()

    async def begin(self, request: Request) -> Response:
        """Looks at the disks in threads."""
        services = self._services
        volumes = sorted_volumes(services)[:VOLUMES_MAX]
        page = Template(_TEMPLATE.read_text()).substitute(
            version=escape(version_text(services.options.offset_bytes)),
            disks=_rows(_disk(one) for one in await disk_statuses(services)),
            system=_rows(self._system()),
            volumes=_rows(_volume(one) for one in volumes if not one.is_remote),
            remote=_remote([one for one in volumes if one.is_remote]),
        )
        return Response(200, [("Content-Type", "text/html; charset=utf-8")], page.encode())

    def _system(self) -> Iterable[tuple[object, ...]]:
        services = self._services
        requests = services.counters.requests
        reads = sum(count for (method, _), count in requests.items() if method in {"GET", "HEAD"})
        yield "Masters", ", ".join(one.http for one in services.options.masters)
        yield "Read Requests", reads
        yield "Other Requests", sum(requests.values()) - reads
        yield "Up Time", f"{time.monotonic() - self._started:.0f} s"


def _disk(status: dict[str, object]) -> tuple[object, ...]:
    used = status.get("percent_used", 0)
    sizes = (_size(status.get("all", 0)), _size(status.get("free", 0)))
    return status["dir"], status.get("disk_type", "hdd"), *sizes, f"{used:.1f}%"


def _volume(volume: "Volume") -> tuple[object, ...]:
    needles = volume.needles
    trash = f"{needles.deleted_count} / {_size(needles.deleted_bytes)}"
    shown = (volume.id, volume.collection, volume.location.disk_type or "hdd", _size(volume.content_bytes))
    return *shown, needles.file_count, trash, ttl_text(volume.ttl), volume.read_only, volume.version


def _remote(volumes: list["Volume"]) -> str:
    if not volumes:
        return ""
    head = "<tr><th>Id</th><th>Collection</th><th>Size</th><th>Files</th><th>Remote</th><th>Key</th></tr>"
    rows = _rows(
        (
            one.id,
            one.collection,
            _size(one.content_bytes),
            one.needles.file_count,
            f"{one.info.files[0].backend_type}.{one.info.files[0].backend_id}",
            one.info.files[0].key,
        )
        for one in volumes
    )
    return f"<h2>Remote Volumes</h2>\n<table><thead>{head}</thead><tbody>\n{rows}</tbody></table>\n"


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    return "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in rows)


def _size(count: object) -> str:
    size = float(count) if isinstance(count, int | float) else 0.0
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.2f} {_UNITS[unit]}" if unit else f"{size:.0f} B"
