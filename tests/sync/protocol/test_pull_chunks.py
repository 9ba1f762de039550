"""A pull's chunks: every byte is that of the generic encoder, whatever the mix of entries."""

from uuid import UUID

import pytest
from asyncpg.pgproto.pgproto import UUID as DriverUUID
from hypothesis import given
from hypothesis import strategies as st

from less_sync.storage import FILE, MEMBER, RECORD, PullRow
from less_sync.sync.http.framing import ws_frame, ws_header
from less_sync.sync.protocol import pull_chunks
from less_sync.sync.protocol.errors import LocalProtocolError
from less_sync.sync.protocol.frames import encode_chunk
from less_sync.sync.protocol.messages import (
    MemberEntry,
    PullBegin,
    PullCommit,
    PullFile,
    PullMembership,
    PullRecord,
    Result,
)
from less_sync.sync.protocol.pull_chunks import PullEncoder

SPACE = "{4B131AA1-543C-5C6B-92CD-3DB468A95E64}"

lengths = st.sampled_from([0, 1, 23, 24, 44, 100, 255, 256, 1024, 70_000])
payloads = st.none() | lengths.map(bytes)
cursors = st.sampled_from([-(2**63), -1, 0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1])
rows = st.lists(
    st.one_of(
        st.tuples(
            st.just(RECORD),
            cursors,
            st.uuids().map(lambda record_id: DriverUUID(str(record_id))) | st.uuids(),
            payloads,
            payloads,
            st.none(),
            st.none(),
            st.none(),
            st.booleans(),
        ),
        st.tuples(
            st.just(MEMBER),
            cursors,
            st.none(),
            st.binary(min_size=1, max_size=300),
            st.binary(min_size=32, max_size=32),
            st.none() | st.just(b"") | st.binary(min_size=32, max_size=32),
            st.none(),
            st.integers(0, 2**31 - 1),
            st.just(False),
        ),
        st.tuples(
            st.just(FILE),
            cursors,
            st.uuids(),
            st.none(),
            st.binary(max_size=50),
            st.none(),
            st.uuids(),
            st.integers(0, 2**63 - 1),
            st.booleans(),
        ),
    ),
    max_size=25,
)


def generic(request_id: str, row: PullRow) -> bytes:
    """One row's frame by the generic encoder."""
    kind, cursor, entry_id, b1, b2, b3, record_id, number, deleted = row
    data: Result
    if kind == RECORD:
        name = "pull.record"
        data = PullRecord(space=SPACE, id=str(entry_id), blob=b1, cursor=cursor, dek=b2, deleted=deleted)
    elif kind == MEMBER:
        assert b1 is not None
        assert b2 is not None
        assert number is not None
        name = "pull.membership"
        entry = MemberEntry(chain_seq=number, prev_hash=b3 or b"", entry_hash=b2, payload=b1)
        data = PullMembership(SPACE, cursor, [entry])
    else:
        assert b2 is not None
        assert number is not None
        name = "pull.file"
        data = PullFile(
            space=SPACE,
            id=str(entry_id),
            record_id=str(record_id),
            size=number,
            dek=b2,
            cursor=cursor,
            deleted=deleted,
        )
    return ws_frame(encode_chunk(request_id, name, data))


@given(st.sampled_from(["", "p", "rpc-12-é", "i" * 256]), st.lists(rows, max_size=3))
def test_entries_are_those_of_a_generic_encoder(request_id: str, batches: list[list[PullRow]]) -> None:
    encoder = PullEncoder(request_id, SPACE, header=ws_header)
    for batch in batches:
        assert b"".join(encoder.entries(batch)) == b"".join(generic(request_id, row) for row in batch)
    assert encoder.count == sum(map(len, batches))


def record(blob: bytes | None, *, cursor: int = 1) -> PullRow:
    return (RECORD, cursor, UUID(int=7), blob, b"d" * 44, None, None, None, blob is None)


def test_shapes_are_made_once_and_bounded() -> None:
    encoder = PullEncoder("p", SPACE, header=ws_header)
    rows = [record(b"x" * 10, cursor=cursor) for cursor in (1, 2, 3)]
    first = encoder.entries(rows)
    assert len({id(part) for part in first[::6]}) == 1
    many = [record(bytes(length)) for length in range(pull_chunks.SHAPES_MAX + 2)]
    assert b"".join(encoder.entries(many)) == b"".join(generic("p", row) for row in many)
    assert len(encoder._shapes) <= pull_chunks.SHAPES_MAX


def test_a_record_costs_six_parts_and_a_deleted_one_seven() -> None:
    encoder = PullEncoder("p", SPACE, header=ws_header)
    assert len(encoder.entries([record(b"x")] * 100)) == 600
    assert len(encoder.entries([record(None)] * 100)) == 700


def test_begin_and_commit_frame_the_entries() -> None:
    encoder = PullEncoder("p", SPACE, header=ws_header)
    assert encoder.begin(since=-3, cursor=9, key_generation=2, rewrap_epoch=None) == ws_frame(
        encode_chunk("p", "pull.begin", PullBegin(SPACE, -3, 9, 2))
    )
    encoder.entries([record(b"x"), record(None)])
    assert encoder.commit() == ws_frame(encode_chunk("p", "pull.commit", PullCommit(SPACE, -3, 9, 2)))


def test_a_rewrap_in_progress_is_told_in_the_begin() -> None:
    begin = PullEncoder("p", SPACE, header=ws_header).begin(
        since=0, cursor=9, key_generation=2, rewrap_epoch=2
    )
    assert begin == ws_frame(encode_chunk("p", "pull.begin", PullBegin(SPACE, 0, 9, 2, 2)))


def test_misuse_is_a_local_error() -> None:
    encoder = PullEncoder("p", SPACE, header=ws_header)
    with pytest.raises(LocalProtocolError, match="expected begin, came commit"):
        encoder.commit()
    with pytest.raises(LocalProtocolError, match="came kind 9"):
        encoder.entries([(9, 1, None, None, None, None, None, None, False)])
