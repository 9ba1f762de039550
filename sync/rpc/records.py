"""`push`: one atomic change of a space's records, written through a lane and announced to the others."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final
from uuid import UUID

import structlog

from less_sync.storage import Push, PushOutcome, PushStatus, StorageError, Unavailable
from less_sync.sync.access.rules import Access, Grant
from less_sync.sync.call import Call, connection_key
from less_sync.sync.errors import RpcError
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import encode_response, ws_frame
from less_sync.sync.protocol.ids import parse_record_id
from less_sync.sync.protocol.messages import PushChange, PushParams, PushResult
from less_sync.sync.protocol.notifications import removed_files_notification, sync_notification

log = structlog.get_logger(__name__)

_REFUSED: Final = {
    PushStatus.CONFLICT: ErrorCode.CONFLICT,
    PushStatus.NO_SPACE: ErrorCode.NOT_FOUND,
    PushStatus.FOREIGN_RECORD: ErrorCode.BAD_REQUEST,
    PushStatus.STALE_EPOCH: ErrorCode.KEY_GENERATION_STALE,
    PushStatus.REVOKED: ErrorCode.FORBIDDEN,
    PushStatus.REMOTE_HOME: ErrorCode.INTERNAL,
    PushStatus.NOT_PERSONAL: ErrorCode.FORBIDDEN,
}
"""What a push that was not written answers (storage chapter 7.2). A remote home needs a forwarder."""

_EPOCH_BYTES = 4


def push(
    call: Call, params: PushParams, access: Access, reply: Callable[[bytes], None]
) -> Coroutine[object, object, None] | None:
    """Queue one push; `reply` is called with the encoded response once its fate is known (protocol 9.2).

    Returns:
        What must run first, alone, when the space's root key has to be read; None when the push is queued.

    Raises:
        RpcError: the caller may not write there.
    """
    grant = access.write_now()
    if grant is None:
        return _push_once_granted(call, params, access, reply)
    _submit(call, params, grant, reply)
    return None


async def _push_once_granted(
    call: Call, params: PushParams, access: Access, reply: Callable[[bytes], None]
) -> None:
    try:
        grant = await access.write()
    except RpcError as error:
        reply(push_denied(call.request_id, error.code))
    except StorageError as error:
        log.error("storage failed", method="push", error=str(error))
        reply(push_denied(call.request_id, ErrorCode.INTERNAL))
    else:
        _submit(call, params, grant, reply)


def _submit(call: Call, params: PushParams, grant: Grant, reply: Callable[[bytes], None]) -> None:
    """Validate and queue.

    Authorisation comes before validation: an invalid push is sent to the database empty, and its
    validation error is the answer only if the database would have let the caller write.
    """
    # Safe under concurrency: `lsync_push_v1` checks and writes under the lock of the space's row.
    in_flight = _PushInFlight(call, params, grant.space, reply)
    prepared = _columns(params.changes, call.services.limits)
    if isinstance(prepared, ErrorCode):
        in_flight.invalid = prepared
        prepared = _Columns()
    taken = call.services.pushes.submit(
        Push(
            space=grant.space,
            ids=prepared.ids,
            expected=prepared.expected,
            blobs=prepared.blobs,
            deks=prepared.deks,
            payload_bytes=prepared.payload_bytes,
            client=grant.client_id,
            cids=grant.cids,
            min_epoch=prepared.min_epoch,
            author=connection_key(call.identity),
        ),
        in_flight.done,
    )
    if not taken:
        # Not at once: the session puts the reply in its place only after this returns.
        asyncio.get_running_loop().call_soon(in_flight.done, Unavailable("the push was refused"))


def push_denied(request_id: str, code: ErrorCode) -> bytes:
    """A refused push: a result, not an error response."""
    return encode_response(request_id, PushResult(ok=False, error=code))


class _Columns:
    """The changes of one push as the statement takes them."""

    __slots__ = ("blobs", "deks", "expected", "ids", "min_epoch", "payload_bytes")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.expected: list[int] = []
        self.blobs: list[bytes | None] = []
        self.deks: list[bytes | None] = []
        self.payload_bytes = 0
        self.min_epoch: int | None = None


def _columns(changes: list[PushChange], limits: Limits) -> _Columns | ErrorCode:
    """Validate in the order of protocol 9.2; the first fault answers."""
    if len(changes) > limits.records_per_push:
        return ErrorCode.PAYLOAD_TOO_LARGE
    columns = _Columns()
    ids, deks = columns.ids, columns.deks
    blob_bytes = dek_bytes = 0
    for change in changes:
        id = parse_record_id(change.id)
        if id is None:
            return ErrorCode.BAD_REQUEST
        ids.append(id)
        blob, dek = change.blob, change.dek
        if blob is not None:
            if len(blob) > limits.record_blob_bytes:
                return ErrorCode.PAYLOAD_TOO_LARGE if len(set(ids)) == len(ids) else ErrorCode.BAD_REQUEST
            blob_bytes += len(blob)
        if dek is not None:
            if len(dek) == limits.dek_bytes:
                epoch = int.from_bytes(dek[:_EPOCH_BYTES], "big")
                if columns.min_epoch is None or epoch < columns.min_epoch:
                    columns.min_epoch = epoch
            elif limits.strict_dek:
                return ErrorCode.BAD_REQUEST
            dek_bytes += len(dek)
        columns.expected.append(change.expected_cursor)
        columns.blobs.append(blob)
        deks.append(dek)
    if len(ids) > 1 and len(set(ids)) < len(ids):
        return ErrorCode.BAD_REQUEST
    if blob_bytes > limits.push_blob_bytes:
        return ErrorCode.PAYLOAD_TOO_LARGE
    columns.payload_bytes = blob_bytes + dek_bytes
    return columns


class _PushInFlight:
    """What is needed once the outcome of a push is known."""

    __slots__ = ("call", "invalid", "params", "reply", "space")

    def __init__(self, call: Call, params: PushParams, space: UUID, reply: Callable[[bytes], None]) -> None:
        self.call = call
        self.params = params
        self.space = space
        self.reply = reply
        self.invalid: ErrorCode | None = None

    def done(self, outcome: PushOutcome | StorageError) -> None:
        """Answer, and announce what was written. Called in cursor order within a space (protocol G5)."""
        request_id = self.call.request_id
        if isinstance(outcome, StorageError):
            log.error("storage failed", method="push", error=str(outcome))
            self.reply(push_denied(request_id, ErrorCode.INTERNAL))
        elif outcome.status is not PushStatus.WRITTEN:
            self.reply(push_denied(request_id, _REFUSED[outcome.status]))
        elif self.invalid is not None:
            self.reply(push_denied(request_id, self.invalid))
        else:
            self.reply(encode_response(request_id, PushResult(ok=True, cursor=outcome.cursor)))
            if self.params.changes:
                self._announce(outcome)

    def _announce(self, outcome: PushOutcome) -> None:
        """`sync` to every other subscriber, and `file` when tombstones removed files (protocol 11.1, G13)."""
        call = self.call
        broker = call.services.broker

        def sync(space: str) -> bytes:
            return ws_frame(
                sync_notification(
                    space,
                    cursor=outcome.cursor,
                    key_generation=outcome.key_generation,
                    rewrap_epoch=outcome.rewrap_epoch,
                    changes=self.params.changes,
                    frame_bytes_max=call.services.limits.outbound_frame_bytes,
                )
            )

        broker.publish(self.space, sync, exclude=call.outbound)
        if outcome.removed_files:

            def removed(space: str) -> bytes:
                return ws_frame(removed_files_notification(space, outcome.cursor, outcome.removed_files))

            broker.publish(self.space, removed)
