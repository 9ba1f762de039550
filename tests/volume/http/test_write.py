"""Storing files over a socket, in a real store."""

import asyncio
import base64
import gzip
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.volume.format.needle import GZIP, HAS_MIME, HAS_NAME, MANIFEST
from less_sync.volume.format.ttl import parse_ttl
from tests.volume.http.connections import until
from tests.volume.http.whole_server import Server, serving

pytestmark = pytest.mark.anyio
FID = "3,01637037d6"
BINARY = [("Content-Type", "application/octet-stream")]
FORM = [("Content-Type", "multipart/form-data; boundary=B")]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data", file_bytes_max=1 << 20) as server:
        await server.store.allocate(3)
        yield server


def _form(*parts: tuple[str, bytes]) -> bytes:
    """A body of parts, each its head lines (joined by `|`) and its content."""
    bodies = [
        b"--B\r\n" + head.replace("|", "\r\n").encode() + b"\r\n\r\n" + content for head, content in parts
    ]
    return b"\r\n".join(bodies) + b"\r\n--B--\r\n"


FILE_HEAD = 'Content-Disposition: form-data; name="file"; filename="a.txt"'


async def test_a_raw_upload_is_stored_and_named_by_its_path(server: Server) -> None:
    answer = await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    assert answer.status == 201
    assert answer.body == (
        b'{"name":"3,01637037d6","size":5,"eTag":"9a71bb4c","mime":"application/octet-stream"}'
    )
    assert answer.headers["etag"] == '"9a71bb4c"'
    assert answer.headers["content-md5"] == ""
    needle = server.stored(FID)
    assert (bytes(needle.data), needle.cookie, needle.name) == (b"hello", 0x637037D6, b"3,01637037d6")
    assert needle.flags & (HAS_NAME | HAS_MIME | GZIP) == HAS_NAME | HAS_MIME


