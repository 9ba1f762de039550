"""What holds around every route, those of files included: headers, framing, paths, bounds of a head."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from less_sync.storage import BlobKey
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.http.headers import common_headers
from less_sync.sync.http.middleware import CommonHeaders
from tests.live import Live, live_server
from tests.sync.file_requests import Shelf, headers, path, request, shelf, told
from tests.sync.http.test_app import EXPECTED_HEADERS, RPC, UPGRADE, has_common_headers
from tests.sync.raw_http import Response, connected, fetch, served

LIMIT = 3 * 1024 * 1024


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=MemoryBlobs(), file_bytes_max=LIMIT) as running:
        yield running


@pytest.fixture
async def own(live: Live) -> Shelf:
    return await shelf(live)


async def one_of_each_status(own: Shelf) -> list[Response]:
    file = uuid4()
    target = path(own.client.space, file)
    credentials = {"authorization": f"Bearer {own.live.token('alice')}"}
    unframed = headers(own.live, own.record)
    async with connected(own.live.port) as connection:
        connection.send(f"GET /api/v1/ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}{RPC}\r\n".encode())
        upgraded = await connection.receive(body=False)
    return [
        upgraded,
        await fetch(own.live.port, "GET", "/health"),
        await own.put(file, b"x"),
        await own.put(file, b"x"),
        await own.get(file),
        await own.get(file, "HEAD"),
        await own.put("no-id", b"x"),
        await request(own.live, "GET", target, {}),
        await own.put(file, b"x", authorization=f"Bearer {own.live.token('alice', scope='sync')}"),
        await own.get(uuid4()),
        await request(own.live, "GET", "/nowhere", credentials),
        await request(own.live, "DELETE", target, credentials),
        await request(own.live, "PUT", target, {**unframed, "transfer-encoding": "chunked"}, b"x"),
        await own.put(file, b"", content_length=str(LIMIT + 1)),
        await request(own.live, "OPTIONS", target, {}),
    ]


async def test_every_answer_has_the_common_headers_and_none_that_a_cache_or_a_login_would_heed(
    own: Shelf,
) -> None:
    responses = await one_of_each_status(own)
    assert [response.status for response in responses] == [
        *(101, 200, 201, 204, 200, 200, 400, 401, 403, 404, 404, 405, 411, 413, 204),
    ]
    for response in responses:
        assert has_common_headers(response), response
        for absent in ("vary", "www-authenticate", "access-control-allow-credentials", "cache-control"):
            assert response.header(absent) is None, (absent, response)


@pytest.mark.parametrize("status", [408, 500])
async def test_the_answers_of_faults_have_the_common_headers(status: int) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if status == 500:
            raise LookupError
        # A route cannot have common headers of its own.
        await PlainTextResponse("", status, {"X-Protocol-Version": "2"})(scope, receive, send)

    shell = CommonHeaders(fail, headers=common_headers(), allowed=lambda _path: None)
    async with served(shell) as port:
        response = await fetch(port, "GET", "/")
    assert response.status == status
    assert has_common_headers(response)


async def test_preflight_of_a_file_is_answered_before_anything_is_checked(live: Live) -> None:
    for target in ("/api/v1/spaces/x/files/y", "/api/v1/spaces//files/%ff", "/api/v1/spaces/%ff/files/y?z"):
        response = await fetch(live.port, "OPTIONS", target, "Access-Control-Request-Method: PUT\r\n")
        assert (response.status, response.body) == (204, b"")
        assert response.header("allow") == "PUT,GET,HEAD"
        assert {name for name, _ in response.headers} == {*EXPECTED_HEADERS, "date", "server", "allow"}
    assert (await fetch(live.port, "OPTIONS", "/api/v1/spaces/x/files/")).header("allow") is None


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/api/v1/spaces/{space}/files/..", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/%2e%2e", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/..%2f..%2f{file}", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/{file};x", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/{file}%00", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/{file}%0a", (400, "invalid file ID")),
        ("/api/v1/spaces/{space}/files/%FF", (400, "invalid file ID")),
        ("/api/v1/spaces/%FF/files/%FF", (400, "invalid space ID")),
        ("/api/v1/spaces//files/{file}", (400, "invalid space ID")),
        ("/api/v1/spaces/../files/{file}", (400, "invalid space ID")),
        ("/api/v1/spaces/%2e%2e/files/{file}", (400, "invalid space ID")),
        ("/api/v1/spaces/{space}%2ffiles/{file}", (404, "")),
        ("/api/v1/spaces/{space}/files/", (404, "")),
        ("/api/v1/spaces/{space}/files/{file}/", (404, "")),
        ("/api/v1/spaces/{space}//files/{file}", (404, "")),
        ("//api/v1/spaces/{space}/files/{file}", (404, "")),
        ("/x/../api/v1/spaces/{space}/files/{file}", (404, "")),
        ("/api/v1/spaces/{space}/%66iles/{file}", (404, "")),
        ("/API/v1/spaces/{space}/files/{file}", (404, "")),
    ],
)
async def test_a_trick_in_a_path_leads_nowhere(own: Shelf, target: str, answer: tuple[int, str]) -> None:
    file = uuid4()
    target = target.format(space=own.client.space, file=file)
    assert told(await request(own.live, "GET", target, {})) == (401, "missing authorization")
    fields = headers(own.live, own.record)
    assert told(await request(own.live, "PUT", target, fields, b"x")) == answer
    assert own.live.services.files is not None
    stored = [one async for page in own.live.services.files.blobs.listing() for one in page]
    assert stored == []


async def test_an_identifier_may_be_percent_encoded_and_a_target_absolute(own: Shelf) -> None:
    file = uuid4()
    encoded = "".join(f"%{ord(character):02x}" for character in str(file))
    target = f"http://elsewhere.example{path(own.client.space, encoded)}?x=/../y"
    put = await request(own.live, "PUT", target, headers(own.live, own.record), b"x")
    assert put.status == 201
    assert (await own.get(file)).body == b"x"


@pytest.mark.parametrize("target", ["/api/v1/spaces/\xe9/files/f", "/a\x00b", "/a b", "a"])
async def test_a_target_that_is_none_is_malformed(live: Live, target: str) -> None:
    async with connected(live.port) as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode("latin-1"))
        response = await connection.receive()
        assert (response.status, response.body, response.header("connection")) == (400, b"", "close")


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 1, 1",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 1",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Content-Length : 1",
    ],
)
async def test_a_body_whose_end_can_be_read_in_two_ways_is_malformed(own: Shelf, framing: str) -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers(own.live, own.record).items())
    async with connected(own.live.port) as connection:
        target = path(own.client.space, uuid4())
        connection.send(f"PUT {target} HTTP/1.1\r\nHost: h\r\n{fields}{framing}\r\n\r\nx".encode())
        response = await connection.receive()
        assert (response.status, response.body, response.header("connection")) == (400, b"", "close")
        assert await connection.ended() == b""


async def test_the_largest_length_there_is_is_no_reason_to_read(own: Shelf) -> None:
    response = await own.put(uuid4(), b"", content_length="9" * 19)
    assert told(response) == (413, "file exceeds 3 MB limit")
    assert response.header("connection") == "close"


async def test_a_refused_upload_is_told_why_though_all_of_it_was_sent_first(own: Shelf) -> None:
    body = bytes(LIMIT)
    response = await own.put(uuid4(), body, authorization=None)
    assert told(response) == (401, "missing authorization")
    assert response.header("connection") is None
    assert told(await own.put(uuid4(), body + b"x")) == (413, "file exceeds 3 MB limit")


async def test_a_refused_upload_that_waits_for_the_100_never_gets_it(own: Shelf) -> None:
    response = await own.put(uuid4(), b"", x_wrapped_dek=None, expect="100-continue", content_length="10")
    assert told(response) == (400, "X-Wrapped-DEK header required")


async def test_an_upload_under_way_survives_the_start_of_a_shutdown(own: Shelf) -> None:
    file, fields = uuid4(), {**headers(own.live, own.record), "content-length": "2000000"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, "expect": "100-continue"}.items())
    async with connected(own.live.port) as connection:
        connection.send(f"PUT {path(own.client.space, file)} HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode())
        assert b" 100 " in await connection.reader.readuntil(b"\r\n\r\n")
        own.live.server.stop.set()  # type: ignore[attr-defined]  # of the server of these tests
        async with asyncio.timeout(20):
            while own.live.server.servers[0].is_serving():  # noqa: ASYNC110  no event is offered
                await asyncio.sleep(0.005)
        connection.send(bytes(2_000_000))
        response = await connection.receive()
        assert (response.status, response.header("connection")) == (201, "close")
    assert own.live.services.files is not None
    assert await own.live.services.files.blobs.find(BlobKey(UUID(own.client.space), file)) is not None
