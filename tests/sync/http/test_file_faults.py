"""What a client is told about a file when something is wrong with the database, the store or a body."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from starlette.types import Message, Receive, Scope

from less_sync.storage import BlobKey, LocalBlobs, Opened
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.http.app import create_app
from tests.live import Live, live_server
from tests.sync.file_requests import Shelf, b64, dek, headers, path, shelf, told

INTERNAL = (500, "internal error")


class ChangingBlobs(MemoryBlobs):
    """Contents whose row changes whenever one of them is opened."""

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self._database_url = database_url
        self.changes = 0
        """So many, from now on."""

    @asynccontextmanager
    async def open(self, key: BlobKey) -> AsyncIterator[Opened | None]:  # type: ignore[override]  # wider
        if self.changes:
            self.changes -= 1
            await execute(self._database_url, "UPDATE files SET cursor = cursor + 1")
        async with super().open(key) as opened:
            yield opened


@pytest.fixture
def blobs(database_url: str) -> ChangingBlobs:
    return ChangingBlobs(database_url)


@pytest.fixture
async def live(database_url: str, blobs: ChangingBlobs) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=blobs) as running:
        yield running


@pytest.fixture
async def own(live: Live) -> Shelf:
    return await shelf(live)


async def execute(database_url: str, *statements: str) -> None:
    con = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await con.execute(statement)
    finally:
        await con.close()


async def in_process(own: Shelf, file: UUID, length: int, receive: Receive) -> tuple[int, bytes]:
    """Upload without HTTP: what reaches the application need not be what the head says."""
    target = path(own.client.space, file)
    fields = {**headers(own.live, own.record), "content-length": str(length)}
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "path": target,
        "raw_path": target.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await create_app(own.live.services)(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


def of(*pieces: bytes) -> Receive:
    """A body of these pieces."""
    messages: Sequence[Message] = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    rest = iter(messages)

    async def receive() -> Message:
        return next(rest)

    return receive


@pytest.mark.parametrize("pieces", [(b"1234",), (b"123", b"456"), (b"",)])
async def test_a_body_of_another_length_than_its_head_says_stores_nothing(
    own: Shelf, blobs: ChangingBlobs, pieces: tuple[bytes, ...]
) -> None:
    file = uuid4()
    status, body = await in_process(own, file, 5, of(*pieces))
    assert (status, body) == (400, b'{"error":"Content-Length does not match request body length"}')
    assert (await own.get(file)).status == 404
    assert (blobs.staged, await blobs.find(BlobKey(UUID(own.client.space), file))) == (0, None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_has_its_order_of_checks_too(own: Shelf, method: str) -> None:
    scopeless = f"Bearer {own.live.token('alice', scope='sync')}"
    answers = [
        await own.get("nonsense", method, authorization=scopeless),
        await own.get("nonsense", method),
        await own.get(uuid4(), method, authorization=scopeless),
    ]
    assert [answer.status for answer in answers] == [403, 400, 403]
    if method == "GET":
        texts = [told(answer)[1] for answer in answers]
        assert texts == ["files scope required", "invalid file ID", "files scope required"]
    own.space = "nonsense"
    assert (await own.get("nonsense", method)).status == 400


async def test_a_personal_space_of_somebody_else_looks_as_if_it_were_not_there(own: Shelf) -> None:
    other = await shelf(own.live, "bob")
    file = uuid4()
    assert (await other.put(file, b"bob's")).status == 201
    for space in (other.client.space, str(uuid4())):
        mine = Shelf(own.live, own.client, other.record, space=space, more={"x-ucan": "nonsense"})
        assert told(await mine.get(file)) == (404, "file not found")
        assert (await mine.get(file, "HEAD")).status == 404
        assert told(await mine.put(file, b"mine")) == (404, "space not found")
    assert (await other.get(file)).body == b"bob's"


async def test_a_database_that_fails_is_500_and_never_a_file_that_is_not_there(
    own: Shelf, database_url: str
) -> None:
    file = uuid4()
    assert (await own.put(file, b"x")).status == 201
    for table in ("spaces", "revocations", "files"):
        await execute(database_url, f"ALTER TABLE {table} RENAME TO gone")
        assert told(await own.get(file)) == INTERNAL
        assert (await own.get(file, "HEAD")).status == 500
        assert told(await own.put(file, b"x")) == INTERNAL
        await execute(database_url, f"ALTER TABLE gone RENAME TO {table}")
    assert (await own.get(file)).body == b"x"


async def test_a_file_that_is_replaced_while_it_is_opened_comes_with_its_row(
    own: Shelf, blobs: ChangingBlobs
) -> None:
    file = uuid4()
    await own.put(file, b"x")
    blobs.changes = 2
    assert (await own.get(file)).body == b"x"
    blobs.changes = 3
    assert told(await own.get(file)) == INTERNAL  # not 404: the file is there


async def test_a_store_that_is_away_is_500_and_costs_no_row(database_url: str, tmp_path: Path) -> None:
    directory, away = tmp_path / "contents", tmp_path / "away"
    store = LocalBlobs.at(directory)
    async with live_server(database_url, blobs=store) as live:
        own, file = await shelf(live), uuid4()
        assert (await own.put(file, b"first", key=dek(b"\x01"))).status == 201
        directory.rename(away)
        assert told(await own.get(file)) == INTERNAL
        assert told(await own.put(file, b"again", key=dek(b"\x02"))) == INTERNAL
        assert (await own.get(file, "HEAD")).header("x-wrapped-dek") == b64(dek(b"\x01"))
        away.rename(directory)
        got = await own.get(file)
        assert (got.body, got.header("x-wrapped-dek")) == (b"first", b64(dek(b"\x01")))
    await store.aclose()
