"""Pushes written together, or in packed columns, do what calls of `lsync_push_v1` one after another do.

Each step is done twice from the same state: by that function, in a transaction that takes it back, and by the
statement that the lanes choose. Answers and rows must be the same (docs/storage.md 4.1).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from less_sync.storage import Push
from less_sync.storage.postgres.pool import session_settings
from less_sync.storage.postgres.push_batch import batch_statement, columns_of, single_statement
from less_sync.storage.queries import sql
from tests.storage.test_push_concurrency import assert_one_history

CIDS: Final = ("bafy1", "bafy2", "bafy3")
STEPS: Final = 100
Rows = list[tuple[Any, ...]]

PERSONAL: Final = [UUID(int=n) for n in (1, 5, 9)]
MISSING: Final = [UUID(int=n) for n in range(20, 60)]
SHARED: Final = [UUID(int=n) for n in (2, 6)]
ELSEWHERE: Final = UUID(int=3)

SET_UP: Final = """
INSERT INTO spaces
  (id, client_id, root_public_key, key_generation, min_key_generation, rewrap_epoch, home_server)
SELECT id, 'c', root, generation, least(generation, 3), rewrap, home
FROM unnest($1::uuid[], $2::bytea[], $3::int[], $4::int[], $5::text[])
     AS s(id, root, generation, rewrap, home)
"""
STATE: Final = """
SELECT (SELECT md5(string_agg(concat_ws(',', id, client_id, key_generation, cursor), ';' ORDER BY id))
        FROM spaces),
       (SELECT md5(string_agg((r.*)::text, ';' ORDER BY id)) FROM records r),
       (SELECT md5(string_agg((f.*)::text, ';' ORDER BY space_id, id)) FROM files f)
"""
"""Digests of what pushes write."""
BY_ONE: Final = """SELECT status, new_cursor, key_gen, rewrap, file_ids, file_records
    FROM lsync_push_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


FAULTS: Final = (
    "missing",
    "not personal",
    "revoked",
    "elsewhere",
    "epoch",
    "conflict",
    "foreign",
    "new space",
)
"""What may be wrong with a push; a new space is no fault, but nothing is there to be locked."""


class Pushes:
    """Random pushes, from what the records are."""

    def __init__(self, chance: random.Random, records: Sequence[asyncpg.Record]) -> None:
        self._chance = chance
        self._records = records
        self._mine: dict[UUID, list[asyncpg.Record]] = {}
        for record in records:
            self._mine.setdefault(record["space_id"], []).append(record)

    def push(self, changes: int, *, dek: bytes | None, fault: str) -> Push:
        """One push, with one of `FAULTS` or nothing that is meant to be refused."""
        chance = self._chance
        space = chance.choice([*PERSONAL, *SHARED])
        if fault in ("missing", "new space"):
            space = chance.choice(MISSING)
        elif fault == "elsewhere":
            space = ELSEWHERE
        elif fault in ("not personal", "revoked", "epoch"):
            space = chance.choice(SHARED)
        shared = space in SHARED
        ids = dict(self._change(space) for _ in range(changes))
        if fault in ("conflict", "foreign"):
            id, expected = self._wrong(space, fault)
            ids = dict([*list(ids.items())[1:], (id, expected)])
        return Push(
            space,
            [str(id) for id in ids],
            list(ids.values()),
            [None if chance.random() < 0.1 else chance.randbytes(chance.choice((0, 1, 300))) for _ in ids],
            [dek] * len(ids),
            0,
            "client" if fault == "not personal" or not (shared or fault == "missing") else None,
            [chance.choice(CIDS[:2]), "good"] if fault == "revoked" else ["good"] if shared else None,
            1 if fault == "epoch" else chance.choice((None, 3, 4)),
            fault == "elsewhere" or chance.random() < 0.1,
        )

    def _change(self, space: UUID) -> tuple[UUID, int]:
        """An update or a new record."""
        mine = self._mine.get(space, [])
        if mine and self._chance.random() < 0.5:
            record = self._chance.choice(mine)
            return record["id"], record["cursor"]
        return self._new(), 0

    def _wrong(self, space: UUID, fault: str) -> tuple[UUID, int]:
        """A record of this space or another that is taken for a new one, or any at a wrong cursor."""
        of_space = [record["id"] for record in self._records if record["space_id"] == space]
        others = [record["id"] for record in self._records if record["space_id"] != space]
        if fault == "foreign":
            return self._chance.choice(others or [self._new()]), 0
        unknown = self._new(), 3
        return self._chance.choice([unknown, *((id, e) for id in of_space + others for e in (0, 1000))])

    def _new(self) -> UUID:
        return UUID(int=self._chance.getrandbits(128))


