"""Deleting the chunks that a manifest names, here and on the other servers that hold them."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_key, parse_volume_id, split_fid
from less_sync.volume.http.batch_delete import delete_at
from less_sync.volume.http.replicate import ONE_COPY

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.services import Services

UNBROKEN: Final = 64
"""So many deletions follow each other before other work on the loop has its turn."""


class ChunkError(Exception):
    """A chunk could not be deleted; the text names it."""


class _Chunk(NamedTuple):
    fid: str
    volume_id: int
    id: int
    cookie: int


class ChunkDeletion:
    """Deletes chunks. One that is gone already is as good as deleted."""

    def __init__(self, services: "Services") -> None:
        self._services: Final = services

    async def delete(self, fids: Sequence[str]) -> None:
        """Delete all of them. Nothing is deleted unless all can be read as file ids and are found.

        Raises:
            ChunkError: one of them is no file id, its volume is nowhere, or a server failed to delete it.
        """
        here: list[_Chunk] = []
        elsewhere: defaultdict[str, list[str]] = defaultdict(list)
        for volume_id, chunks in _by_volume(fids).items():
            volume = self._services.store.volume(volume_id)
            if volume is not None:
                here += chunks
            for address in await self._addresses(volume_id, volume, chunks[0].fid):
                elsewhere[address] += [chunk.fid for chunk in chunks]
        await self._delete_here(here)
        results = await asyncio.gather(*(self._delete_at(*told) for told in elsewhere.items()))
        for failure in filter(None, results):
            raise ChunkError(failure)

    async def _addresses(self, volume_id: int, volume: "Volume | None", fid: str) -> list[str]:
        """Where a volume is beside here, by gRPC."""
        if volume is not None and volume.placement == ONE_COPY:
            return []
        # Loading the master's messages takes a third of a start; see `replicate`.
        from less_sync.volume.master.lookup import LookupFailed

        try:
            places = await self._services.lookup.find(volume_id)
        except LookupFailed as fault:
            raise ChunkError(f"chunk delete {fid}: {fault}") from fault
        if volume is None and not places:
            raise ChunkError(f"chunk delete {fid}: volume id {volume_id} not found")
        own = self._services.options.own_address
        return [place.grpc_address for place in places if place.url != own]

    async def _delete_here(self, chunks: Sequence[_Chunk]) -> None:
        for count, chunk in enumerate(chunks, start=1):
            volume = self._services.store.volume(chunk.volume_id)
            try:
                # The volume may have gone meanwhile; it is then on another server, and its chunk with it.
                if volume is not None and volume.try_delete(chunk.id, chunk.cookie) is None:
                    await volume.delete(chunk.id, chunk.cookie)
            except (VolumeError, OSError) as fault:
                raise ChunkError(f"chunk delete {chunk.fid}: {fault}") from fault
            if not count % UNBROKEN:
                await asyncio.sleep(0)

    async def _delete_at(self, address: str, fids: Sequence[str]) -> str:
        failures = await delete_at(self._services.channels, address, fids)
        for fid, failure in zip(fids, failures, strict=True):
            if failure:
                return f"chunk delete {fid}: {failure}"
        return ""


def _by_volume(fids: Sequence[str]) -> dict[int, list[_Chunk]]:
    grouped: defaultdict[int, list[_Chunk]] = defaultdict(list)
    for fid in fids:
        try:
            vid, needle = split_fid(fid)
            try:
                volume_id = parse_volume_id(vid)
            except FormatError:
                raise ChunkError(f"chunk delete {fid}: volume id {vid} not found") from None
            grouped[volume_id].append(_Chunk(fid, volume_id, *parse_key(needle)))
        except FormatError as fault:
            raise ChunkError(f"chunk delete {fid}: {fault}") from fault
    return grouped