async def test_the_same_content_again_is_unchanged(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    answer = await server.ask("POST", f"/{FID}?ts=5", b"hello", BINARY)
    assert (answer.status, answer.body, answer.headers["etag"]) == (204, b"", '"9a71bb4c"')
    assert server.stored(FID).last_modified != 5


async def test_another_cookie_is_refused_also_after_a_deletion(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    for _ in range(2):
        answer = await server.ask("PUT", "/3,0100000abc", b"x", BINARY)
        assert answer.status == 500
        assert answer.json == {"error": "failed to write to local disk: mismatching cookie abc"}
        await server.ask("DELETE", f"/{FID}")


async def test_a_file_of_a_form_is_stored_where_it_arrived(server: Server) -> None:
    body = _form((FILE_HEAD + "|Content-Type: a/b", b"data"))
    answer = await server.ask("POST", f"/{FID}?ts=1700000000&ttl=7d&cm=t", body, FORM)
    assert answer.json == {"name": "a.txt", "size": 4, "eTag": answer.json["eTag"]}
    needle = server.stored(FID)
    assert (bytes(needle.data), needle.last_modified, needle.ttl) == (b"data", 1700000000, parse_ttl("1w"))
    assert needle.flags & MANIFEST


async def test_text_fields_count_where_the_query_lacks_them(server: Server) -> None:
    body = _form(
        ('Content-Disposition: form-data; name="ts"', b"1700000000"),
        ('Content-Disposition: form-data; name="ttl"', b"7d"),
        (FILE_HEAD, b"data"),
        ('Content-Disposition: form-data; name="cm"', b"1"),
    )
    assert (await server.ask("POST", f"/{FID}?ttl=3m", body, FORM)).status == 201
    needle = server.stored(FID)
    assert (needle.last_modified, needle.ttl) == (1700000000, parse_ttl("3m"))
    assert needle.flags & MANIFEST


async def test_a_form_encoded_body_is_parameters_of_an_empty_file(server: Server) -> None:
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = await server.ask("POST", f"/{FID}", b"cm=true&a=%zz", form)
    assert (answer.status, answer.json) == (400, {"error": 'invalid URL escape "%zz"'})
    answer = await server.ask("PUT", f"/{FID}", b"a=1&b=2", form)
    assert (answer.status, answer.headers["etag"]) == (201, '"00000000"')
    assert server.stored(FID).size == 0


async def test_an_empty_file_is_never_unchanged(server: Server) -> None:
    assert [(await server.ask("PUT", f"/{FID}", b"", BINARY)).status for _ in range(2)] == [201, 201]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "error"),
    [
        ("POST", "/3,01637037d6?a=%zz", [], 400, 'invalid URL escape "%zz"'),
        ("POST", "/3,01637037d6?a=1;b=2", [], 400, "invalid semicolon separator in query"),
        ("POST", "/x,01637037d6", [], 400, 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("POST", "/3,0163", BINARY, 400, "Invalid fid: 0163"),
        (
            "PUT",
            "/3/0b637037d6",
            BINARY,
            400,
            "Parse needleId error: needle id /3/0b format error: "
            'strconv.ParseUint: parsing "/3/0b": invalid syntax',
        ),
        ("POST", "/3,01637037d6", [], 400, "request Content-Type isn't multipart/form-data"),
        ("POST", "/3,01637037d6", FORM, 400, "multipart: NextPart: EOF"),
        (
            "POST",
            "/3,01637037d6",
            [("Content-Type", "multipart/form-data")],
            400,
            "no multipart boundary param in Content-Type",
        ),
        (
            "PUT",
            "/3,01637037d6",
            [*BINARY, ("Content-MD5", "AAAA")],
            400,
            "Content-MD5 did not match md5 of file data expected [AAAA] "
            "received [AsdwAqDGRmhLMyWVn+FHsg==] size 4",
        ),
    ],
)
async def test_what_is_wrong_is_told(
    server: Server, method: str, target: str, headers: list[tuple[str, str]], status: int, error: str
) -> None:
    answer = await server.ask(method, target, b"oops", headers)
    assert (answer.status, answer.json) == (status, {"error": error})
    assert server.volume().content_bytes == 0


async def test_a_file_of_exactly_the_limit_passes_in_either_form(server: Server) -> None:
    limit = 1 << 20
    over = {"error": f"file over the limited {limit} bytes"}
    assert (await server.ask("PUT", "/3,0100000001", bytes(limit), BINARY)).status == 201
    assert (await server.ask("PUT", "/3,0200000001", bytes(limit + 1), BINARY)).json == over
    assert (await server.ask("PUT", "/3,0200000001", bytes(3 * limit), BINARY)).json == over
    head = FILE_HEAD.replace("a.txt", "a.bin")
    assert (await server.ask("POST", "/3,0300000001", _form((head, bytes(limit))), FORM)).status == 201
    assert (await server.ask("POST", "/3,0400000001", _form((head, bytes(limit + 1))), FORM)).json == over
    assert bytes(server.stored("3,0300000001").data) == bytes(limit)


async def test_an_md5_is_compared_with_the_unpacked_data_and_echoed(server: Server) -> None:
    plain = b"compress me please " * 100
    told = base64.b64encode(hashlib.md5(plain, usedforsecurity=False).digest()).decode()
    headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip"), ("Content-MD5", told)]
    packed = gzip.compress(plain, mtime=0)
    answer = await server.ask("PUT", f"/{FID}", packed, headers)
    assert answer.json["size"] == len(plain)
    assert answer.json["contentMd5"] == answer.headers["content-md5"] == told
    needle = server.stored(FID)
    assert bytes(needle.data) == packed
    assert needle.flags & GZIP


@pytest.mark.parametrize(("repeats", "is_packed"), [(100, True), (10_000, True), (1, False)])
async def test_text_is_packed_if_that_saves_a_tenth(server: Server, repeats: int, is_packed: bool) -> None:
    plain = b"squeeze" * repeats
    answer = await server.ask("PUT", f"/{FID}", plain, [("Content-Type", "text/plain")])
    assert answer.json["size"] == len(plain)
    needle = server.stored(FID)
    assert bool(needle.flags & GZIP) is is_packed
    assert (gzip.decompress(needle.data) if is_packed else bytes(needle.data)) == plain


async def test_a_copy_from_another_server_is_stored_as_it_comes(server: Server) -> None:
    plain = b"squeeze" * 100
    await server.ask("POST", f"/{FID}?type=replicate", plain, [("Content-Type", "text/plain")])
    assert bytes(server.stored(FID).data) == plain


async def test_pairs_are_stored_sorted_and_dropped_when_too_long(server: Server) -> None:
    pairs = [("seaweed-x-y", "<1>"), ("Seaweed-Abc", "2"), ("Seaweed-ABC", "3")]
    await server.ask("PUT", f"/{FID}", b"x", [*BINARY, *pairs])
    assert server.stored(FID).pairs == b'{"Abc":"2","X-Y":"\\u003c1\\u003e"}'
    await server.ask("PUT", "/3,0200000001", b"x", [*BINARY, ("Seaweed-A", "v" * 65536)])
    assert server.stored("3,0200000001").pairs == b""


async def test_long_names_and_types_are_dropped(server: Server) -> None:
    headers = [("Content-Type", "a/" + "b" * 254), ("Content-Disposition", f'inline; filename="{"n" * 256}"')]
    answer = await server.ask("PUT", f"/{FID}", b"x", headers)
    assert set(answer.json) == {"size", "eTag"}
    assert not server.stored(FID).flags & (HAS_NAME | HAS_MIME)


async def test_a_durable_write_is_answered_like_any_other(server: Server) -> None:
    assert (await server.ask("PUT", f"/{FID}?fsync=true", b"hello", BINARY)).status == 201
    assert (await server.ask("PUT", f"/{FID}?fsync=true", b"hello", BINARY)).status == 204


async def test_a_write_waits_for_its_turn(server: Server) -> None:
    volume = server.volume()
    async with volume.turn:
        asking = asyncio.create_task(server.ask("PUT", f"/{FID}", b"hello", BINARY))
        done, _ = await asyncio.wait([asking], timeout=0.05)
        assert not done
    assert (await asking).status == 201


async def test_a_client_that_leaves_does_not_cancel_its_write(server: Server) -> None:
    volume = server.volume()
    async with volume.turn:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"PUT /{FID} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".encode())
        await until(lambda: server.uploads.bytes == 5)
        writer.transport.abort()
        # An answer to somebody else shows that the loop has had its turns since.
        assert (await server.ask("PUT", "/3,bad", b"", BINARY)).status == 400
    async with volume.turn:
        assert bytes(server.stored(FID).data) == b"hello"