async def set_up(con: Connection) -> None:
    """Spaces of all kinds, revoked UCANs, and records with files."""
    ids = [*PERSONAL, *SHARED, ELSEWHERE]
    roots = [b"k" * 33 if id in SHARED else None for id in ids]
    homes = ["other.example" if id == ELSEWHERE else None for id in ids]
    generations = [4 if id in SHARED else 1 for id in ids]
    await con.execute(SET_UP, ids, roots, generations, [None, 2, None, 5, None, None], homes)
    for space in SHARED:
        await con.executemany(
            "INSERT INTO revocations (space_id, ucan_cid) VALUES ($1, $2)", [(space, cid) for cid in CIDS[:2]]
        )


async def add_files(con: Connection, chance: random.Random) -> None:
    """Two files to a live record, so that tombstones have something to take along."""
    live = await con.fetch("SELECT id, space_id FROM records WHERE NOT deleted ORDER BY id")
    for record in chance.sample(live, min(9, len(live))):
        await con.executemany(
            "INSERT INTO files (space_id, id, size, wrapped_dek, record_id) VALUES ($1, $2, 1, $3, $4)",
            [
                (record["space_id"], UUID(int=chance.getrandbits(128)), bytes(44), record["id"])
                for _ in range(2)
            ],
        )


async def state(con: Connection) -> tuple[str, str, str]:
    [row] = await con.fetch(STATE)
    spaces, records, files = row
    return spaces, records, files


def comparable(rows: Sequence[asyncpg.Record]) -> Rows:
    """Answers as tuples; which file of a push is named first is nobody's business."""
    answers: Rows = []
    for row in rows:
        status, cursor, key_gen, rewrap, files, records = row
        pairs = None if files is None else sorted(zip(files, records, strict=True))
        answers.append((status, cursor, key_gen, rewrap, pairs))
    return answers


async def one_by_one(con: Connection, pushes: Sequence[Push]) -> Rows:
    """What `lsync_push_v1` answers to each, in turn."""
    rows: Rows = []
    for push in pushes:
        whose = push.client, push.cids, push.min_epoch, push.local_only
        columns = push.ids, push.expected, push.blobs, push.deks
        rows += comparable(await con.fetch(BY_ONE, push.space, *columns, *whose))
    return rows


async def compare(con: Connection, pushes: list[Push], statement: str, arguments: Sequence[object]) -> Rows:
    """Do one step both ways; what it leaves behind stays."""
    transaction = con.transaction()
    await transaction.start()
    reference = await one_by_one(con, pushes), await state(con)
    await transaction.rollback()
    rows = comparable(await con.fetch(statement, *arguments))
    assert (rows, await state(con)) == reference, pushes
    return rows


async def connected(url: str) -> Connection:
    return await asyncpg.connect(url, server_settings=session_settings(url))


def spread(statuses: Counter[int], *expected: int) -> None:
    """Each status came often enough to mean something."""
    assert set(statuses) == set(expected), statuses


