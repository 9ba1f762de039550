"""Pushes to statement arguments and result rows to outcomes (docs/storage.md 4.1 and 4.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from less_sync.storage.errors import StorageError
from less_sync.storage.queries import sql
from less_sync.storage.types import Push, PushOutcome, PushStatus

if TYPE_CHECKING:
    import asyncpg

_STATUS: Final = {int(status): status for status in PushStatus}
_NO_CIDS: Final = (1, 0)  # last below first: the statement passes NULL


def single_statement(push: Push) -> tuple[str, tuple[object, ...]]:
    """Text and arguments of the statement for a push by itself. Its columns go as they are.

    But for those that say nothing: all records of an import are new, and the driver packs an element of an
    array in the time in which it is decoded from a frame.
    """
    ids, expected, blobs, deks = push.ids, push.expected, push.blobs, push.deks
    whose = push.client, push.cids, push.min_epoch, push.local_only
    if len(ids) == 1:
        return sql("push_change"), (push.space, ids[0], expected[0], blobs[0], deks[0], *whose)
    if not any(expected):
        expected = ()
    if deks.count(None) == len(deks):
        deks = ()
    return sql("push"), (push.space, ids, expected, blobs, deks, *whose)


def batch_statement(pushes: Sequence[Push]) -> tuple[str, tuple[list[Any], ...]]:
    """Text and arguments of the statement for pushes that go together. Any: one list per column type."""
    for push in pushes:
        if len(push.ids) != 1 or push.cids is not None or push.local_only:
            return sql("push_batch"), _batch_arguments(pushes)
    return sql("push_changes"), (
        [push.space for push in pushes],
        [push.client for push in pushes],
        [push.min_epoch for push in pushes],
        [push.ids[0] for push in pushes],
        [push.expected[0] for push in pushes],
        [push.blobs[0] for push in pushes],
        [push.deks[0] for push in pushes],
    )


def _batch_arguments(pushes: Sequence[Push]) -> tuple[list[Any], ...]:
    """Arguments of query `push_batch`: all changes end to end, and where each push's begin and end."""
    ids: list[UUID | str] = []
    expected: list[int] = []
    blobs: list[bytes | None] = []
    deks: list[bytes | None] = []
    cids: list[str] = []
    firsts: list[int] = []
    lasts: list[int] = []
    first_cids: list[int] = []
    last_cids: list[int] = []
    last = 0
    for push in pushes:
        firsts.append(last + 1)
        last += len(push.ids)
        lasts.append(last)
        ids += push.ids
        expected += push.expected
        blobs += push.blobs
        deks += push.deks
        first, end = _NO_CIDS
        if push.cids:
            first = len(cids) + 1
            cids += push.cids
            end = len(cids)
        first_cids.append(first)
        last_cids.append(end)
    return (
        [push.space for push in pushes],
        [push.client for push in pushes],
        [push.local_only for push in pushes],
        [push.min_epoch for push in pushes],
        firsts,
        lasts,
        first_cids,
        last_cids,
        ids,
        expected,
        blobs,
        deks,
        cids,
    )


def outcome(row: "asyncpg.Record") -> PushOutcome | StorageError:
    """Read one result row of either query.

    A status this release does not know concerns its own push alone: it is returned as an error, not raised,
    because the pushes of the other rows are committed and must not be sent again.
    """
    number, cursor, key_generation, rewrap_epoch, file_ids, file_records = row
    status = _STATUS.get(number)
    if status is None:
        return StorageError(f"a push was answered with the unknown status {number}")
    return PushOutcome(
        status,
        cursor,
        key_generation or 0,
        rewrap_epoch,
        tuple(zip(file_ids, file_records, strict=True)) if file_ids else (),
    )
