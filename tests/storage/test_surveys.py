"""What operators ask of a whole database. Over Postgres alone: tables are read by samples of their pages."""

from uuid import UUID, uuid4

import pytest

from less_sync.storage import IdRange, Order, PostgresPool, PostgresSurveys, Unavailable
from tests.storage.support import execute, many_records, shared_space

OWN = IdRange(UUID(int=1 << 64), UUID(int=(2 << 64) - 1))
ALL = IdRange(UUID(int=0), UUID(int=2**128 - 1))
DEK_BYTES = 44


async def fill(pool: PostgresPool, records: int, blob_bytes: int = 100) -> UUID:
    space = uuid4()
    await many_records(pool, space, pushes=1, each=records, blob_bytes=blob_bytes)
    return space


async def test_everything_is_counted_but_what_is_the_servers_own(
    database_url: str, pool: PostgresPool
) -> None:
    space, elsewhere = await fill(pool, 3), await shared_space(pool)
    await execute(pool, "UPDATE spaces SET home_server = 'home.example' WHERE id = $1", elsewhere)
    await execute(
        pool, "UPDATE records SET blob = NULL, deleted = true WHERE ctid = (SELECT min(ctid) FROM records)"
    )
    record = "(SELECT id FROM records LIMIT 1)"
    await execute(
        pool,
        f"INSERT INTO files (space_id, id, size, wrapped_dek, record_id) VALUES "
        f"($1, gen_random_uuid(), 7000, decode(repeat('02', 44), 'hex'), {record})",
        space,
    )
    await execute(pool, "INSERT INTO members VALUES ($1, 1, NULL, 'h', 'p', 1)", elsewhere)
    await execute(pool, "INSERT INTO revocations VALUES ($1, 'cid')", elsewhere)
    await execute(
        pool,
        "INSERT INTO invitations (mailbox_id, payload, expires_at) SELECT repeat('a', 64), 'x', NOW() + d"
        " FROM unnest(ARRAY[interval '1 day', interval '-1 day']) AS d",
    )
    own = UUID(int=(1 << 64) + 5)
    await many_records(pool, own, pushes=1, each=50, blob_bytes=1)
    survey = await PostgresSurveys(pool, left_out=OWN).survey(top=9, exact=False)
    assert survey.values == {
        "spaces": 2,
        "shared": 1,
        "elsewhere": 1,
        "records": 3,
        "tombstones": 1,
        "blob_bytes": 200,
        "dek_bytes": 3 * DEK_BYTES,
        "files": 1,
        "content_bytes": 7000,
        "entries": 1,
        "revocations": 1,
        "invitations": 2,
        "expired": 1,
    }
    assert survey.own == {"spaces": 1, "records": 50}
    assert set(survey.percent.values()) == {100.0}
    assert [(one.space, one.records, one.bytes) for one in survey.by_bytes] == [
        (space, 3, 200 + 3 * DEK_BYTES + 7000),
        (elsewhere, 0, 0),
    ]
    assert survey.tables["records"].inserted >= 0
    assert survey.tables["records"].total_bytes > survey.tables["records"].index_bytes > 0


