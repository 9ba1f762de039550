"""What is answered in one go is answered as in the general way: the same to clients and in the files."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest

from less_sync.volume.counters import Counters
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import (
    GZIP,
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HAS_PAIRS,
    HAS_TTL,
    MANIFEST,
    Needle,
)
from less_sync.volume.format.placement import parse_placement
from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.dispatch import Dispatch, server_line
from less_sync.volume.http.limits import InFlight, Limits
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.mime import Types
from less_sync.volume.http.read import ReadHandler
from less_sync.volume.http.replicate import Replication
from less_sync.volume.http.usual import Usual
from less_sync.volume.http.usual_reads import UsualReads
from less_sync.volume.http.usual_writes import UsualWrites
from less_sync.volume.http.write import WriteHandler
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services
from tests.volume.http.connections import Client
from tests.volume.http.reading import KnownPlaces

if TYPE_CHECKING:
    from less_sync.volume.http.connection import Connection

NAMES = (b"", b"a.txt", b"x.PNG", b"3,01637037d6", b'q"\\.css', "é.html".encode(), b"\xff.js", b"a\r\nb.txt")
MIMES = (b"", b"text/plain", b"application/octet-stream", b"x/y; z", b"a/b\r\nSet-Cookie: c", b"\xe9/x")
FLAGS = (
    0,
    HAS_NAME,
    HAS_NAME | HAS_MIME,
    HAS_NAME | HAS_LAST_MODIFIED,
    HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED,
)
RARE_FLAGS = (GZIP, MANIFEST, HAS_TTL, HAS_PAIRS, 0x40)
CONTENTS = (b"x", b"<html>", b"\x00\x01", b"plain text", b"\x89PNG\r\n\x1a\n", Random(5).randbytes(20_000))
COOKIE = 0x637037D6
NOW_NS = 1_700_000_000_000_000_000
ONE_COPY, TWO_COPIES, OLD = 3, 4, 5
"""Volumes."""
HEADERS = (
    *("Range: bytes=1-2", "Range: bytes=99999-", 'If-None-Match: "0"', "Origin: o", "Connection: close"),
    *("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", "Content-Encoding: gzip", "Seaweed-A: b"),
    *("Content-MD5: x", 'Content-Disposition: inline; filename="n.txt"', "Authorization: Bearer x"),
    *("Expect: 100-continue", "X-Folded: a\r\n b", "Accept-Encoding: gzip", "User-Agent: u"),
)
TYPES = ("", "application/x-bench", "image/jpeg", "text/plain", "application/octet-stream", "a b", 'x/"y"')
LENGTHS = ("Content-Length: {length}", "content-length:{length}", "Content-Length:  {length} ")
BOUNDARIES = ("B", "4bdc373d068a9c02fb", "b:c", '"q"')
PARTS = (
    'Content-Disposition: form-data; name="file"; filename="a.bin"',
    "Content-Disposition: form-data; filename=a.txt; name=file\r\nIdempotency-Key: http://h/3,1",
    "Content-Disposition: form-data; filename=b; name=file\r\nContent-Type: x/y\r\nIdempotency-Key: k",
    'Content-Disposition: form-data; name="file"; filename=".svg"\r\nContent-Type: x/y',
    'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Encoding: gzip',
    'Content-Disposition: form-data; name="ts"',
)
FORM = "application/x-www-form-urlencoded"


class Counted(Usual):
    """Counts what it answers."""

    answered = 0

    def answer(self, connection: "Connection", buffer: bytearray, count: int) -> bool:
        done = super().answer(connection, buffer, count)
        self.answered += done
        return done


class Side:
    """One server, and a connection that is kept while the server keeps it."""

    def __init__(self, store: Store, limits: Limits, usual: Counted | None, port: int) -> None:
        self.store = store
        self.limits = limits
        self.usual = usual
        self._port = port
        self._client: Client | None = None

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request and return its answer, without what differs from one to the next."""
        if self._client is None:
            self._client = Client(*await asyncio.open_connection("127.0.0.1", self._port))
        self._client.send(request)
        status, headers, body = await self._client.answer()
        if status == 100:
            status, headers, body = await self._client.answer()
        del headers["date"]
        if b"x-amz-request-id" not in request:
            assert len(headers.pop("x-amz-request-id", "0" * 24)) == 24
        if headers.get("connection") == "close":
            await self.hang_up()
        assert self.limits.downloads.bytes == self.limits.uploads.bytes == 0
        return status, headers, body

    async def hang_up(self) -> None:
        if self._client is not None:
            await self._client.close()
        self._client = None

    def volume(self, volume_id: int = ONE_COPY) -> Volume:
        found = self.store.volume(volume_id)
        assert found is not None
        return found


