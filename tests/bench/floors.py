"""The floors: what bare asyncpg, sockets and PyJWT need for the same work, in a process of their own.

`python -m tests.bench.floors` reads commands as the load generator does. Arguments and rows are made before
the clock starts.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from uuid import UUID, uuid4

import asyncpg
import jwt
import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwt.algorithms import ECAlgorithm

from tests.bench.child import answer_commands, raise_open_files
from tests.bench.contents import BareServers
from tests.bench.frames import wrapped_dek
from tests.wire.issuer import AUDIENCE

INSERT_ONE: Final = """INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
    VALUES ($1, $2, $3, $4, $5, false)"""
INSERT_MANY: Final = """INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
    SELECT u.id, $2, u.blob, $4, u.dek, false
    FROM unnest($1::uuid[], $3::bytea[], $5::bytea[]) u(id, blob, dek)"""
SELECT_SPACE: Final = """SELECT id, blob, cursor, wrapped_dek, deleted FROM records
    WHERE space_id = $1 AND cursor > 0 ORDER BY cursor, id"""
PORTAL_ROWS: Final = 4096
CONNECTIONS: Final = 32

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"
Arguments = tuple[Any, ...]


class Floors:
    """Connections to the database, and the sockets of the fan-out's floor."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connections: list[Connection] = []
        self._repeaters: set[Repeater] = set()
        self._server: asyncio.Server | None = None
        self._contents = BareServers()

    def commands(self) -> Mapping[str, Callable[..., Awaitable[dict[str, Any]]]]:
        return {
            "connect": self.connect,
            "fill": self.fill,
            "insert": self.insert,
            "commit_times": self.commit_times,
            "fetch": self.fetch,
            "portal": self.portal,
            "verify": self.verify,
            "serve_frames": self.serve_frames,
            "checkpoint": self.checkpoint,
            "store_files": self.store_files,
            "write_files": self.write_files,
            "one_record": self.one_record,
            "serve_directory": self._contents.serve_directory,
            "serve_bucket": self._contents.serve_bucket,
        }

    async def connect(self) -> dict[str, Any]:
        """Open the connections and say what kind of server this is."""
        self._connections = [await asyncpg.connect(self._url) for _ in range(CONNECTIONS)]
        first = self._connections[0]
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        return {name: await first.fetchval(f"SHOW {name}") for name in names}

    async def checkpoint(self) -> dict[str, Any]:
        """Begin each run with the same debts."""
        await self._connections[0].execute("CHECKPOINT")
        return {}

    async def fill(
        self, space: str, records: int, blob_bytes: int, records_per_push: int, exists: bool = False
    ) -> dict[str, Any]:
        """Make a space as `records / records_per_push` pushes would have; `exists`: its row is there."""
        id = UUID(space)
        first = self._connections[0]
        cursor = (records - 1) // records_per_push + 1
        if exists:
            await first.execute("UPDATE spaces SET cursor = $2 WHERE id = $1", id, cursor)
        else:
            await self._make_spaces([id], cursor)

        def rows() -> Iterator[Arguments]:
            for index in range(records):
                cursor = index // records_per_push + 1
                yield uuid4(), id, os.urandom(blob_bytes), cursor, wrapped_dek(), False

        columns = ["id", "space_id", "blob", "cursor", "wrapped_dek", "deleted"]
        await first.copy_records_to_table("records", records=rows(), columns=columns)
        await first.execute("VACUUM ANALYZE records")
        await first.execute("ANALYZE spaces")
        return {}

    async def _make_spaces(self, ids: Sequence[UUID], cursor: int = 0) -> None:
        rows = [(id, cursor) for id in ids]
        await self._connections[0].executemany(
            "INSERT INTO spaces (id, client_id, cursor) VALUES ($1, 'bench', $2)", rows
        )

    async def insert(
        self, connections: int, spaces: int, pushes: int, records: int, blob_bytes: int
    ) -> dict[str, Any]:
        """Insert and commit in parallel, each connection the rows of one push after another."""
        ids = [uuid4() for _ in range(spaces)]
        await self._make_spaces(ids)
        workers = []
        for index, connection in enumerate(self._connections[:connections]):
            space = ids[index % spaces]
            make = one_row if records == 1 else rows_of_push
            rows = [make(space, cursor, records, blob_bytes) for cursor in range(1, pushes + 1)]
            statement = await connection.prepare(INSERT_ONE if records == 1 else INSERT_MANY)
            workers.append((statement, rows))
        race = Race()
        await asyncio.gather(*(race.run(statement, rows) for statement, rows in workers))
        return {"pushes": race.count, "seconds": race.seconds}

    async def commit_times(self, count: int, blob_bytes: int) -> dict[str, Any]:
        """Time of one insert and commit, `count` times, nothing else going on."""
        space = uuid4()
        await self._make_spaces([space])
        statement = await self._connections[0].prepare(INSERT_ONE)
        seconds = []
        for cursor in range(1, count + 1):
            row = one_row(space, cursor, 1, blob_bytes)
            started = time.perf_counter()
            await statement.fetch(*row)
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds}

    async def one_record(self, space: str) -> dict[str, Any]:
        """Make a space with one record, which files can belong to."""
        await self._make_spaces([UUID(space)], 1)
        row = one_row(UUID(space), 1, 1, 16)
        await self._connections[0].execute(INSERT_ONE, *row)
        return {"record": str(row[0])}

    async def fetch(self, space: str) -> dict[str, Any]:
        """All rows of a space at once."""
        statement = await self._connections[0].prepare(SELECT_SPACE)
        started = time.perf_counter()
        rows = await statement.fetch(UUID(space))
        return {"rows": len(rows), "seconds": time.perf_counter() - started}

    async def portal(self, space: str) -> dict[str, Any]:
        """All rows of a space through a portal, dropped as they come: the CPU of this process."""
        count = 0
        connection = self._connections[0]
        async with connection.transaction(readonly=True):
            started = time.process_time()
            cursor = await connection.cursor(SELECT_SPACE, UUID(space))
            while rows := await cursor.fetch(PORTAL_ROWS):
                count += len(rows)
            used = time.process_time() - started
        return {"rows": count, "cpu": used}

    async def verify(self, token: str, key_set: str, count: int) -> dict[str, Any]:
        """CPU of `count` ES256 verifications by PyJWT, claims checked as the server asks for."""
        key = cast(Any, ECAlgorithm.from_jwk(json.loads(key_set)["keys"][0]))
        started = time.process_time()
        for _ in range(count):
            jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE)
        return {"cpu": time.process_time() - started}

    async def store_files(self, folder: str, records_per_insert: int) -> dict[str, Any]:
        """Read every file, encrypt it with AES-256-GCM, and insert so many at a time."""
        space, statement = uuid4(), await self._connections[0].prepare(INSERT_MANY)
        await self._make_spaces([space])
        paths = files_in(folder)
        started = time.perf_counter()
        cipher, dek = AESGCM(AESGCM.generate_key(256)), wrapped_dek()
        for cursor, first in enumerate(range(0, len(paths), records_per_insert), 1):
            blobs = []
            for path in paths[first : first + records_per_insert]:
                nonce = os.urandom(12)
                blobs.append(nonce + cipher.encrypt(nonce, path.read_bytes(), None))
            ids, deks = [uuid4() for _ in blobs], [dek] * len(blobs)
            await statement.fetch(ids, space, blobs, cursor, deks)
        return {"files": len(paths), "seconds": time.perf_counter() - started}

    async def write_files(self, source: str, target: str) -> dict[str, Any]:
        """Write the same files: each to a spool directory, synced, and renamed into its place."""
        contents = {path.relative_to(source): path.read_bytes() for path in files_in(source)}
        spool = Path(target, "spool")
        started = time.perf_counter()
        spool.mkdir(parents=True)
        for path, content in contents.items():
            with (spool / path.name).open("xb", buffering=0) as file:
                file.write(content)
                os.fsync(file.fileno())
            place = Path(target, path)
            place.parent.mkdir(exist_ok=True)
            (spool / path.name).rename(place)
        return {"files": len(contents), "seconds": time.perf_counter() - started}

    async def serve_frames(self, frame_bytes: int) -> dict[str, Any]:
        """Listen; whatever one connection sends makes one frame leave to each of the others."""
        body = os.urandom(frame_bytes - 4)
        frame = b"\x82\x7e" + len(body).to_bytes(2, "big") + body
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Repeater(self._repeaters, frame), "127.0.0.1", 0, backlog=1024
        )
        return {"port": self._server.sockets[0].getsockname()[1]}


