"""`pull`: everything of a space above a cursor, streamed from one snapshot within a bounded window."""

import structlog

from less_sync.storage import Pull, Space, StorageError
from less_sync.sync.access.rules import Access, Grant, read_each
from less_sync.sync.call import Call, connection_key
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import ChunkedResult, PullParams
from less_sync.sync.protocol.pull_chunks import PullEncoder

log = structlog.get_logger(__name__)


async def pull(call: Call, params: PullParams, accesses: list[Access]) -> ChunkedResult:
    """Serve the spaces one after another; a space that may not or cannot be read is left out (protocol 9.3).

    Raises:
        RpcError: `internal` when a space fails after its begin was sent: the client must not take what it
            has for the whole (protocol G14).
    """
    if len(params.spaces) > call.services.limits.spaces_per_pull:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in pull request")
    grants = await _grants(call, accesses)
    chunks = 0
    for entry, grant in zip(params.spaces, grants, strict=True):
        if grant is not None:
            chunks += await _pull_space(call, entry.id, entry.since, grant)
    return ChunkedResult(chunks=chunks)


async def _grants(call: Call, accesses: list[Access]) -> list[Grant | None]:
    """A grant for each space that may be read. Shared ones take one query; a personal one none of its own."""
    grants = [access.unasked_grant() for access in accesses]
    asked = [index for index, grant in enumerate(grants) if grant is None]
    if asked:
        try:
            readable = await read_each(call, [accesses[index] for index in asked])
        except StorageError as error:
            log.error("storage failed", method="pull", error=str(error))
        else:
            for index, one in zip(asked, readable, strict=True):
                grants[index] = None if isinstance(one, ErrorCode) else one[0]
    return grants


async def _pull_space(call: Call, text: str, since: int, grant: Grant) -> int:
    """Stream one space; return the number of chunks sent."""
    stream = _Stream(call, text, since)
    try:
        reader = connection_key(call.identity)
        async with call.services.pulls.pull(grant.space, since, reader=reader) as opened:
            if opened is not None:
                if grant.client_id is not None and opened.meta.shared:
                    return 0  # a token that claims a shared space opens nothing (protocol G11)
                await stream.send_all(opened)
                return stream.chunks
        if grant.client_id is not None:
            # A personal space comes into being when its owner first reads it (protocol 8).
            await stream.send_nothing(
                await call.services.spaces.get_or_create_space(grant.space, grant.client_id)
            )
    except StorageError as error:
        log.error("pull failed", space=str(grant.space), error=str(error), begun=stream.chunks > 0)
        if stream.chunks:
            raise RpcError(ErrorCode.INTERNAL, "pull stream error") from error
    return stream.chunks


class _Stream:
    """The chunks of one space on their way to the session."""

    __slots__ = ("_call", "_encoder", "_since", "chunks")

    def __init__(self, call: Call, text: str, since: int) -> None:
        self._call = call
        self._encoder = PullEncoder(call.request_id, text)
        self._since = since
        self.chunks = 0

    async def send_all(self, opened: Pull) -> None:
        """Begin, every entry of the snapshot, commit. A few batches of rows are in memory at a time."""
        meta, encoder, call = opened.meta, self._encoder, self._call
        if self._since > meta.cursor:
            log.warning("pull beyond the cursor served from 0", cursor=meta.cursor, since=self._since)
        parts = [
            encoder.begin(
                since=self._since,
                cursor=meta.cursor,
                key_generation=meta.key_generation,
                rewrap_epoch=meta.rewrap_epoch,
            )
        ]
        self.chunks = 1
        async for rows in opened.batches():
            parts += encoder.entries(rows)
            await call.send(parts)
            parts = []
        await call.send([*parts, encoder.commit()])
        self.chunks = encoder.count + 2

    async def send_nothing(self, row: Space) -> None:
        """Begin and commit of a space that was just created."""
        encoder = self._encoder
        begin = encoder.begin(
            since=self._since,
            cursor=row.cursor,
            key_generation=row.key_generation,
            rewrap_epoch=row.rewrap_epoch,
        )
        self.chunks = 2
        await self._call.send([begin, encoder.commit()])