class Both:
    """A server that answers all requests in the general way, and one that answers usual ones in one go."""

    def __init__(self, general: Side, short: Side) -> None:
        self.general = general
        self.short = short

    @property
    def answered(self) -> int:
        assert self.short.usual is not None
        return self.short.usual.answered

    async def ask(self, request: bytes) -> int:
        """The status of the answer, which must be the same from both."""
        expected = await self.general.ask(request)
        assert await self.short.ask(request) == expected
        return expected[0]

    async def get(self, path: str, *headers: str) -> int:
        return await self.ask("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())

    def write(self, needle: Needle) -> None:
        for side in (self.general, self.short):
            assert (
                side.volume().try_write(Needle(**{k: getattr(needle, k) for k in needle.__slots__}))
                is not None
            )

    def files(self, side: Side) -> list[bytes]:
        paths = [path for one in side.store.volumes() for path in (one.data_path, one.index_path)]
        return [path.read_bytes() for path in sorted(paths)]


@asynccontextmanager
async def serving(directory: Path, *, is_short: bool) -> AsyncIterator[Side]:
    directory.mkdir()
    options = Options((DirectoryOptions(directory),), read_mode="local")
    store = Store(options, clock=lambda: NOW_NS)
    await store.load()
    for volume_id in (ONE_COPY, TWO_COPIES, OLD):
        placement = parse_placement("001") if volume_id == TWO_COPIES else 0
        await store.allocate(volume_id, placement=placement, version=2 if volume_id == OLD else 3)
    nothing: Any = None
    counters, security, nowhere = Counters(), Security(options, {}), cast(Any, KnownPlaces(fault="unknown"))
    services = Services(
        options, store, security, nothing, nowhere, nothing, counters, nothing, lambda: NOW_NS / 1e9
    )
    limits, types = Limits(InFlight(0, 1), InFlight(0, 1)), Types((), ())
    read, replication = ReadHandler(services, limits, types), Replication(services, types)
    write = WriteHandler(services, limits.uploads, types, replication)
    usual = Counted(
        server_line("s"),
        limits,
        UsualReads(services, limits.downloads, types),
        UsualWrites(services, limits.uploads, replication, types),
    )
    dispatch = Dispatch("s", {}, {"GET": read, "HEAD": read, "POST": write, "PUT": write})
    listener = Listener(
        dispatch.route,
        counters,
        BodyPool(),
        body_bytes_max=1 << 20,
        idle_s=30,
        usual=usual if is_short else None,
    )
    side = Side(store, limits, usual if is_short else None, await listener.start("127.0.0.1", 0))
    try:
        yield side
    finally:
        await side.hang_up()
        await listener.stop(5)
        assert set(counters.running.values()) <= {0}
        await store.close()


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(serving(tmp_path / name, is_short=name == "short"))
            for name in ("general", "short")
        ]
        yield Both(*sides)


def needles(random: Random) -> list[Needle]:
    found: list[Needle] = []
    for flags in (*FLAGS, *RARE_FLAGS):
        for name in NAMES if flags in FLAGS else NAMES[:1]:
            for mime in MIMES if flags & HAS_MIME else MIMES[:1]:
                data = random.choice(CONTENTS)
                modified = random.choice((0, 1, 1_700_000_000, (1 << 40) - 1))
                id_ = len(found) + 1
                found.append(Needle(id_, COOKIE, data, flags, name, mime, modified, 0x0301, b'{"A":"b"}'))
                found[-1].checksum = crc32c(data)
    return found


async def test_both_ways_answer_the_same_whatever_is_stored(both: Both) -> None:
    stored = needles(Random(1))
    for needle in stored:
        both.write(needle)
    statuses = [await both.get(f"/3,{needle.id:x}637037d6") for needle in stored]
    assert statuses.count(200) > len(stored) * 0.9
    assert both.answered > len(stored) * 0.6


