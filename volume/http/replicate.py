"""The copies of a volume on other servers: which there are, and writing to and deleting from all of them.

The server that a client talks to changes its own copy first, then all others at once, and answers when all
have answered. One that fails makes the whole operation fail; what was done elsewhere stays done, and the
client tries again (docs/volume.md section 3).
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from less_sync.volume.format.needle import GZIP, HAS_PAIRS, MANIFEST, Needle
from less_sync.volume.format.placement import placement_of
from less_sync.volume.format.ttl import ttl_text
from less_sync.volume.http.access import token_of
from less_sync.volume.http.client import OutgoingError
from less_sync.volume.http.disposition import content_disposition
from less_sync.volume.http.mime import Types, extension
from less_sync.volume.http.paths import escape_path, text
from less_sync.volume.http.request import Request

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.http.client import Answer, Headers
    from less_sync.volume.master.lookup import Place
    from less_sync.volume.services import Services

PREFIX: Final = "Seaweed-"
BOUNDARY_BYTES: Final = 30
ONE_COPY: Final = 0
"""The placement of a volume that is on one server alone."""
_DELETED: Final = frozenset({200, 202, 204, 404})


class ReplicationError(Exception):
    """Not all copies could be changed, or found; the text is what the client is told."""


class Replication:
    """Changes the copies of volumes on other servers.

    Args:
        types: what extensions mean: a copy that has no type is sent with the one of its name.
    """

    def __init__(self, services: "Services", types: Types) -> None:
        self._services: Final = services
        self._types: Final = types

    def has_copies(self, volume: "Volume | None") -> bool:
        """Whether other servers have to be asked for: one copy of a volume that is here is all there is."""
        return volume is None or volume.placement != ONE_COPY

    async def places(self, volume_id: int, volume: "Volume | None") -> list["Place"]:
        """Where the other copies of a volume are.

        Raises:
            ReplicationError: the master cannot be asked, or knows fewer copies than there should be.
        """
        if not self.has_copies(volume):
            return []
        # Loading the master's messages takes a third of a start; a server without copies never needs them.
        from less_sync.volume.master.lookup import LookupFailed

        try:
            found = await self._services.lookup.find(volume_id)
        except LookupFailed as fault:
            raise ReplicationError(f"replicating lookup failed for {volume_id}: {fault}") from fault
        copies = placement_of(volume.placement).copies if volume is not None else 0
        if len(found) < copies:
            # A copy may just have been made; the next write shall see it.
            self._services.lookup.forget(volume_id)
            raise ReplicationError(
                f"replicating operations [{len(found)}] is less than volume {volume_id} "
                f"replication copy count [{copies}]"
            )
        own = self._services.options.own_address
        return [place for place in found if place.url != own]

    async def write(
        self,
        request: Request,
        needle: Needle,
        places: Sequence["Place"],
        *,
        volume_id: int,
        md5: bytes,
        is_durable: bool,
    ) -> None:
        """Write what was stored here, packed as it is, to all `places`.

        Raises:
            ReplicationError: one of them failed; all of them have answered or are given up.
        """
        target = f"{escape_path(request.path)}?{_query(needle, is_durable=is_durable)}"
        headers = _write_headers(request, needle)

        async def write_to(place: "Place") -> None:
            url = f"{self._services.outgoing.scheme}://{place.url}{target}"
            boundary = token_hex(BOUNDARY_BYTES)
            head = self._part_head(needle, md5, url, boundary)
            sent = [*headers, (b"Content-Type", f"multipart/form-data; boundary={boundary}".encode())]
            parts = [head, needle.data, f"\r\n--{boundary}--\r\n".encode()]
            try:
                answer = await self._services.outgoing.post(place.url, target, sent, parts)
            except OutgoingError as fault:
                raise ReplicationError(
                    f'upload {text(needle.name)} {len(needle.data)} bytes to {url}: Post "{url}": {fault}'
                ) from fault
            _refuse_failure(answer, url)

        failure = await self._everywhere("write", places, write_to)
        if failure:
            self._services.counters.handlers["errorWriteToReplicas"] += 1
            raise ReplicationError(f"failed to write to replicas for volume {volume_id}: {failure}")

    async def delete(self, request: Request, places: Sequence["Place"]) -> None:
        """Delete from all `places`.

        Raises:
            ReplicationError: one of them failed; all of them have answered or are given up.
        """
        target = f"{escape_path(request.path)}?type=replicate"

        async def delete_from(place: "Place") -> None:
            url = f"{self._services.outgoing.scheme}://{place.url}{target}"
            try:
                answer = await self._services.outgoing.delete(place.url, target, _authorization(request))
            except OutgoingError as fault:
                raise ReplicationError(f'Delete "{url}": {fault}') from fault
            if answer.status not in _DELETED:
                raise ReplicationError(_error_in(answer) or answer.body.decode("utf-8", "replace"))

        failure = await self._everywhere("delete", places, delete_from)
        if failure:
            raise ReplicationError(failure)

    async def _everywhere(
        self, operation: str, places: Sequence["Place"], act: Callable[["Place"], Awaitable[None]]
    ) -> str:
        """Act on all places at once and wait for all; the first failure in the order of time, or nothing."""
        counters, failures, started_ns = self._services.counters, list[str](), time.monotonic_ns()
        counters.replication_targets = len(places)

        async def attempt(place: "Place") -> None:
            try:
                await act(place)
            except ReplicationError as fault:
                failures.append(f"[{place.url}]: {fault}")

        # The data lies in the buffer of the request, so that none may still be sent when this returns.
        await asyncio.gather(*map(attempt, places))
        counters.replication_durations[operation].add(time.monotonic_ns() - started_ns)
        counters.replications[operation, "failure" if failures else "success"] += 1
        if failures:
            counters.replication_failures[operation, "remote"] += 1
        return failures[0] if failures else ""

    def _part_head(self, needle: Needle, md5: bytes, url: str, boundary: str) -> bytes:
        """What stands before the data in the body of a write to a copy."""
        name = text(needle.name)
        # Of no name existing servers quote the emptiness; without the quotes they would not see the name.
        filename = content_disposition(name).removeprefix("inline; ") if name else 'filename=""'
        mime = needle.mime or self._types.of_extension(extension(name).lower()).encode()
        lines = [f"--{boundary}".encode(), f"Content-Disposition: form-data; {filename}; name=file".encode()]
        if needle.flags & GZIP:
            lines.append(b"Content-Encoding: gzip")
        if md5:
            lines.append(b"Content-Md5: " + md5)
        if mime:
            lines.append(b"Content-Type: " + mime)
        lines.append(b"Idempotency-Key: " + url.encode())
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _query(needle: Needle, *, is_durable: bool) -> str:
    asked = {
        "cm": "true" if needle.flags & MANIFEST else "",
        "fsync": "true" if is_durable else "",
        "ts": str(needle.last_modified) if needle.last_modified else "",
    }
    named = [(name, value) for name, value in asked.items() if value]
    return urlencode([*named, ("ttl", ttl_text(needle.ttl)), ("type", "replicate")])


def _write_headers(request: Request, needle: Needle) -> "Headers":
    pairs: dict[str, str] = json.loads(needle.pairs) if needle.flags & HAS_PAIRS else {}
    return [
        *((f"{PREFIX}{name}".encode(), value.encode()) for name, value in pairs.items()),
        *_authorization(request),
        (b"X-Amz-Request-Id", request.request_id.encode()),
        (b"Accept-Encoding", b"gzip"),
    ]


def _authorization(request: Request) -> "Headers":
    token = token_of(request)
    return [(b"Authorization", b"Bearer " + token.encode("utf-8", "surrogateescape"))] if token else []


def _refuse_failure(answer: "Answer", url: str) -> None:
    """Raise unless the copy was written: no content, or a JSON object that names no error."""
    if answer.status == 204:
        return
    try:
        told = json.loads(answer.body)
    except RecursionError as fault:
        raise ReplicationError(f"unmarshal {url}: exceeded max depth") from fault
    except ValueError as fault:
        why = str(fault) if answer.body else "unexpected end of JSON input"
        raise ReplicationError(f"unmarshal {url}: {why}") from fault
    error = told.get("error") if isinstance(told, dict) else "no object"
    if error or answer.status >= 300:
        raise ReplicationError(f"unmarshalled error {url}: {error or f'status {answer.status}'}")


def _error_in(answer: "Answer") -> str:
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    error = told.get("error") if isinstance(told, dict) else ""
    return error if isinstance(error, str) else ""