class Repeater(asyncio.Protocol):
    """A bare `transport.write` in a loop over all other connections."""

    def __init__(self, others: set["Repeater"], frame: bytes) -> None:
        self._others = others
        self._frame = frame

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._others.add(self)

    def data_received(self, data: bytes) -> None:
        frame = self._frame
        for other in self._others:
            if other is not self:
                other._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)


class Race:
    """Workers that run until the first has nothing left: what was done until then, and how long it took."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self._started = time.perf_counter()

    async def run(self, statement: Statement, rows: Sequence[Arguments]) -> None:
        for row in rows:
            await statement.fetch(*row)
            if self.seconds:
                return
            self.count += 1
        self.seconds = time.perf_counter() - self._started


def files_in(folder: str) -> list[Path]:
    """The files that were made for the folder rows; what the commands keep there is none of them."""
    return sorted(Path(folder).glob("*/*.bin"))


def one_row(space: UUID, cursor: int, records: int, blob_bytes: int) -> Arguments:
    return uuid4(), space, os.urandom(blob_bytes), cursor, wrapped_dek()


def rows_of_push(space: UUID, cursor: int, records: int, blob_bytes: int) -> Arguments:
    ids = [uuid4() for _ in range(records)]
    blobs = [os.urandom(blob_bytes) for _ in ids]
    return ids, space, blobs, cursor, [wrapped_dek() for _ in ids]


def main() -> None:
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(answer_commands(Floors))


if __name__ == "__main__":
    main()