async def test_of_a_large_table_a_part_is_read_and_the_whole_estimated(
    database_url: str, pool: PostgresPool
) -> None:
    large, small = await fill(pool, 20_000), await fill(pool, 2_000)
    whole = (await PostgresSurveys(pool, left_out=OWN).sizes())["records"].row_bytes
    surveys = PostgresSurveys(pool, left_out=OWN, read_bytes_max=whole // 4)
    survey = await surveys.survey(top=2, exact=False)
    assert survey.percent["records"] == pytest.approx(25, abs=0.1)
    assert survey.percent["spaces"] == 100
    # A quarter of some 500 pages: six times the deviation of such a sample.
    assert survey.values["records"] == pytest.approx(22_000, rel=0.35)
    assert survey.values["records"] != 22_000
    assert [one.space for one in survey.by_records] == [large, small]
    exact = await surveys.survey(top=2, exact=True)
    assert (exact.values["records"], set(exact.percent.values())) == (22_000, {100.0})


async def test_spaces_are_listed_by_what_is_asked_page_by_page_and_each_is_counted(
    database_url: str, pool: PostgresPool
) -> None:
    many, heavy = await fill(pool, 30, blob_bytes=1), await fill(pool, 2, blob_bytes=5000)
    empty = await shared_space(pool)
    await execute(pool, "UPDATE spaces SET cursor = 99 WHERE id = $1", empty)
    await execute(pool, "UPDATE spaces SET created_at = NOW() + interval '1 hour' WHERE id = $1", many)
    surveys = PostgresSurveys(pool, left_out=OWN)

    async def listed(order: Order, limit: int = 9, offset: int = 0, ids: IdRange = ALL) -> list[UUID]:
        found, certain = await surveys.page(order, ids=ids, limit=limit, offset=offset, exact=False)
        assert certain
        return [one.space for one in found]

    assert await listed(Order.BYTES) == [heavy, many, empty]
    assert await listed(Order.RECORDS) == [many, heavy, empty]
    assert (await listed(Order.CURSOR))[0] == empty
    assert (await listed(Order.CREATED))[0] == many
    assert await listed(Order.BYTES, limit=1, offset=1) == [many]
    assert await listed(Order.CREATED, limit=1, offset=3) == []
    assert await listed(Order.BYTES, ids=IdRange(heavy, heavy)) == [heavy]
    described = await surveys.describe(heavy)
    assert described is not None
    assert (described.records, described.bytes, described.shared) == (2, 2 * (5000 + DEK_BYTES), False)
    assert await surveys.describe(uuid4()) is None


async def test_a_sample_puts_in_order_and_says_so_but_what_is_shown_is_counted(
    database_url: str, pool: PostgresPool
) -> None:
    large = await fill(pool, 3000)
    await fill(pool, 100)
    surveys = PostgresSurveys(pool, left_out=OWN, read_bytes_max=200_000)
    found, certain = await surveys.page(Order.RECORDS, ids=ALL, limit=1, offset=0, exact=False)
    assert ([(one.space, one.records) for one in found], certain) == ([(large, 3000)], False)


async def test_a_question_ends_when_its_time_is_over(database_url: str, pool: PostgresPool) -> None:
    async with pool.connection() as con, con.transaction():
        await con.execute("LOCK TABLE revocations IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable) as caught:
            await PostgresSurveys(pool, left_out=OWN, question_s=0.2).survey(top=1, exact=False)
    assert caught.value.sqlstate == "57014"


async def test_the_catalogue_estimates_without_a_look_at_any_row(
    database_url: str, pool: PostgresPool
) -> None:
    surveys = PostgresSurveys(pool, left_out=OWN)
    empty = await surveys.catalogue()
    assert (empty.spaces, empty.records, empty.files, empty.file_bytes) == (0, 0, 0, 0)
    space = await fill(pool, 500)
    assert (await surveys.catalogue()).records is None, "nothing is known before the first analyze"
    await execute(
        pool,
        "INSERT INTO files (space_id, id, size, wrapped_dek, record_id) SELECT $1, gen_random_uuid(),"
        " CASE WHEN n % 2 = 0 THEN 7000 ELSE n END, decode(repeat('02', 44), 'hex'), r.id"
        " FROM generate_series(1, 1000) AS n, (SELECT id FROM records LIMIT 1) AS r",
        space,
    )
    await execute(pool, "ANALYZE")
    told = await surveys.catalogue()
    assert (told.spaces, told.records, told.files) == (1, 500, 1000)
    assert told.storage_bytes > empty.storage_bytes
    assert told.file_bytes is not None
    assert abs(told.file_bytes - (500 * 7000 + 250_000)) < 50_000
    assert told.database_id is not None
    assert len(told.database_id) == 16
    assert told.database_id == empty.database_id
