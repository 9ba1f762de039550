"""The chunks of a file, read one behind the other: here where their volume is here, else by HTTP."""

import asyncio
import random
from bisect import bisect_right
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import NeedleNotFound, VolumeError
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_needle, parse_volume_id
from less_sync.volume.format.needle import GZIP, MANIFEST
from less_sync.volume.http.client import OutgoingError
from less_sync.volume.http.content import Content, Stored, streamed
from less_sync.volume.http.decompress import TooLongError, inflated, is_gzip
from less_sync.volume.http.heavy import HeavyWork
from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.loading import HELD_LEAST_BYTES, TooLargeError, load, verify_stored, whole
from less_sync.volume.http.manifest import DEPTH_MAX, MANIFEST_BYTES_MAX, Chunk, Manifest, load_manifest
from less_sync.volume.http.paths import escape_path
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Content as Body
from less_sync.volume.master.lookup import LookupFailed

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.services import Services

TOO_DEEP: Final = "chunk manifests lie too deep in each other"
CHUNK_COSTS_BYTES: Final = 256
"""Of memory, for an entry of a list."""
DEPTH_HEADER: Final = b"x-chunk-depth"
"""How many lists lie around what is asked for: servers tell each other, so that a ring of lists ends."""


class ChunkError(Exception):
    """A chunk cannot be read; the text is what clients are told."""


def depth_of(request: Request) -> int:
    """What another server says about the lists around its request; what cannot be read is too deep."""
    told = request.header(DEPTH_HEADER)
    if told is None:
        return 0
    return int(told) if len(told) == 1 and told.isdigit() else DEPTH_MAX + 1


class Expanded:
    """The file that a list of chunks stands for. Nothing of it is read before it is asked for."""

    __slots__ = ("_chunks", "_depth", "_held_bytes", "_made", "_request", "_services", "_work", "size")

    def __init__(
        self,
        services: "Services",
        manifest: Manifest,
        depth: int,
        work: HeavyWork,
        request: Request,
        made: InFlight,
    ) -> None:
        self._services: Final = services
        self._chunks: Final = manifest.chunks
        self._depth: Final = depth
        self._work: Final = work
        self._request: Final = request
        self._made: Final = made
        self.size: Final = manifest.size
        self._held_bytes = CHUNK_COSTS_BYTES * len(self._chunks)
        made.add(self._held_bytes)

    def part(self, start: int, length: int) -> Body:
        """Pieces."""
        return streamed(self, start, length)

    async def stream(self, start: int, length: int) -> AsyncGenerator[Bytes]:
        """Every chunk to its end, whatever size the list gives it, from the one that `start` lies in.

        Raises:
            ChunkError: `start` lies in none, or one cannot be read.
        """
        if not length:
            return
        first = bisect_right(self._chunks, start, key=lambda chunk: chunk.offset) - 1
        if first < 0 or start >= self._chunks[first].offset + self._chunks[first].size:
            raise ChunkError("Invalid range")
        skipped = start - self._chunks[first].offset
        for chunk in self._chunks[first:]:
            async with aclosing(self._read(chunk, skipped)) as pieces:
                async for piece in pieces:
                    yield piece[:length]
                    length -= len(piece)
                    if length <= 0:
                        return
            skipped = 0
            # Short chunks that are here would follow each other without a pause.
            await asyncio.sleep(0)

    def release(self) -> None:
        """The list is let go of; a second call does nothing."""
        self._made.subtract(self._held_bytes)
        self._held_bytes = 0

    async def _read(self, chunk: Chunk, skipped: int) -> AsyncGenerator[Bytes]:
        vid, comma, fid = chunk.fid.partition(",")
        if not comma or "," in fid:
            raise ChunkError(f"Invalid fileId {chunk.fid}")
        try:
            volume_id = parse_volume_id(vid)
        except FormatError:
            raise ChunkError("File Not Found") from None
        volume = self._services.store.volume(volume_id)
        if volume is None:
            pieces = self._read_elsewhere(volume_id, chunk.fid, skipped)
        else:
            pieces = self._read_here(volume, chunk.fid, skipped)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _read_here(self, volume: "Volume", fid: str, skipped: int) -> AsyncGenerator[Bytes]:
        own = f"{self._services.outgoing.scheme}://{self._services.options.own_address}"
        try:
            content = await self._load(volume, fid.partition(",")[2].partition(".")[0])
        except _Refused as refused:
            raise ChunkError(f"Read chunk needle error: [{refused.status}] {own}/{fid}") from None
        try:
            if skipped > content.size:
                raise ChunkError(f"Read chunk needle error: [416] {own}/{fid}")
            async with aclosing(content.stream(skipped, content.size - skipped)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            content.release()

    async def _load(self, volume: "Volume", text: str) -> Content:
        """What a read of the needle would send."""
        try:
            id_, cookie = parse_needle(text)
        except FormatError:
            raise _Refused(400) from None
        content: Content | None = None
        try:
            size = volume.record_size(id_)
            needle, stored = load(volume, id_, size, HELD_LEAST_BYTES)
            content = stored
            if size and needle.cookie != cookie:
                raise _Refused(404)
            if isinstance(stored, Stored):
                await verify_stored(needle, stored)
            if needle.flags & GZIP and is_gzip(stored.first(2)):
                content = None
                content = await inflated(stored, self._work, self._request, held_bytes_max=HELD_LEAST_BYTES)
            if needle.flags & MANIFEST:
                return await self._expanded(content)
        except NeedleNotFound:
            raise _Refused(404) from None
        except (VolumeError, OSError, TooLongError, TooLargeError):
            _release(content)
            raise _Refused(500) from None
        except BaseException:
            _release(content)
            raise
        return content

    async def _expanded(self, content: Content) -> Content:
        """A chunk that is a list again."""
        manifest = await load_manifest((await whole(content, MANIFEST_BYTES_MAX)).data)
        if manifest is None:
            return content
        if self._depth >= DEPTH_MAX:
            raise _Refused(500)
        content.release()
        return Expanded(self._services, manifest, self._depth + 1, self._work, self._request, self._made)

    async def _read_elsewhere(self, volume_id: int, fid: str, skipped: int) -> AsyncGenerator[Bytes]:
        outgoing = self._services.outgoing
        try:
            places = await self._services.lookup.find(volume_id)
            if not places:
                raise ChunkError("File Not Found")
            url = random.choice(places).url
            headers = [(DEPTH_HEADER, str(self._depth + 1).encode())]
            if skipped:
                headers.append((b"Range", f"bytes={skipped}-".encode()))
            incoming = await outgoing.get_stream(url, f"/{escape_path(fid)}", headers)
        except (LookupFailed, OutgoingError) as fault:
            raise ChunkError(str(fault)) from None
        try:
            if incoming.status >= 400:
                raise ChunkError(
                    f"Read chunk needle error: [{incoming.status}] {outgoing.scheme}://{url}/{fid}"
                )
            if incoming.status == 206:
                skipped = 0
            async with aclosing(incoming.pieces()) as pieces:
                async for piece in pieces:
                    if skipped < len(piece):
                        yield piece[skipped:]
                    skipped = max(0, skipped - len(piece))
        except OutgoingError as fault:
            raise ChunkError(str(fault)) from None
        finally:
            await incoming.close()


class _Refused(Exception):
    """A read of a chunk that is here would be answered with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status: Final = status


def _release(content: Content | None) -> None:
    if content is not None:
        content.release()
