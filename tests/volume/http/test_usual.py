"""The short way of a usual read answers as the general one, byte for byte, or leaves it to that one."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

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
from less_sync.volume.http.client import OutgoingHttp
from less_sync.volume.http.handlers import Begun, Finished, Handler
from less_sync.volume.http.head import parse_head
from less_sync.volume.http.limits import InFlight, Limits
from less_sync.volume.http.mime import Types
from less_sync.volume.http.read import ReadHandler
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response
from less_sync.volume.http.sending import let_go
from less_sync.volume.http.usual import UsualReads
from less_sync.volume.http.writing import encode_head
from less_sync.volume.master.channels import Channels
from less_sync.volume.master.lookup import Lookup
from less_sync.volume.master.masters import Masters
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services
from tests.volume.master.fake_master import NOWHERE

NAMES = (
    b"",
    b"a",
    b"a.txt",
    b"x.PNG",
    b"3,01637037d6",
    b'q"\\.css',
    "é.html".encode(),
    b"\xff.js",
    b"a\r\nb.txt",
)
MIMES = (b"", b"text/plain", b"application/octet-stream", b"x/y; z", b"a/b\r\nSet-Cookie: c", b"\xe9/x")
FLAGS = (
    0,
    HAS_NAME,
    HAS_NAME | HAS_MIME,
    HAS_NAME | HAS_LAST_MODIFIED,
    HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED,
)
RARE_FLAGS = (GZIP, MANIFEST, HAS_TTL, HAS_PAIRS, 0x40)
CONTENTS = (b"x", b"<html>", b"\x00\x01", b"plain text", b"\x89PNG\r\n\x1a\n", os.urandom(20_000))
COOKIE = 0x637037D6


class Both:
    """The general way and the short one in front of it, and whether the general one was asked."""

    def __init__(self, services: Services, volume: Volume) -> None:
        self.volume = volume
        self.limits = Limits(InFlight(0, 1), InFlight(0, 1))
        types = Types(globs=(), types=())
        self.general = ReadHandler(services, self.limits, types)
        self.short = UsualReads(self, services, self.limits.downloads, types)
        self.asked = 0

    def begin(self, request: Request) -> Begun:
        self.asked += 1
        return self.general.begin(request)

    def finish(self, request: Request) -> Finished:
        raise AssertionError

    def end(self, request: Request) -> None:
        raise AssertionError

    async def compare(self, path: str, *headers: str) -> int:
        """Both answers must be the same; returns their status."""
        heads, found = [], []
        handlers: tuple[Handler, ...] = (self.general, self.short)
        for handler in handlers:
            request = parse_head("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())
            begun = handler.begin(request)
            answer = begun if begun is None or isinstance(begun, Response) else await begun
            assert answer is not None
            assert isinstance(answer.body, bytes | memoryview)
            head = encode_head(request, answer, len(answer.body), closes=False)
            heads.append(sorted(line for line in head.split(b"\r\n") if not line.startswith(b"Date:")))
            found.append((answer.status, bytes(answer.body)))
            let_go(answer)
        assert heads[0] == heads[1]
        assert found[0] == found[1]
        assert self.limits.downloads.bytes == 0
        return found[0][0]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    options = Options((DirectoryOptions(tmp_path),), read_mode="local")
    store = Store(options)
    await store.load()
    volume = await store.allocate(3)
    channels = Channels()
    masters = Masters((NOWHERE,), channels, "127.0.0.1", 1, current=NOWHERE)
    lookup, outgoing = Lookup(masters, channels), OutgoingHttp()
    security = Security(options, {})
    services = Services(options, store, security, masters, lookup, channels, Counters(), outgoing)
    yield Both(services, volume)
    await outgoing.close()
    await channels.close()
    await store.close()


def needles(random: Random) -> list[Needle]:
    found: list[Needle] = []
    for flags in (*FLAGS, *RARE_FLAGS):
        for name in NAMES:
            for mime in MIMES:
                data = random.choice(CONTENTS)
                modified = random.choice((0, 1, 1_700_000_000, (1 << 40) - 1))
                needle = Needle(
                    len(found) + 1, COOKIE, data, flags, name, mime, modified, 0x0301, b'{"A":"b"}'
                )
                needle.checksum = crc32c(data)
                found.append(needle)
    return found


async def test_both_ways_answer_the_same_whatever_is_stored(both: Both) -> None:
    stored = needles(Random(1))
    for needle in stored:
        assert both.volume.try_write(needle) is not None
    statuses = [await both.compare(f"/3,{needle.id:x}637037d6") for needle in stored]
    assert statuses.count(200) > len(FLAGS) * len(NAMES) * len(MIMES)
    # Nearly all that is not rare took the short way.
    assert both.asked < len(stored) * 0.7


async def test_what_is_unusual_is_left_to_the_general_way(both: Both) -> None:
    needle = Needle(1, COOKIE, b"hello", checksum=crc32c(b"hello"))
    both.volume.try_write(needle)
    both.volume.try_write(Needle(2, COOKIE))
    usual = "/3,01637037d6"
    assert await both.compare(usual) == 200
    assert both.asked == 0
    unusual: list[tuple[str, tuple[str, ...], int]] = [
        ("/3,01637037d7", (), 404),
        ("/3,02637037d6", (), 200),
        ("/3,09637037d6", (), 404),
        ("/4,01637037d6", (), 404),
        ("/3/01637037d6", (), 200),
        ("/3,01637037d6.txt", (), 200),
        ("/3,01637037d6?dl=true", (), 200),
        ("/4294967299,01637037d6", (), 200),
        ("/x", (), 400),
        (usual, ("Range: bytes=1-2",), 206),
        (usual, ("Range: bytes=9-",), 416),
        (usual, (f'If-None-Match: "{needle.checksum:08x}"',), 304),
        (usual, ("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",), 200),
    ]
    for number, (path, headers, status) in enumerate(unusual, start=1):
        assert await both.compare(path, *headers) == status, path
        assert both.asked == number
    both.volume.try_delete(1, COOKIE)
    assert await both.compare(usual) == 404


async def test_no_damage_to_a_record_is_served(both: Both) -> None:
    data = b"hello world" * 3
    needle = Needle(
        1, COOKIE, data, HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED, b"n.txt", b"a/b", 5, checksum=crc32c(data)
    )
    both.volume.try_write(needle)
    path = both.volume.data_path
    whole = path.read_bytes()
    served = 0
    for at in range(8, len(whole)):
        for bit in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            path.write_bytes(damaged)
            status = await both.compare("/3,01637037d6")
            served += status == 200
            # Cookie, size, length and data; the id in the record is what the index is believed about.
            if at < 28 + len(data) and not 12 <= at < 20:
                assert status in (404, 500), at
    assert served > 0  # names and times have no checksum
    path.write_bytes(whole)
    assert await both.compare("/3,01637037d6") == 200