async def test_a_write_to_a_volume_that_nobody_has_is_refused(server: Server) -> None:
    error = {"error": f"volume 9 not found on 127.0.0.1:{server.port}"}
    answer = await server.ask("PUT", "/9,0100000001?type=replicate", b"x", BINARY)
    assert (answer.status, answer.json) == (500, error)


async def test_a_volume_that_is_read_only_says_so(server: Server) -> None:
    volume = server.volume()
    volume.no_write_or_delete = True
    answer = await server.ask("PUT", f"/{FID}", b"x", BINARY)
    assert answer.json == {"error": "failed to write to local disk: volume 3 is read only"}
    assert server.services.counters.write_failures == 1


async def test_upload_bytes_are_counted_until_the_request_is_over(server: Server) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"PUT /{FID} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nh".encode())
    await until(lambda: server.uploads.bytes == 50)
    writer.close()
    await until(lambda: server.uploads.bytes == 0)


async def test_uploads_over_the_limit_wait_and_copies_do_not(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", upload_bytes_max=10, upload_wait_s=0.05) as server:
        await server.store.allocate(3)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"PUT /{FID} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nh".encode())
        await until(lambda: server.uploads.bytes == 50)
        answer = await server.ask("PUT", "/3,0200000001", b"x", BINARY)
        assert answer.status == 429
        assert answer.body == (
            b'{"error":"reject because inflight upload data 50 \\u003e 10, and wait timeout"}'
        )
        assert (await server.ask("PUT", "/3,0200000001?type=replicate", b"x", BINARY)).status == 201
        waiting = asyncio.create_task(server.ask("PUT", "/3,0300000001", b"x", BINARY))
        writer.write(b"h" * 49)
        assert (await waiting).status == 201
        writer.close()


async def test_the_white_list_comes_before_everything_else(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", white_list=("10.0.0.1",)) as server:
        for method in ("POST", "PUT", "DELETE"):
            answer = await server.ask(method, "/x", b"x")
            assert (answer.status, answer.body) == (401, b"")


async def test_tokens_are_asked_for_before_the_needle_is_read(tmp_path: Path) -> None:
    key = {"WEED_JWT_SIGNING_KEY": "secret"}
    async with serving(tmp_path / "data", environment=key) as server:
        for method in ("POST", "PUT"):
            answer = await server.ask(method, "/3,bad", b"x")
            assert (answer.status, answer.json) == (401, {"error": "wrong jwt"})
        assert (await server.ask("DELETE", "/3,bad")).json == {"error": "Invalid fid: bad"}
        assert (await server.ask("DELETE", f"/{FID}")).json == {"error": "wrong jwt"}
