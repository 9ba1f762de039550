"""A database with rows in every table, a store with contents, and a backup of them."""

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from nacl.signing import SigningKey

from less_sync.bins.backup import take as backup
from less_sync.bins.backup.manifest import Manifest
from less_sync.bins.backup.take import Wanted
from less_sync.migrations import copy_query
from less_sync.migrations.schema import TABLES
from less_sync.storage import BlobKey, BlobStore
from less_sync.storage.objects.memory import MemoryBlobs

COPY_SETTINGS: Final = {"TimeZone": "UTC", "DateStyle": "ISO, MDY", "bytea_output": "hex"}
KEY_ID: Final = "https://sync.example/.well-known/jwks.json"
SPACES: Final = 3
RECORDS: Final = 40
AWKWARD: Final = "a\tb\nc\\d\r\\N 'ü' \"𝄞\" $1"
"""What COPY has to escape."""


async def fill(url: str, *, seed: int = 1) -> list[BlobKey]:
    """Write rows into every table and return the keys of the files among them."""
    chance = random.Random(seed)

    def new_id() -> UUID:
        return UUID(int=chance.getrandbits(128))

    keys = []
    connection = await asyncpg.connect(url)
    try:
        for number in range(SPACES):
            space = new_id()
            await connection.execute(
                "INSERT INTO spaces (id, client_id, root_public_key, cursor, home_server, rewrap_epoch)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                *(
                    space,
                    f"{AWKWARD} {number}",
                    chance.randbytes(33),
                    RECORDS,
                    AWKWARD if number else None,
                    None,
                ),
            )
            records = [new_id() for _ in range(RECORDS)]
            for cursor, record in enumerate(records, 1):
                blob = None if cursor % 7 == 0 else chance.randbytes(chance.randrange(3000))
                await connection.execute(
                    "INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)"
                    " VALUES ($1, $2, $3, $4, $5, $6)",
                    *(record, space, blob, cursor, chance.randbytes(44), blob is None),
                )
            for record in records[:4]:
                keys.append(BlobKey(space, new_id()))
                await connection.execute(
                    "INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor)"
                    " VALUES ($1, $2, $3, $4, $5, $6)",
                    *(space, keys[-1].file, size_of(len(keys) - 1), chance.randbytes(44), record, 5),
                )
            for seq in range(3):
                await connection.execute(
                    "INSERT INTO members (space_id, chain_seq, prev_hash, entry_hash, payload, cursor)"
                    " VALUES ($1, $2, $3, $4, $5, $6)",
                    *(space, seq, None, chance.randbytes(32), chance.randbytes(90), seq + 1),
                )
            for cid in ("b", "B", "é", "a"):
                await connection.execute("INSERT INTO revocations VALUES ($1, $2)", space, cid)
            await connection.execute(
                "INSERT INTO invitations (id, mailbox_id, payload, expires_at) VALUES ($1, $2, $3, now())",
                *(new_id(), f"{number}" * 64, AWKWARD.encode()),
            )
            await connection.execute(
                "INSERT INTO rate_limit_actions (action, actor_hash) VALUES ('invite', $1)", f"{number}" * 64
            )
            pair = SigningKey(chance.randbytes(32))
            await connection.execute(
                "INSERT INTO federation_signing_keys (kid, private_key, public_key, is_primary)"
                " VALUES ($1, $2, $3, $4)",
                *(f"{KEY_ID}#{number}", bytes(pair), bytes(pair.verify_key), number == 0),
            )
    finally:
        await connection.close()
    return keys


async def execute(url: str, *statements: str) -> None:
    """Run statements."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def contents_of(keys: Sequence[BlobKey], *, seed: int = 2) -> dict[BlobKey, bytes]:
    """A content for each file."""
    chance = random.Random(seed)
    return {key: chance.randbytes(size_of(number)) for number, key in enumerate(keys)}


def size_of(number: int) -> int:
    """How long the content of that file is: nothing, little, or several chunks."""
    return (0, 1, 700_000, 5000)[number % 4]


async def put(store: BlobStore, contents: Mapping[BlobKey, bytes]) -> None:
    """Publish contents."""

    async def nothing() -> None:
        pass

    for key, data in contents.items():
        async with store.stage(key) as staged:
            for start in range(0, len(data), 65_536):
                await staged.write(data[start : start + 65_536])
            await staged.publish(nothing)


async def stored(store: BlobStore) -> dict[BlobKey, bytes]:
    """Everything in a store."""
    found = {}
    async for some in store.listing():
        for one in some:
            async with store.open(one.key) as opened:
                assert opened is not None
                found[one.key] = b"".join([piece async for piece in opened.chunks()])
    return found


async def texts(url: str) -> dict[str, str]:
    """The SHA-256 of the COPY text of each table, and how many rows it has."""
    connection = await asyncpg.connect(url, server_settings=COPY_SETTINGS)
    try:
        return {
            name: hashlib.sha256((await _text(connection, name))[1]).hexdigest()
            for name in await _tables(connection)
        }
    finally:
        await connection.close()


async def _tables(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    return [name for name in sorted(TABLES) if await connection.fetchval("SELECT to_regclass($1)", name)]


async def _text(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> tuple[tuple[str, ...], bytes]:
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum"
    )
    columns = tuple(row["attname"] for row in await connection.fetch(query, name))
    text = io.BytesIO()
    await connection.copy_from_query(copy_query(name, columns), output=text, format="text")
    return columns, text.getvalue()


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup on a disk."""

    folder: Path
    manifest: Manifest

    def write(self, **changes: object) -> "Backup":
        """Write the manifest anew, with a digest that is right."""
        manifest = replace(self.manifest, **changes).sealed()  # type: ignore[arg-type]  # members by name
        (self.folder / "manifest.json").write_bytes(manifest.encoded())
        return Backup(self.folder, manifest)


async def make_backup(url: str, contents: Mapping[BlobKey, bytes], folder: Path) -> Backup:
    """Make a backup of a database, and of contents unless there are none."""
    store = MemoryBlobs()
    await put(store, contents)
    wanted = Wanted(folder.parent / "unused", folder, contents=bool(contents))
    making = backup.Backup(wanted, store, Silent(), chosen=lambda _: None)
    taken = await making.make(url)
    assert not contents or not taken.manifest.faults
    return Backup(taken.folder, taken.manifest)


class Silent:
    """Watches a backup and says nothing."""

    def begin(self, doing: str, total: int) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def warn(self, text: str) -> None:
        raise AssertionError(text)
