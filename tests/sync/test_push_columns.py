"""The changes of a push as columns: the first fault answers, however many changes there are."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import PushChange
from less_sync.sync.rpc.records import Columns, columns_of

LIMITS = Limits(record_blob_bytes=8, push_blob_bytes=200)
MANY = 32
"""Changes that are looked at by columns first."""


def change(number: int, *, blob: bytes | None = b"blob", dek: bytes | None = None) -> PushChange:
    return PushChange(id=str(UUID(int=number)), blob=blob, expected_cursor=number, dek=dek)


def dek(epoch: int) -> bytes:
    return epoch.to_bytes(4, "big") + bytes(40)


usual = st.builds(
    PushChange,
    id=st.uuids().map(str),
    blob=st.none() | st.binary(max_size=8),
    expected_cursor=st.integers(0, 3),
    dek=st.none() | st.integers(0, 2**32 - 1).map(dek),
)
odd = st.builds(
    PushChange,
    id=st.uuids().map(lambda record_id: str(record_id).upper())
    | st.sampled_from([str(UUID(int=1)), "no id", "", "é" * 36]),
    blob=st.binary(min_size=7, max_size=9),
    expected_cursor=st.just(0),
    dek=st.none() | st.binary(max_size=45) | st.just(bytes(44)),
)
pushes = st.lists(usual, max_size=40).flatmap(
    lambda most: st.lists(odd, max_size=3).flatmap(lambda few: st.permutations([*most, *few]))
)


def expected_of(changes: list[PushChange], limits: Limits) -> Columns | ErrorCode:
    """The same by the words of docs/protocol.md 7.4, a change at a time."""
    columns = Columns()
    ids: list[str] = []
    epochs: list[int] = []
    blob_bytes = 0
    for one in changes:
        if len(one.id) != 36 or not one.id.isascii() or one.id.lower() != _canonical(one.id):
            return ErrorCode.BAD_REQUEST
        ids.append(one.id.lower())
        if one.blob is not None and len(one.blob) > limits.record_blob_bytes:
            return ErrorCode.BAD_REQUEST if len(set(ids)) < len(ids) else ErrorCode.PAYLOAD_TOO_LARGE
        if one.dek is not None and len(one.dek) != 44 and limits.strict_dek:
            return ErrorCode.BAD_REQUEST
        if one.dek is not None and len(one.dek) == 44:
            epochs.append(int.from_bytes(one.dek[:4], "big"))
        blob_bytes += len(one.blob or b"")
        columns.payload_bytes += len(one.blob or b"") + len(one.dek or b"")
    if len(set(ids)) < len(ids):
        return ErrorCode.BAD_REQUEST
    if blob_bytes > limits.push_blob_bytes:
        return ErrorCode.PAYLOAD_TOO_LARGE
    columns.ids = ids
    columns.expected = [one.expected_cursor for one in changes]
    columns.blobs = [one.blob for one in changes]
    columns.deks = [one.dek for one in changes]
    columns.min_epoch = min(epochs, default=None)
    return columns


def _canonical(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


def fields_of(columns: Columns | ErrorCode) -> object:
    if isinstance(columns, ErrorCode):
        return columns
    return {name: getattr(columns, name) for name in Columns.__slots__} | {"ids": list(columns.ids)}


@pytest.mark.parametrize("strict_dek", [True, False])
@given(changes=pushes)
def test_columns_or_the_first_fault(strict_dek: bool, changes: list[PushChange]) -> None:
    limits = Limits(record_blob_bytes=8, push_blob_bytes=200, strict_dek=strict_dek)
    assert fields_of(columns_of(changes, limits)) == fields_of(expected_of(changes, limits))


@pytest.mark.parametrize("count", [1, MANY])
def test_one_id_twice_is_found_in_either_case(count: int) -> None:
    changes = [change(number) for number in range(count)]
    again = PushChange(id=str(UUID(int=0xABC)).upper(), blob=None, expected_cursor=0)
    assert isinstance(columns_of([*changes, change(0xABC)], LIMITS), Columns)
    assert columns_of([*changes, change(0xABC), again], LIMITS) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("count", [1, MANY])
def test_a_blob_too_large_counts_before_what_stands_behind_it(count: int) -> None:
    changes = [change(number) for number in range(count)]
    large = PushChange(id=str(UUID(int=999)), blob=bytes(9), expected_cursor=0)
    bad = PushChange(id="no id", blob=None, expected_cursor=0)
    assert columns_of([*changes, large, bad], LIMITS) is ErrorCode.PAYLOAD_TOO_LARGE
    assert columns_of([*changes, bad, large], LIMITS) is ErrorCode.BAD_REQUEST


def test_the_smallest_epoch_of_many_is_unsigned() -> None:
    changes = [change(number, dek=dek(2**32 - 1 - number)) for number in range(MANY)]
    columns = columns_of(changes, LIMITS)
    assert isinstance(columns, Columns)
    assert columns.min_epoch == 2**32 - MANY
    assert columns.payload_bytes == MANY * (4 + 44)
