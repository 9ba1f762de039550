"""Copies on other servers: two servers in this process, and servers that only listen."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from less_sync.volume.format.ttl import parse_ttl
from less_sync.volume.grpc.protos import master_pb2 as pb
from tests.volume.http.whole_server import Server, serving
from tests.volume.master.fake_master import FakeMaster, running

pytestmark = pytest.mark.anyio
FID = "3,01637037d6"
TWO_COPIES = 1
BINARY = [("Content-Type", "application/octet-stream")]


@dataclass(slots=True)
class Pair:
    """Two servers with a volume of two copies, and the master that knows both."""

    first: Server
    second: Server
    master: FakeMaster


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with (
        running(FakeMaster()) as master,
        serving(tmp_path / "first", master=master.address) as first,
        serving(tmp_path / "second", master=master.address) as second,
    ):
        for server in (first, second):
            await server.store.allocate(3, placement=TWO_COPIES)
        master.places["3"] = [_location(first.port), _location(second.port)]
        yield Pair(first, second, master)


def _location(port: int) -> pb.Location:
    return pb.Location(url=f"127.0.0.1:{port}", public_url=f"127.0.0.1:{port}")


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that keeps what it hears and gives everybody the same answer."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.startswith(b"Content-Length")
            ),
            0,
        )
        heard.append(head + await reader.readexactly(length))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


def _json(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)


async def test_a_write_reaches_both_servers_as_it_is_stored(pair: Pair) -> None:
    plain = b"compress me please " * 100
    headers = [("Content-Type", "text/plain"), ("Seaweed-Foo", "b\u00c3\u00a4r")]
    headers += [("Content-Disposition", 'attachment; filename="K\u00c3\u00a4se.txt"')]
    answer = await pair.first.ask("POST", f"/{FID}?ts=1700000000&ttl=5m&fsync=true", plain, headers)
    assert (answer.status, answer.json["size"]) == (201, len(plain))
    ours, theirs = pair.first.stored(FID), pair.second.stored(FID)
    assert gzip.decompress(theirs.data) == plain
    for needle in (ours, theirs):
        needle.append_at_ns, needle.data = 0, bytes(needle.data)
    assert ours == theirs
    assert (ours.ttl, ours.last_modified) == (parse_ttl("5m"), 1700000000)
    assert (await pair.first.ask("POST", f"/{FID}", plain, headers)).status == 204
    assert pair.master.looked_up == [["3"]]


async def test_a_multipart_write_keeps_its_bytes_for_the_copies(pair: Pair) -> None:
    data = bytes(range(256)) * 2000
    body = (
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n' + data + b"\r\n--B--\r\n"
    )
    form = [("Content-Type", "multipart/form-data; boundary=B")]
    assert (await pair.first.ask("POST", f"/{FID}", body, form)).status == 201
    assert bytes(pair.first.stored(FID).data) == bytes(pair.second.stored(FID).data) == data


async def test_a_copy_is_not_passed_on(pair: Pair) -> None:
    assert (await pair.second.ask("PUT", f"/{FID}?type=replicate", b"x", BINARY)).status == 201
    assert pair.first.volume().needles.file_count == 0
    assert not pair.master.looked_up


async def test_a_deletion_reaches_both_servers(pair: Pair) -> None:
    await pair.first.ask("PUT", f"/{FID}", b"replicate me", [("Content-Type", "x/y")])
    size = pair.first.stored(FID).size
    answer = await pair.second.ask("DELETE", f"/{FID}")
    assert (answer.status, answer.json) == (202, {"size": size})
    for server in (pair.first, pair.second):
        assert (await server.ask("DELETE", f"/{FID}")).json == {"size": 0}


async def test_a_volume_that_is_elsewhere_is_written_there(pair: Pair) -> None:
    await pair.second.store.allocate(4)
    pair.master.places["4"] = [_location(pair.second.port)]
    assert (await pair.first.ask("PUT", "/4,0100000001?ttl=3m", b"there", BINARY)).status == 201
    assert bytes(pair.second.stored("4,0100000001").data) == b"there"


async def test_a_volume_that_no_master_knows_is_refused(pair: Pair) -> None:
    answer = await pair.first.ask("PUT", "/9,0100000001", b"x", BINARY)
    assert answer.json == {"error": f"volume 9 not found on 127.0.0.1:{pair.first.port}"}


async def test_too_few_copies_are_refused_before_anything_is_stored(pair: Pair) -> None:
    pair.master.places["3"].pop()
    error = "replicating operations [1] is less than volume 3 replication copy count [2]"
    assert (await pair.first.ask("PUT", f"/{FID}", b"x", BINARY)).json == {"error": error}
    assert pair.first.volume().needles.file_count == 0
    pair.master.places["3"].append(_location(pair.second.port))
    assert (await pair.first.ask("PUT", f"/{FID}", b"x", BINARY)).status == 201
    assert len(pair.master.looked_up) == 2


async def test_a_dead_copy_fails_the_write_and_keeps_ours(pair: Pair) -> None:
    pair.master.places["3"][1].url = "127.0.0.1:1"
    url = f"http://127.0.0.1:1/{FID}?ts=1700000000&ttl=&type=replicate"
    dead = "dial tcp 127.0.0.1:1: connect: connection refused"
    answer = await pair.first.ask("PUT", f"/{FID}?ts=1700000000", b"xx", BINARY)
    assert answer.status == 500
    assert answer.json == {
        "error": "failed to write to replicas for volume 3: [127.0.0.1:1]: "
        f'upload {FID} 2 bytes to {url}: Post "{url}": {dead}'
    }
    assert bytes(pair.first.stored(FID).data) == b"xx"
    answer = await pair.first.ask("DELETE", f"/{FID}")
    url = f"http://127.0.0.1:1/{FID}?type=replicate"
    assert answer.json == {"error": f'Deletion Failed: [127.0.0.1:1]: Delete "{url}": {dead}'}
    failures = pair.first.services.counters.replication_failures
    assert failures == {("write", "remote"): 1, ("delete", "remote"): 1}


async def test_what_a_copy_is_sent_is_what_existing_servers_send(pair: Pair) -> None:
    async with listening(_json(200, b'{"size":1}')) as (port, heard):
        pair.master.places["3"][1].url = f"127.0.0.1:{port}"
        headers = [("Content-Type", "x/y"), ("Seaweed-Foo", "bar"), ("Authorization", "BEARER abc")]
        headers += [
            ("Content-MD5", "K3iJNaJEn69uJKB4wxKpgw=="),
            ("Content-Disposition", 'inline; filename="a b"'),
        ]
        await pair.first.ask("PUT", f"/{FID}?ts=7&fsync=true&x=y", b"replicate me", headers)
        deleted = await pair.first.ask("DELETE", f"/{FID}?jwt=abc")
    head, _, body = heard[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    boundary = next(line.partition("boundary=")[2] for line in lines if "boundary=" in line)
    assert lines[0] == f"POST /{FID}?fsync=true&ts=7&ttl=&type=replicate HTTP/1.1"
    assert len(boundary) == 60
    assert {"Seaweed-Foo: bar", "Authorization: Bearer abc", "Accept-Encoding: gzip"} < set(lines)
    assert body.decode() == (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; filename="a b"; name=file\r\n'
        "Content-Md5: K3iJNaJEn69uJKB4wxKpgw==\r\n"
        "Content-Type: x/y\r\n"
        f"Idempotency-Key: http://127.0.0.1:{port}/{FID}?fsync=true&ts=7&ttl=&type=replicate\r\n\r\n"
        f"replicate me\r\n--{boundary}--\r\n"
    )
    assert deleted.status == 202
    assert heard[1].decode().split("\r\n")[0] == f"DELETE /{FID}?type=replicate HTTP/1.1"
    assert "Authorization: Bearer abc" in heard[1].decode().split("\r\n")


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, b'{"error":"volume 3 is read only"}', "unmarshalled error {url}: volume 3 is read only"),
        (401, b"", "unmarshal {url}: unexpected end of JSON input"),
        (500, b"{}", "unmarshalled error {url}: status 500"),
        (200, b"[]", "unmarshalled error {url}: no object"),
        (200, b"[" * 100_000, "unmarshal {url}: exceeded max depth"),
    ],
)
async def test_a_copy_that_refuses_is_quoted(pair: Pair, status: int, body: bytes, why: str) -> None:
    async with listening(_json(status, body)) as (port, _):
        pair.master.places["3"][1].url = f"127.0.0.1:{port}"
        answer = await pair.first.ask("PUT", f"/{FID}?ts=7", b"x", BINARY)
    url = f"http://127.0.0.1:{port}/{FID}?ts=7&ttl=&type=replicate"
    told = f"failed to write to replicas for volume 3: [127.0.0.1:{port}]: {why.format(url=url)}"
    assert (answer.status, answer.json) == (500, {"error": told})


async def test_a_copy_that_hangs_up_is_tried_once_more(pair: Pair) -> None:
    async with listening(b"") as (port, heard):
        pair.master.places["3"][1].url = f"127.0.0.1:{port}"
        answer = await pair.first.ask("PUT", f"/{FID}?ts=7", b"x", BINARY)
    assert answer.json["error"].endswith(": EOF")
    assert len(heard) == 2
