"""Listings of DEKs, docs/storage.md 5.4, and large spaces."""

import tracemalloc
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    DekKind,
    DekRow,
    PostgresDekStore,
    PostgresPool,
    PostgresRevocationStore,
    PushLanes,
    RewrapStatus,
    StorageError,
)
from less_sync.storage.queries import sql
from tests.storage.rows import DEK
from tests.storage.support import (
    execute,
    many_records,
    rows,
    select,
    shared_space,
    transactions_open,
    written,
)

RECORDS, FILES = DekKind.RECORDS, DekKind.FILES
each_kind = pytest.mark.parametrize("kind", list(DekKind))


@pytest.fixture
def deks(pool: PostgresPool) -> PostgresDekStore:
    return PostgresDekStore(pool)


async def listed(deks: PostgresDekStore, kind: DekKind, space: UUID, since: int) -> list[DekRow]:
    listing = await deks.get(kind, space, since)
    assert listing is not None
    return [row async for batch in listing.batches() for row in batch]


async def in_order(pool: PostgresPool, space: UUID, since: int) -> list[DekRow]:
    found = await rows(pool).records([space])
    return [(row.id, row.dek, row.cursor) for row in found if row.dek is not None and row.cursor > since]


async def test_records_with_a_dek_are_listed_tombstones_too(lanes: PushLanes, deks: PostgresDekStore) -> None:
    space, live, gone, bare = (uuid4() for _ in range(4))
    await written(lanes, space, (live, 0, b"x"))
    await written(lanes, space, (gone, 0, None))
    await written(lanes, space, (bare, 0, b"x"), dek=None)
    assert await listed(deks, RECORDS, space, 0) == [(live, DEK, 1), (gone, DEK, 2)]
    assert await listed(deks, RECORDS, space, 1) == [(gone, DEK, 2)]
    assert await listed(deks, RECORDS, space, 2) == []
    assert await listed(deks, FILES, space, 0) == []


@each_kind
async def test_entries_come_by_cursor_and_id_and_from_one_space(
    pool: PostgresPool, deks: PostgresDekStore, kind: DekKind
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=4, each=5, blob_bytes=1)
    await many_records(pool, uuid4(), pushes=4, each=5, blob_bytes=1)
    await rows(pool).add_file_of_each_record()
    for since in (-(2**63), -1, 0, 2, 4, 2**63 - 1):
        assert await listed(deks, kind, space, since) == await in_order(pool, space, since)


@each_kind
@pytest.mark.parametrize("page_rows", [1, 2, 3, 7, 20, 21])
async def test_pages_of_any_size_make_the_same_listing(
    pool: PostgresPool, kind: DekKind, page_rows: int
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=4, each=5, blob_bytes=1)
    await rows(pool).add_file_of_each_record()
    deks = PostgresDekStore(pool, page_rows=page_rows)
    assert await listed(deks, kind, space, 0) == await in_order(pool, space, 0)


@each_kind
async def test_a_missing_space_is_told(deks: PostgresDekStore, kind: DekKind) -> None:
    assert await deks.get(kind, uuid4(), 0) is None


@each_kind
async def test_a_listing_brings_what_authorises_its_reader(
    pool: PostgresPool, deks: PostgresDekStore, kind: DekKind
) -> None:
    space = await shared_space(pool, min_epoch=3)
    await PostgresRevocationStore(pool).revoke(space, "one")
    listing = await deks.get(kind, space, 0, cids=["one", "two"])
    assert listing is not None
    assert listing.space.root_public_key == b"\x02" + bytes(32)
    assert (listing.space.id, listing.space.key_generation) == (space, 3)
    assert listing.revoked == {(space, "one")}


async def test_what_is_written_while_a_listing_is_read_is_left_out(
    pool: PostgresPool, lanes: PushLanes
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=3, each=4, blob_bytes=1)
    before = await in_order(pool, space, 0)
    listing = await PostgresDekStore(pool, page_rows=5).get(RECORDS, space, 0)
    assert listing is not None
    assert listing.space.cursor == 3
    pages = listing.batches()
    first = await anext(pages)
    changed = before[-1][0]
    await written(lanes, space, (changed, 3, b"new"), (uuid4(), 0, b"x"))
    rest = [row async for batch in pages for row in batch]
    assert [*first, *rest] == before[:-1]


async def test_a_listing_that_is_left_holds_no_connection(pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=1, each=50, blob_bytes=1)
    deks = PostgresDekStore(pool, page_rows=10)
    left = [await deks.get(RECORDS, space, 0) for _ in range(3 * pool.max_connections)]
    for listing in left:
        assert listing is not None
        assert len(await anext(listing.batches())) == 10
    assert await transactions_open(pool) == 0


