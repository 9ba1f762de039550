"""Pushes to statement arguments and result rows to outcomes (docs/storage.md 4.1 and 4.2)."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from less_sync.storage.errors import StorageError
from less_sync.storage.queries import sql
from less_sync.storage.types import Push, PushOutcome, PushStatus

if TYPE_CHECKING:
    import asyncpg

_STATUS: Final = {int(status): status for status in PushStatus}
_NO_CIDS: Final = (1, 0)  # last below first: the statement passes NULL
_ID_CHARS: Final = 36
_ID_BYTES: Final = 16
_DEK_SIZES: Final = {44}
_PACKED_CHANGES_MIN: Final = 8
"""Below, unpacking costs the database more than packing saves."""


def single_statement(push: Push) -> tuple[str, tuple[object, ...]]:
    """Text and arguments of the statement for a push by itself."""
    ids, expected, blobs, deks = push.ids, push.expected, push.blobs, push.deks
    whose = push.client, push.cids, push.min_epoch, push.local_only
    if len(ids) == 1:
        return sql("push_change"), (push.space, ids[0], expected[0], blobs[0], deks[0], *whose)
    if not any(expected):
        expected = ()
    if len(ids) >= _PACKED_CHANGES_MIN and (packed := _packed(ids, blobs, deks)) is not None:
        return sql("push_many"), (
            push.space,
            packed.ids,
            expected,
            packed.blobs,
            packed.sizes,
            packed.deks,
            *whose,
        )
    # What is the same for all is left out: the driver takes its time with each element of an array.
    if deks.count(None) == len(deks):
        deks = ()
    return sql("push"), (push.space, ids, expected, blobs, deks, *whose)


def batch_statement(pushes: Sequence[Push]) -> tuple[str, tuple[object, ...]]:
    """Text and arguments of the statement for pushes that go together, in the order of their spaces."""
    changes = sum([len(push.ids) for push in pushes])
    if changes == len(pushes):
        arguments = _changes_arguments(pushes)
        if arguments is not None:
            return sql("push_changes"), arguments
    elif changes >= _PACKED_CHANGES_MIN * len(pushes):
        columns = _Columns(pushes)
        packed = _packed(columns.ids, columns.blobs, columns.deks)
        if packed is not None:
            return sql("push_packed"), columns.packed_arguments(packed)
    return sql("push_batch"), columns_of(pushes)


def columns_of(pushes: Sequence[Push]) -> tuple[object, ...]:
    """Arguments of query `push_batch`, which takes any pushes."""
    return _Columns(pushes).arguments()


class _Packed(NamedTuple):
    """Columns of many records as `lsync_push_v2` takes them."""

    ids: bytes
    blobs: bytes
    sizes: str
    deks: bytes | None


def _packed(
    ids: Sequence[UUID | str], blobs: Sequence[bytes | None], deks: Sequence[bytes | None]
) -> _Packed | None:
    """Each column in one piece, at a third of what the driver takes for arrays.

    None for what is unusual: an id that is not text of the usual form, a DEK of another size, or one that is
    missing where others are not.
    """
    count, absent = len(ids), deks.count(None)
    try:
        texts = "".join(cast("Sequence[str]", ids))
        binary = bytes.fromhex(texts.replace("-", ""))
    except (TypeError, ValueError):
        return None
    if len(texts) != _ID_CHARS * count or len(binary) != _ID_BYTES * count:
        return None
    keys = None
    if absent < count:
        if absent or set(map(len, cast("Sequence[bytes]", deks))) != _DEK_SIZES:
            return None
        keys = b"".join(cast("Sequence[bytes]", deks))
    if None in blobs:
        sizes = ",".join(["NULL" if blob is None else str(len(blob)) for blob in blobs])
        together = b"".join([blob for blob in blobs if blob is not None])
    else:
        whole = cast("Sequence[bytes]", blobs)
        sizes, together = ",".join(map(str, map(len, whole))), b"".join(whole)
    return _Packed(binary, together, f"{{{sizes}}}", keys)


def _changes_arguments(pushes: Sequence[Push]) -> tuple[object, ...] | None:
    """Arguments of query `push_changes`; None when a push has not exactly one change."""
    cids: list[str | None] = []
    local_only: list[bool] = []
    ids: list[UUID | str] = []
    expected: list[int] = []
    blobs: list[bytes | None] = []
    deks: list[bytes | None] = []
    for push in pushes:
        if len(push.ids) != 1:
            return None
        ids += push.ids
        expected += push.expected
        blobs += push.blobs
        deks += push.deks
    if any(push.cids or push.local_only for push in pushes):
        cids = [",".join(push.cids) if push.cids else None for push in pushes]
        local_only = [push.local_only for push in pushes]
        if any(push.cids and "," in "".join(push.cids) for push in pushes):
            return None
    return (
        _array_text([f"{push.space.int:032x}" for push in pushes]),
        [push.client for push in pushes],
        cids,
        _array_text(["NULL" if push.min_epoch is None else str(push.min_epoch) for push in pushes]),
        local_only,
        _array_text(map(str, ids)),
        _array_text(map(str, expected)) if any(expected) else "{}",
        blobs,
        deks,
    )


def _array_text(elements: Iterable[str]) -> str:
    """An array as Postgres reads it; no element has anything to be quoted."""
    return f"{{{','.join(elements)}}}"


class _Columns:
    """All changes of several pushes end to end, and where each push's begin and end."""

    def __init__(self, pushes: Sequence[Push]) -> None:
        self.ids: list[UUID | str] = []
        self.expected: list[int] = []
        self.blobs: list[bytes | None] = []
        self.deks: list[bytes | None] = []
        self._pushes = pushes
        self._cids: list[str] = []
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._first_cids: list[int] = []
        self._last_cids: list[int] = []
        last = 0
        for push in pushes:
            self._firsts.append(last + 1)
            last += len(push.ids)
            self._lasts.append(last)
            self.ids += push.ids
            self.expected += push.expected
            self.blobs += push.blobs
            self.deks += push.deks
            first, end = _NO_CIDS
            if push.cids:
                first = len(self._cids) + 1
                self._cids += push.cids
                end = len(self._cids)
            self._first_cids.append(first)
            self._last_cids.append(end)

    def _whose(self) -> tuple[list[Any], ...]:
        pushes = self._pushes
        return (
            [push.space for push in pushes],
            [push.client for push in pushes],
            [push.local_only for push in pushes],
            [push.min_epoch for push in pushes],
            self._firsts,
            self._lasts,
        )

    def arguments(self) -> tuple[object, ...]:
        """Of query `push_batch`."""
        columns = self.ids, self.expected, self.blobs, self.deks, self._cids
        return (*self._whose(), self._first_cids, self._last_cids, *columns)

    def packed_arguments(self, packed: _Packed) -> tuple[object, ...]:
        """Of query `push_packed`."""
        sizes = [sum([len(blob) for blob in push.blobs if blob is not None]) for push in self._pushes]
        starts = list(accumulate(sizes[:-1], initial=1))
        expected = self.expected if any(self.expected) else ()
        columns = packed.ids, expected, packed.blobs, packed.sizes, packed.deks, self._cids
        return (*self._whose(), starts, sizes, self._first_cids, self._last_cids, *columns)


def outcome(row: "asyncpg.Record") -> PushOutcome | StorageError:
    """Read one result row of any of these queries.

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
