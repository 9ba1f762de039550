"""One atomic change of a space's records, written through a lane and announced to the others."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from less_sync.storage import DEK_EPOCH_BYTES, Push, PushOutcome, PushStatus, StorageError, Unavailable
from less_sync.sync.access.grants import Grant
from less_sync.sync.announce import Change, Notice
from less_sync.sync.call import Call
from less_sync.sync.limits import Limits
from less_sync.sync.metrics import OK
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import encode_pushed, encode_response
from less_sync.sync.protocol.ids import parse_record_id, parse_record_ids
from less_sync.sync.protocol.messages import PushChange, PushParams, PushResult
from less_sync.sync.protocol.notifications import removed_files_notification, sync_notification
from less_sync.sync.rpc.dispatch import log_storage_fault, reply_refused
from less_sync.sync.rpc.elsewhere import error_code

REFUSED: Final = {
    PushStatus.CONFLICT: ErrorCode.CONFLICT,
    PushStatus.NO_SPACE: ErrorCode.NOT_FOUND,
    PushStatus.FOREIGN_RECORD: ErrorCode.BAD_REQUEST,
    PushStatus.STALE_EPOCH: ErrorCode.KEY_GENERATION_STALE,
    PushStatus.REVOKED: ErrorCode.FORBIDDEN,
    PushStatus.REMOTE_HOME: ErrorCode.FORBIDDEN,
    PushStatus.NOT_PERSONAL: ErrorCode.FORBIDDEN,
}
"""What a push that was not written answers (docs/storage.md 3.3 and 4.1). Pushes of clients go on to a remote
home; those of other servers go no further.
"""


def submit_push(in_flight: "PushInFlight", grant: Grant, *, local_only: bool = False) -> None:
    """Validate and queue.

    Authorisation comes before validation: an invalid push is sent to the database empty, and its
    validation error is the answer only if the database would have let the caller write.

    Args:
        local_only: refuse a space whose home is another server.
    """
    # Safe under concurrency: the functions of docs/storage.md 4.1 and 4.2 check and write under the lock of
    # the space's row.
    call = in_flight.call
    services = call.services
    prepared = columns_of(in_flight.params.changes, services.limits)
    if isinstance(prepared, ErrorCode):
        in_flight.invalid = prepared
        prepared = Columns()
    in_flight.payload_bytes = prepared.payload_bytes
    accepted = services.pushes.submit(
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
            local_only=local_only,
            author=call.caller.person,
        ),
        in_flight.done,
    )
    if accepted:
        services.announce.push_begun(grant.space)
    else:
        in_flight.answer(ErrorCode.INTERNAL)


def refuse_push(call: Call, code: str, reply: Callable[[bytes], None]) -> None:
    """Answer a push that got no further than a look at its space."""
    reply_refused(call, "push", code, push_denied(call.request_id, code), reply)


def push_denied(request_id: str, code: str) -> bytes:
    """A refused push: a result, not an error response."""
    return encode_response(request_id, PushResult(ok=False, error=code))


class Columns:
    """The changes of one push as the statement takes them."""

    __slots__ = ("blobs", "deks", "expected", "ids", "min_epoch", "payload_bytes")

    def __init__(self) -> None:
        self.ids: Sequence[str] = []
        self.expected: list[int] = []
        self.blobs: list[bytes | None] = []
        self.deks: list[bytes | None] = []
        self.payload_bytes = 0
        self.min_epoch: int | None = None


_MANY_CHANGES: Final = 16
"""From so many on it pays to look at columns first."""


def columns_of(changes: list[PushChange], limits: Limits) -> Columns | ErrorCode:
    """Validate in the order of docs/protocol.md 7.4; the first fault answers."""
    if len(changes) > limits.records_per_push:
        return ErrorCode.PAYLOAD_TOO_LARGE
    if len(changes) >= _MANY_CHANGES and (columns := _usual(changes, limits)) is not None:
        return columns
    columns = Columns()
    ids: list[str] = []
    columns.ids, deks = ids, columns.deks
    blob_bytes = dek_bytes = 0
    for change in changes:
        record = parse_record_id(change.id)
        if record is None:
            return ErrorCode.BAD_REQUEST
        ids.append(record)
        blob, dek = change.blob, change.dek
        if blob is not None:
            if len(blob) > limits.record_blob_bytes:
                return ErrorCode.PAYLOAD_TOO_LARGE if len(set(ids)) == len(ids) else ErrorCode.BAD_REQUEST
            blob_bytes += len(blob)
        if dek is not None:
            if len(dek) == limits.dek_bytes:
                epoch = int.from_bytes(dek[:DEK_EPOCH_BYTES], "big")
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


def _usual(changes: list[PushChange], limits: Limits) -> Columns | None:
    """The same for changes that are all as they should be, in half the time; None when something is unusual.

    Columns are looked at as a whole; what is wrong with which change is not found out here.
    """
    columns = Columns()
    ids = parse_record_ids([change.id for change in changes])
    columns.expected = [change.expected_cursor for change in changes]
    columns.blobs = [change.blob for change in changes]
    columns.deks = deks = [change.dek for change in changes]
    blob_sizes = list(map(len, filter(None, columns.blobs)))
    blob_bytes, absent_deks = sum(blob_sizes), deks.count(None)
    if (
        ids is None
        or len(set(ids)) < len(ids)
        or max(blob_sizes, default=0) > limits.record_blob_bytes
        or blob_bytes > limits.push_blob_bytes
        or list(map(len, filter(None, deks))).count(limits.dek_bytes) + absent_deks < len(deks)
    ):
        return None
    columns.ids = ids
    columns.payload_bytes = blob_bytes + (len(deks) - absent_deks) * limits.dek_bytes
    if absent_deks < len(deks):
        # Unsigned and big-endian: DEKs stand in the order of their epochs.
        columns.min_epoch = int.from_bytes(min(filter(None, deks))[:DEK_EPOCH_BYTES])
    return columns


class PushInFlight:
    """What is needed once the outcome of a push is known."""

    __slots__ = ("call", "invalid", "params", "payload_bytes", "reply", "sent_s", "space")

    def __init__(self, call: Call, params: PushParams, space: UUID, reply: Callable[[bytes], None]) -> None:
        self.call = call
        self.params = params
        self.space = space
        self.reply = reply
        self.invalid: ErrorCode | None = None
        self.payload_bytes = 0
        self.sent_s = call.services.clock()

    def done(self, outcome: PushOutcome | StorageError) -> None:
        """Answer, and announce what was written. Called in cursor order within a space."""
        announce = self.call.services.announce
        change: Change | None = None
        try:
            if isinstance(outcome, StorageError):
                log_storage_fault("push", outcome)
                if isinstance(outcome, Unavailable):
                    announce.unknown(self.space)
                self.answer(ErrorCode.INTERNAL)
            elif outcome.status is not PushStatus.WRITTEN:
                self.refused(outcome.status)
            elif self.invalid is not None:
                self.answer(self.invalid)
            else:
                if (growth := self.call.services.metrics.growth) is not None:
                    growth.add(self.space, len(self.params.changes), self.payload_bytes)
                services = self.call.services
                if self.params.changes and (
                    services.broker.listened_to(self.space) or services.nodes is not None
                ):
                    change = self._change(outcome)
                self.answer(None, outcome.cursor)
        finally:
            # Whatever became of the answer, what was committed is announced.
            announce.push_ended(self.space, change)
            self._remove_contents(outcome)

    def refused(self, status: PushStatus) -> None:
        """The database did not write it, for the reason that `status` gives."""
        self.answer(REFUSED[status])

    def _remove_contents(self, outcome: PushOutcome | StorageError) -> None:
        """Free the contents of files whose rows went with the tombstones of this push."""
        files = self.call.services.files
        if files is not None and isinstance(outcome, PushOutcome) and outcome.removed_files:
            files.removals.add(self.space, [file for file, _ in outcome.removed_files])

    def answer(self, refused: str | None, cursor: int = 0) -> None:
        """Send the answer: the cursor, or why not, as an `ErrorCode` or as another server says it."""
        call = self.call
        if refused is None:
            payload = encode_pushed(call.request_id, cursor)
        else:
            payload = push_denied(call.request_id, refused)
            refused = error_code(refused)
        seconds = call.services.clock() - self.sent_s
        call.services.metrics.answered("push", OK if refused is None else refused, seconds, 1, len(payload))
        self.reply(payload)

    def _change(self, outcome: PushOutcome) -> Change:
        """`sync` to every other subscriber, and `file` when tombstones removed files."""
        frame_bytes_max = self.call.services.limits.outbound_frame_bytes

        def sync(space: str) -> bytes:
            return sync_notification(
                space,
                cursor=outcome.cursor,
                key_generation=outcome.key_generation,
                rewrap_epoch=outcome.rewrap_epoch,
                changes=self.params.changes,
                frame_bytes_max=frame_bytes_max,
            )

        notices = [Notice(sync, self.call.outbound)]
        if outcome.removed_files:
            notices.append(
                Notice(
                    lambda space: removed_files_notification(
                        space, outcome.cursor, outcome.removed_files, frame_bytes_max=frame_bytes_max
                    )
                )
            )
        return Change(outcome.cursor, notices, self.payload_bytes)