async def test_a_page_is_bounded_by_bytes_whatever_was_pushed(pool: PostgresPool, lanes: PushLanes) -> None:
    space = uuid4()
    sizes = [10, 90, 100, 250, 40, 40, 40, 0, 300]
    for size in sizes:
        await written(lanes, space, (uuid4(), 0, b"x"), dek=bytes(size))
    listing = await PostgresDekStore(pool, page_bytes=100).get(RECORDS, space, 0)
    assert listing is not None
    pages = [[len(dek) for _, dek, _ in page] async for page in listing.batches()]
    assert pages == [[10, 90], [100], [250], [40, 40, 40], [0, 300]]


async def test_a_database_lost_on_the_way_ends_the_listing_with_an_error(pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=1, each=5, blob_bytes=1)
    listing = await PostgresDekStore(pool, page_rows=2).get(RECORDS, space, 0)
    assert listing is not None
    pages = listing.batches()
    assert len(await anext(pages)) == 2
    await execute(pool, "ALTER TABLE records RENAME TO gone")
    with pytest.raises(StorageError):
        await anext(pages)


async def test_a_hundred_thousand_deks_are_listed_and_rewrapped_in_bounded_memory(
    pool: PostgresPool, deks: PostgresDekStore
) -> None:
    space, count = uuid4(), 100_000
    await many_records(pool, space, pushes=10, each=count // 10, blob_bytes=1)
    await execute(pool, "UPDATE spaces SET key_generation = 2, rewrap_epoch = 2 WHERE id = $1", space)
    listing = await deks.get(RECORDS, space, 0)
    assert listing is not None
    read, position = 0, (0, "")
    tracemalloc.start()
    try:
        async for page in listing.batches():
            await _rewrap(deks, space, page, read_cursor=listing.space.cursor)
            read += len(page)
            places = [position, *((cursor, str(id)) for id, _, cursor in page)]
            assert places == sorted(set(places))
            position = places[-1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == count
    assert peak < 8 * 1024 * 1024
    [row] = await select(pool, "SELECT count(*) FROM records WHERE wrapped_dek <> $1", _new(DEK))
    assert row[0] == 0


def _new(dek: bytes) -> bytes:
    return (2).to_bytes(4, "big") + dek[4:]


async def _rewrap(deks: PostgresDekStore, space: UUID, page: Sequence[DekRow], *, read_cursor: int) -> None:
    ids, old = [str(id) for id, _, _ in page], [dek for _, dek, _ in page]
    status = await deks.rewrap(RECORDS, space, ids, [_new(dek) for dek in old], read_cursor=read_cursor)
    assert status is RewrapStatus.REWRAPPED


@each_kind
async def test_rewrapping_planned_on_empty_tables_visits_the_rows_it_names_alone(
    pool: PostgresPool, kind: DekKind
) -> None:
    """A plan stays with its session: here the functions are planned while the tables are empty."""
    space, empty = uuid4(), uuid4()
    call = "SELECT status FROM lsync_rewrap_v1($1, $2, $3, $4)"
    async with pool.connection() as con:
        await con.execute("INSERT INTO spaces (id, client_id) VALUES ($1, 'client')", empty)
        for _ in range(7):
            assert await con.fetchval(call, empty, kind is FILES, [], []) == 0
        await many_records(pool, space, pushes=20, each=1000, blob_bytes=1)
        await rows(pool).add_file_of_each_record()
        ids = [row[0] for row in await con.fetch("SELECT id FROM records LIMIT 100")]
        async with con.transaction():
            [row] = await con.fetch(call, space, kind is FILES, ids, [DEK[:43] + b"z"] * 100)
            assert row[0] == 0
            [visited] = await con.fetch(
                """SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1""",
                "files" if kind is FILES else "records",
            )
    assert visited[0] == 0
    assert visited[1] <= 300


async def test_a_page_of_files_visits_its_own_rows_alone_after_planning_on_an_empty_table(
    pool: PostgresPool,
) -> None:
    space = uuid4()
    args: tuple[object, ...] = (space, 500, UUID(int=2**128 - 1), 2000, 10, 10_000, [])
    async with pool.connection() as con:
        for _ in range(7):
            await con.fetch(sql("file_deks"), *args)
        await many_records(pool, space, pushes=2000, each=1, blob_bytes=1)
        await rows(pool).add_file_of_each_record()
        async with con.transaction():
            assert len(await con.fetch(sql("file_deks"), *args)) == 11
            [visited] = await con.fetch(
                "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'files'"
            )
    assert (visited[0], visited[1] <= 12) == (0, True)