async def test_what_is_unusual_is_left_to_the_general_way(both: Both) -> None:
    needle = Needle(1, COOKIE, b"hello", checksum=crc32c(b"hello"))
    both.write(needle)
    both.write(Needle(2, COOKIE))
    usual = "/3,01637037d6"
    assert [await both.get(usual) for _ in range(3)] == [200] * 3
    assert both.answered == 2  # nothing was known of the first
    unusual: list[tuple[str, tuple[str, ...], int]] = [
        ("/3,01637037d7", (), 404),
        ("/3,02637037d6", (), 200),
        ("/3,09637037d6", (), 404),
        ("/6,01637037d6", (), 404),
        ("/3/01637037d6", (), 200),
        ("/3,01637037d6.txt", (), 200),
        ("/3,01637037d6?dl=true", (), 200),
        ("/4294967299,01637037d6", (), 200),
        ("/x", (), 400),
        (usual, ("Range: bytes=1-2",), 206),
        (usual, ("Range: bytes=9-",), 416),
        (usual, ("Origin: somewhere",), 200),
        (usual, (f'If-None-Match: "{needle.checksum:08x}"',), 304),
        (usual, ("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",), 200),
        (usual, ("Connection: close",), 200),
    ]
    for path, headers, status in unusual:
        for _ in range(2):
            assert await both.get(path, *headers) == status, path
    assert both.answered == 2


async def test_no_damage_to_a_record_is_served(both: Both) -> None:
    data = b"hello world" * 3
    flags = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED
    both.write(Needle(1, COOKIE, data, flags, b"n.txt", b"a/b", 5, checksum=crc32c(data)))
    paths = [side.volume().data_path for side in (both.general, both.short)]
    whole = paths[0].read_bytes()
    served = 0
    for at in range(8, len(whole)):
        for bit in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            for path in paths:
                path.write_bytes(damaged)
            status = await both.get("/3,01637037d6")
            served += status == 200
            # Cookie, size, length and data; the id in the record is what the index is believed about.
            if at < 28 + len(data) and not 12 <= at < 20:
                assert status in (404, 500), at
    assert served > 0  # names and times have no checksum
    assert both.answered > 0


def form(random: Random, boundary: str, content: bytes) -> bytes:
    """A body of one file, mostly."""
    shown, part = boundary.strip('"').encode(), random.choice(PARTS).encode()
    more = b"--%b\r\n%b\r\n\r\nx\r\n" % (shown, part) if random.random() < 0.1 else b""
    body = b"%b--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (more, shown, part, content, shown)
    return body[:-3] if random.random() < 0.05 else body


def requests(random: Random, runs: int) -> Iterator[bytes]:
    """Runs of reads or writes with the same headers, as clients send them; many are unusual in some way."""
    for _ in range(runs):
        method = random.choice(("GET", "PUT", "POST"))
        headers = random.sample(HEADERS, 1) if random.random() < 0.2 else []
        mime = random.choice(TYPES[:2] if random.random() < 0.7 else (*TYPES, FORM))
        has_form = method == "POST" and random.random() < 0.7
        if method != "GET":
            mime = "multipart/form-data; boundary={boundary}" if has_form else mime
            headers.insert(0 if random.random() < 0.2 else len(headers), f"Content-Type: {mime}")
            headers.insert(random.choice((0, 0, len(headers))), random.choice(LENGTHS))
        for _ in range(random.randrange(1, 12)):
            fid = f"{random.choice((ONE_COPY, ONE_COPY, OLD, 9))},{random.randrange(1, 60):x}{COOKIE:08x}"
            odd = (f"{fid}.txt", f"{fid}_1", f"{fid}?a=b", f"{fid}?ts=0", f"{fid[:-1]}7", "3,0", f"{fid}/n")
            path = random.choice(odd) if random.random() < 0.1 else random.choice((fid, f"{fid}?ts=5", fid))
            body = random.choice((b"", *CONTENTS, b"long text " * 500, random.randbytes(200)))
            boundary = random.choice((BOUNDARIES[0], *BOUNDARIES))
            body = b"" if method == "GET" else form(random, boundary, body) if has_form else body
            head = "\r\n".join([f"{method} /{path} HTTP/1.1", "Host: h", *headers, "", ""])
            yield head.format(length=len(body), boundary=boundary).encode() + body


async def test_many_requests_leave_the_same_answers_and_the_same_files(both: Both) -> None:
    sent = list(requests(Random(7), 120))
    for one in sent:
        assert await both.ask(one) > 0, one
    assert both.answered > 60
    assert both.files(both.general) == both.files(both.short)