@pytest.mark.parametrize("seed", range(2))
async def test_pushes_of_one_change_together(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    con = await connected(database_url)
    statuses: Counter[int] = Counter()
    written_at_once = repeated = 0
    try:
        await set_up(con)
        for step in range(STEPS):
            pushes = Pushes(chance, await con.fetch("SELECT id, space_id, cursor FROM records ORDER BY id"))
            dek = chance.choice((None, b"\0\0\0\4" + bytes(40), b"short"))
            batch = [
                pushes.push(1, dek=dek, fault=chance.choice(FAULTS) if step % 2 and not index else "")
                for index in range(chance.randint(2, 9))
            ]
            if step % 5 == 0:
                batch.append(batch[0])
            batch.sort(key=lambda push: push.space.int)
            ids = [str(push.ids[0]) for push in batch]
            repeated += len(set(ids)) < len(ids)
            statement, arguments = batch_statement(batch)
            assert statement == sql("push_changes")
            rows = await compare(con, batch, statement, arguments)
            statuses.update(row[0] for row in rows)
            written_at_once += all(row[0] == 0 for row in rows)
            if step % 20 == 0:
                await add_files(con, chance)
    finally:
        await con.close()
    spread(statuses, 0, 1, 2, 3, 4, 5, 6, 7)
    assert written_at_once > STEPS / 4
    assert repeated > 3


@pytest.mark.parametrize("seed", range(2))
async def test_a_push_of_many_changes_in_packed_columns(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    con = await connected(database_url)
    statuses: Counter[int] = Counter()
    removed = 0
    try:
        await set_up(con)
        for step in range(STEPS):
            pushes = Pushes(chance, await con.fetch("SELECT id, space_id, cursor FROM records ORDER BY id"))
            dek = chance.choice((None, b"\0\0\0\4" + chance.randbytes(40)))
            push = pushes.push(14, dek=dek, fault=chance.choice(FAULTS) if step % 2 else "")
            statement, arguments = single_statement(push)
            assert statement == sql("push_many")
            [row] = await compare(con, [push], statement, arguments)
            statuses[row[0]] += 1
            removed += row[-1] is not None
            if step % 2 == 0:
                await add_files(con, chance)
    finally:
        await con.close()
    spread(statuses, 0, 1, 2, 3, 4, 5, 6, 7)
    assert removed


@pytest.mark.parametrize("seed", range(1))
async def test_pushes_of_many_changes_together(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    con = await connected(database_url)
    statuses: Counter[int] = Counter()
    try:
        await set_up(con)
        for step in range(STEPS):
            pushes = Pushes(chance, await con.fetch("SELECT id, space_id, cursor FROM records ORDER BY id"))
            dek = chance.choice((None, b"\0\0\0\4" + chance.randbytes(40)))
            batch = [
                pushes.push(14, dek=dek, fault=chance.choice(FAULTS) if step % 2 and not index else "")
                for index in range(chance.randint(2, 4))
            ]
            batch.sort(key=lambda push: push.space.int)
            statement, arguments = batch_statement(batch)
            assert statement == sql("push_packed")
            try:
                rows = await compare(con, batch, statement, arguments)
            except asyncpg.UniqueViolationError:
                continue
            statuses.update(row[0] for row in rows)
            if step % 2 == 0:
                await add_files(con, chance)
    finally:
        await con.close()
    spread(statuses, 0, 1, 2, 3, 4, 5, 6, 7)


async def test_writers_of_both_releases_lose_no_update_and_never_deadlock(database_url: str) -> None:
    """Six writers of three spaces, updates and new records: some together, some by `lsync_push_v1`."""
    chance = random.Random(7)
    setting_up = await connected(database_url)
    await set_up(setting_up)
    await setting_up.close()
    records = {space: [UUID(int=space.int * 1000 + n) for n in range(6)] for space in PERSONAL}
    accepted: dict[UUID, list[tuple[int, dict[UUID, int]]]] = {space: [] for space in PERSONAL}

    async def write(kind: int) -> None:
        con = await connected(database_url)
        try:
            for _ in range(30):
                found = await con.fetch("SELECT id, cursor FROM records")
                cursors = {row["id"]: row["cursor"] for row in found}
                batch: list[Push] = []
                for space in sorted(chance.choices(PERSONAL, k=4)):
                    ids = [chance.choice(records[space]), UUID(int=chance.getrandbits(128))]
                    chosen = ids if kind == 1 else [chance.choice(ids)]
                    expected = [cursors.get(id, 0) for id in chosen]
                    texts, nothing = [str(id) for id in chosen], [None] * len(chosen)
                    batch.append(Push(space, texts, expected, [b"x"] * len(chosen), nothing, 0, "client"))
                statement, arguments = batch_statement(batch)
                if kind == 2:
                    statement, arguments = sql("push_batch"), columns_of(batch)
                for push, row in zip(batch, await con.fetch(statement, *arguments), strict=True):
                    assert row[0] in (0, 1)
                    if row[0] == 0:
                        changes = zip(map(UUID, map(str, push.ids)), push.expected, strict=True)
                        accepted[push.space].append((row[1], dict(changes)))
        finally:
            await con.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(write(number % 3))
    con = await connected(database_url)
    rows = await con.fetch("SELECT id, cursor FROM spaces WHERE id = ANY ($1::uuid[])", PERSONAL)
    await con.close()
    for row in rows:
        assert row["cursor"] > 30
        assert_one_history(accepted[row["id"]], row["cursor"])
