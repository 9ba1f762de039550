"""`pull`: everything of a space above a cursor, streamed from one snapshot within a bounded window."""

from uuid import UUID

import structlog

from less_sync.storage import Pull, Space, StorageError
from less_sync.sync.access.grants import Access, Grant, Readable, read_each
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import ChunkedResult, PullParams
from less_sync.sync.protocol.pull_chunks import PullEncoder
from less_sync.sync.rpc.dispatch import log_storage_fault
from less_sync.sync.rpc.edge_pulls import relay_pull
from less_sync.sync.rpc.elsewhere import asked_elsewhere

log = structlog.get_logger(__name__)

_BROKEN = "pull stream error"
"""How a fault of ours is told, before the first chunk as after it: a client must not take silence for "gone".
"""


async def pull(call: Call, params: PullParams, accesses: list[Access]) -> ChunkedResult:
    """Serve the spaces one after another; a space that may not or cannot be read is left out
    (docs/protocol.md 7.5).

    Raises:
        RpcError: `internal` when a space fails after its begin was sent: the client must not take what it
            has for the whole (docs/protocol.md 7.5). Also when our database fails before it.
    """
    if len(params.spaces) > call.services.limits.spaces_per_pull:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in pull request")
    try:
        readable = await _readable(call, accesses)
    except StorageError as error:
        log_storage_fault("pull", error)
        raise RpcError(ErrorCode.INTERNAL, _BROKEN) from error
    chunks = 0
    for entry, one in zip(params.spaces, readable, strict=True):
        if one is None:
            continue
        asked = asked_elsewhere(call, one, text=entry.id, since=entry.since, ucan=entry.ucan)
        if asked is None:
            chunks += await _pull_space(call, entry.id, entry.since, one.grant)
        else:
            chunks += await relay_pull(call, asked)
    return ChunkedResult(chunks=chunks)


async def _readable(call: Call, accesses: list[Access]) -> list[Readable | None]:
    """The spaces that may be read. Shared ones take one query; a personal one none of its own."""
    found = [_personal(access) for access in accesses]
    asked = [index for index, one in enumerate(found) if one is None]
    if asked:
        readable = await read_each(call.services.spaces, [accesses[index] for index in asked])
        for index, one in zip(asked, readable, strict=True):
            found[index] = one if isinstance(one, Readable) else None
    return found


def _personal(access: Access) -> Readable | None:
    """The caller's own space, unread; any other has revocations that must be read."""
    decision = access.decide() if access.personal else None
    return Readable(decision, None) if isinstance(decision, Grant) and decision.chain is None else None


async def _pull_space(call: Call, text: str, since: int, grant: Grant) -> int:
    """Stream one space; return the number of chunks sent."""
    stream = _Stream(call, grant.space, text, since)
    try:
        async with call.services.pulls.pull(grant.space, since, reader=call.caller.person) as opened:
            if opened is not None:
                if grant.client_id is not None and opened.meta.shared:
                    return 0  # a token that claims a shared space opens nothing (docs/protocol.md 5.1)
                await stream.send_all(opened)
                return stream.chunks
        if grant.client_id is not None:
            # A personal space comes into being when its owner first reads it (docs/protocol.md 5.1).
            await stream.send_nothing(
                await call.services.spaces.get_or_create_space(grant.space, grant.client_id)
            )
    except StorageError as error:
        log.error("pull failed", space=str(grant.space), error=str(error), begun=stream.chunks > 0)
        raise RpcError(ErrorCode.INTERNAL, _BROKEN) from error
    return stream.chunks


class _Stream:
    """The chunks of one space on their way to the session."""

    __slots__ = ("_call", "_encoder", "_since", "_space", "chunks")

    def __init__(self, call: Call, space: UUID, text: str, since: int) -> None:
        self._call = call
        self._space = space
        self._encoder = PullEncoder(call.request_id, text, header=call.outbound.frame_header)
        self._since = since
        self.chunks = 0

    async def send_all(self, opened: Pull) -> None:
        """Begin, every entry of the snapshot, commit. A few batches of rows are in memory at a time."""
        meta, encoder, call = opened.meta, self._encoder, self._call
        if self._since > meta.cursor and call.caller.warn_once(self._space):
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
            call.services.metrics.pull_rows += len(rows)
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
