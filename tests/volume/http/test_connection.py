"""The protocol of one connection, over real sockets."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.volume.engine.data_file import FileSlice, open_data
from less_sync.volume.engine.files import Files
from less_sync.volume.http.connection import PIPELINED_BYTES_MAX, SKIPPED_BYTES_MAX
from less_sync.volume.http.handlers import Begun
from less_sync.volume.http.head import HEAD_BYTES_MAX
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import FilePart, Pieces, Response
from tests.volume.http.connections import MIB, Script, echo, later, serving, until, want_body

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def put(length: int, path: str = "/p", *headers: str) -> bytes:
    lines = [f"PUT {path} HTTP/1.1", "Host: h", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_a_head_may_come_byte_by_byte() -> None:
    async with serving() as server:
        client = await server.client()
        for byte in GET:
            client.send(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[2] == b"GET /a 0 "


async def test_pipelined_requests_are_answered_in_order() -> None:
    count = 500
    async with serving() as server:
        client = await server.client()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(count)))
        found = [(await client.answer())[2] for _ in range(count)]
    assert found == [b"GET /%d 0 " % number for number in range(count)]


async def test_pipelined_requests_behind_a_slow_one_wait_and_are_bounded() -> None:
    release = asyncio.Event()
    slow = Script(lambda request: later(echo(request), after=release) if request.path == "/slow" else None)
    wide = GET.replace(b"/a", b"/a" + b"b" * 1000)
    many = 4 * PIPELINED_BYTES_MAX // len(wide)
    async with serving(slow) as server:
        client = await server.client()
        client.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n" + wide * many)
        await until(lambda: slow.begun == ["/slow"])
        (connection,) = server.listener.connections
        await until(lambda: connection.pending_bytes > PIPELINED_BYTES_MAX)
        await asyncio.sleep(0.05)
        assert connection.pending_bytes <= PIPELINED_BYTES_MAX + len(server.listener.scratch)
        assert slow.begun == ["/slow"]
        release.set()
        assert (await client.answer())[2] == b"GET /slow 0 "
        for _ in range(many):
            assert (await client.answer())[2].startswith(b"GET /abbb")


@pytest.mark.parametrize("size", [0, 1, 5_000, 16_385, 128 << 10, (128 << 10) + 1, MIB, MIB + 1, 5 * MIB + 3])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_all_sizes_arrive_whole(size: int, *, chunked: bool) -> None:
    content = os.urandom(size)
    seen: list[bytes] = []

    def keep(request: Request) -> Response:
        body = request.body
        assert body is not None
        # There is room for a record around every body.
        assert body.start >= 20
        assert len(body.buffer) - body.end >= 66_000
        seen.append(bytes(body.view()))
        return Response(201)

    async with serving(Script(finish_with=keep)) as server:
        client = await server.client()
        for _ in range(2):
            if chunked:
                client.send(b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                pieces = [content[at : at + 70_000] for at in range(0, size, 70_000)]
                client.send(b"".join(b"%X;x=y\r\n%b\r\n" % (len(one), one) for one in pieces))
                client.send(b"0\r\nTrailer: z\r\n\r\n")
            else:
                client.send(put(size) + content)
            assert (await client.answer())[0] == 201
        client.send(GET)
        assert (await client.answer())[2] == b"GET /a 0 "
    assert [one == content for one in seen] == [True, True]


async def test_a_body_beyond_the_bound_is_counted_and_thrown_away() -> None:
    seen: list[tuple[bool, int]] = []

    def look(request: Request) -> Response:
        assert request.body is not None
        seen.append((request.body.too_large, len(request.body)))
        return Response(400)

    async with serving(Script(finish_with=look), body_bytes_max=1000) as server:
        client = await server.client()
        client.send(put(1000) + bytes(1000) + put(300_000) + bytes(300_000))
        client.send(b"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"1F4\r\n" + bytes(500) + b"\r\n1F5\r\n" + bytes(501) + b"\r\n0\r\n\r\n" + GET)
        assert [(await client.answer())[0] for _ in range(4)] == [400, 400, 400, 200]
    assert seen == [(False, 1000), (True, 0), (True, 0)]


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        (b"zz\r\n", "invalid byte in chunk length"),
        (b"\r\n", "empty hex number for chunk length"),
        (b"3\r\nabcd\r\n", "malformed chunked encoding"),
        (b"3\r\nabc\n0\r\n\r\n", "malformed chunked encoding"),
        (b"3\nabc\r\n0\r\n\r\n", "chunked line ends with bare LF"),
        (b"3;a\rb\r\nabc\r\n0\r\n\r\n", "invalid CR in chunked line"),
        (b"0\r\nno colon\r\n\r\n", "malformed chunked encoding"),
        (b"0\r\na: " + b"b" * 5000, "http: suspiciously long trailer after chunked body"),
        (b"FFFFFFFFFFFFFFFFF\r\n", "http chunk length too large"),
        (b"1" * 5000, "header line too long"),
    ],
)
async def test_a_broken_chunk_is_400_and_the_end(chunks: bytes, error: str) -> None:
    async with serving() as server:
        found = await server.ask(
            b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + chunks + GET
        )
    assert found.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert found.endswith(b'\r\n\r\n{"error":"%b"}' % error.encode())
    assert found.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "body", [b"Content-Length: 9\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"]
)
async def test_a_body_that_ends_early_is_told_so(body: bytes) -> None:
    async with serving() as server:
        client = await server.client()
        client.send(b"PUT /p HTTP/1.1\r\nHost: h\r\n" + body)
        client.writer.write_eof()
        assert (await client.rest()).endswith(b'\r\n\r\n{"error":"unexpected EOF"}')


async def test_a_client_that_has_said_all_is_still_answered() -> None:
    async with serving() as server:
        client = await server.client()
        client.send(GET + GET + b"GET /unfinished")
        client.writer.write_eof()
        assert (await client.rest()).count(b"GET /a 0 ") == 2


async def test_what_is_not_whole_when_a_client_ends_behind_a_slow_request_ends_the_connection() -> None:
    release = asyncio.Event()
    async with serving(Script(lambda request: later(echo(request), after=release))) as server:
        client = await server.client()
        client.send(put(1, "/slow") + b"x" + b"GET /unfinished")
        client.writer.write_eof()
        await until(lambda: server.script.begun == ["/slow"])
        await asyncio.sleep(0.02)
        release.set()
        assert (await client.rest()).count(b"HTTP/1.1") == 1


async def test_requests_behind_an_answer_that_the_client_takes_slowly_are_answered() -> None:
    async with serving(Script(lambda _: Response(200, [], bytes(16 * MIB)))) as server:
        client = await server.client()
        client.send(GET * 3)
        for _ in range(3):
            assert len((await client.answer())[2]) == 16 * MIB


async def test_a_body_is_asked_for_when_it_is_wanted() -> None:
    async with serving() as server:
        client = await server.client()
        client.send(put(3, "/p", "Expect: 100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert (await client.answer())[2] == b"PUT /p 3 abc"


async def test_a_refused_body_is_not_asked_for_and_ends_the_connection() -> None:
    async with serving(Script(lambda _: Response(401))) as server:
        found = await server.ask(put(3, "/p", "Expect: 100-continue"))
    assert found.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"\r\nConnection: close\r\n" in found


async def test_another_expectation_is_refused() -> None:
    async with serving() as server:
        assert (await server.ask(b"GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n")).startswith(
            b"HTTP/1.1 417 "
        )
        assert server.script.begun == []
        server.script.begun.append("/")  # it was never asked, and is told the end all the same
        server.script.ended.append("/")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [10, SKIPPED_BYTES_MAX - 100])
async def test_a_short_body_that_nobody_reads_is_skipped(size: int, *, chunked: bool) -> None:
    async with serving(Script(lambda _: Response(401))) as server:
        client = await server.client()
        if chunked:
            client.send(b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n" + GET)
        else:
            client.send(put(size) + bytes(size) + GET)
        assert [(await client.answer())[0] for _ in range(2)] == [401, 401]
    assert server.script.begun == ["/p", "/a"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_body_that_nobody_reads_ends_the_connection(*, chunked: bool) -> None:
    async with serving(Script(lambda _: Response(401))) as server:
        client = await server.client()
        size = SKIPPED_BYTES_MAX + 1
        if chunked:
            client.send(b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n" + GET)
        else:
            client.send(put(size) + bytes(size) + GET)
        assert (await client.rest()).count(b"HTTP/1.1 401") == 1
    assert server.script.begun == ["/p"]


async def test_a_head_of_a_mebibyte_is_read_and_a_longer_one_refused() -> None:
    start = b"GET /a HTTP/1.1\r\nHost: h\r\nX: "
    fits = start + b"x" * (HEAD_BYTES_MAX - len(start) - 4) + b"\r\n\r\n"
    async with serving() as server:
        client = await server.client()
        client.send(fits)
        assert (await client.answer())[0] == 200
        for long in (fits[:-4] + b"x\r\n\r\n", fits[:-4] + b"x" * 2000):
            assert await server.ask(long) == (
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
            )


async def test_http_1_0_is_answered_in_kind() -> None:
    async with serving() as server:
        found = await server.ask(b"GET /a HTTP/1.0\r\n\r\n")
        assert found.startswith(b"HTTP/1.0 200 OK\r\n")
        client = await server.client()
        client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + b"GET /b HTTP/1.0\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "keep-alive"
        assert (await client.answer())[1]["connection"] == "close"


async def test_head_has_the_length_and_no_body() -> None:
    async with serving(Script(lambda _: Response(200, [], b"x" * 100))) as server:
        client = await server.client()
        client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + LAST)
        status, headers, _ = await client.answer(head=True)
        assert (status, headers["content-length"], "content-type" in headers) == (200, "100", False)
        _, headers, body = await client.answer()
        assert (headers["content-type"], body) == ("text/plain; charset=utf-8", b"x" * 100)


async def test_no_value_can_add_a_header() -> None:
    evil: list[tuple[str, str | bytes]] = [
        ("A", "b\r\nSet-Cookie: c"),
        ("Bad\nName", "x"),
        ("C", b"d\ne\xff"),
    ]
    async with serving(Script(lambda _: Response(200, evil, b""))) as server:
        found = await server.ask(LAST)
    assert b"\r\nA: b  Set-Cookie: c\r\nC: d e\xff\r\nContent-Length: 0\r\n" in found
    assert b"Bad" not in found


async def test_a_handler_that_fails_is_500_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> Response:
        raise ValueError("secret")

    async def fail_later() -> Response:
        raise ValueError("secret")

    script = Script(lambda request: fail_later() if "later" in request.path else want_body(request), fail)
    async with serving(script) as server:
        client = await server.client()
        client.send(put(3) + b"abc" + b"GET /later/01637037d6/n?jwt=t HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in range(2):
            status, headers, body = await client.answer()
            assert (status, body, headers["content-length"]) == (500, b"", "0")
        assert "secret" not in str(headers)
    # A log names the file, not what opens it, and nothing else that the client wrote.
    # (The loop tells, too, when something took it long.)
    ours = [record for record in caplog.records if record.name.startswith("less_sync.")]
    assert [record.fields["file"] for record in ours] == ["p,", "later,01"]  # type: ignore[attr-defined]


async def _some(pieces: list[bytes], closed: list[str]) -> AsyncIterator[bytes]:
    try:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece
    finally:
        closed.append("closed")


async def test_pieces_are_sent_with_their_length_or_chunked() -> None:
    closed: list[str] = []

    def answer(request: Request) -> Response:
        length = 6 if request.path == "/known" else None
        return Response(200, [("Content-Type", "x/y")], Pieces(_some([b"abc", b"", b"def"], closed), length))

    async with serving(Script(answer)) as server:
        client = await server.client()
        client.send(
            b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n" + GET + b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + GET
        )
        for length, coding in (("6", None), (None, "chunked")):
            _, headers, body = await client.answer()
            assert (headers.get("content-length"), headers.get("transfer-encoding")) == (length, coding)
            assert body == b"abcdef"
        assert (await client.answer(head=True))[2] == b""
        assert (await client.answer())[2] == b"abcdef"
        assert (await server.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nabcdef")
    assert closed == ["closed"] * 4  # what was never begun has nothing to close


class Closable:
    """Pieces that want to be closed, and are no generator."""

    def __init__(self, closed: list[str]) -> None:
        self.closed = closed

    def __aiter__(self) -> "Closable":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.append("closed")


async def test_pieces_are_closed_even_if_nobody_takes_them() -> None:
    closed: list[str] = []
    release = asyncio.Event()

    def answer(request: Request) -> Begun:
        response = Response(200, [], Pieces(Closable(closed), None))
        return later(response, after=release) if request.path == "/slow" else response

    async with serving(Script(answer)) as server:
        client, leaving = await server.client(), await server.client()
        client.send(GET + GET.replace(b"GET", b"HEAD"))
        assert (await client.answer())[2] == b""
        await client.answer(head=True)
        leaving.send(GET.replace(b"/a", b"/slow"))
        await until(lambda: len(server.script.begun) == 3)
        leaving.reset()
        await until(lambda: len(server.listener.connections) == 1)
        release.set()
        await until(lambda: len(server.script.ended) == 3)
    assert closed == ["closed"] * 3


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abc", b"defg"]])
async def test_pieces_of_another_length_cut_the_connection(pieces: list[bytes]) -> None:
    script = Script(lambda _: Response(200, [], Pieces(_some(pieces, []), 6)))
    async with serving(script) as server:
        client = await server.client()
        client.send(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.answer()


async def test_a_file_is_sent_from_where_it_lies_and_let_go(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    path = tmp_path / "1.dat"
    path.write_bytes(content)
    data = open_data(Files(), path)
    sent: list[str] = []

    def answer(request: Request) -> Response:
        part = FilePart(FileSlice(data, 8, len(content) - 8), 1000, 2 * MIB)
        return Response(200, [], part, lambda: sent.append("sent"))

    async with serving(Script(answer)) as server:
        client = await server.client()
        client.send(GET + GET.replace(b"GET", b"HEAD"))
        assert (await client.answer())[2] == content[1008 : 1008 + 2 * MIB]
        assert (await client.answer(head=True))[1]["content-length"] == str(2 * MIB)
        await until(lambda: len(sent) == 2)
        # A client that leaves in the middle is let go of too.
        client.send(GET)
        await client.reader.readexactly(1000)
        client.writer.transport.abort()
        await until(lambda: len(sent) == 3)
    data.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(data.fd)


async def test_an_answer_is_sent_when_the_client_has_it_and_not_before() -> None:
    sent: list[str] = []
    body = bytes(32 * MIB)
    script = Script(lambda request: Response(200, [], body, lambda: sent.append(request.path)))
    async with serving(script) as server:
        first, second = await server.client(), await server.client()
        for client in (first, second):
            client.send(GET)
            await client.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        assert sent == []
        await first.reader.readexactly(len(body))
        await until(lambda: len(sent) == 1)
        second.writer.transport.abort()
        await until(lambda: len(sent) == 2)


async def test_a_waiting_request_learns_that_its_client_is_gone() -> None:
    told: list[str] = []
    release = asyncio.Event()

    def begin(request: Request) -> object:
        request.on_gone = lambda: told.append(request.path)
        return later(Response(200), after=release)

    async with serving(Script(begin)) as server:  # type: ignore[arg-type]
        leaving, half = await server.client(), await server.client()
        leaving.send(GET)
        half.send(GET.replace(b"/a", b"/half"))
        await until(lambda: len(server.script.begun) == 2)
        leaving.writer.transport.abort()
        half.writer.write_eof()
        await until(lambda: sorted(told) == ["/a", "/half"])
        assert server.script.ended == []
        release.set()
        assert (await half.rest()).startswith(b"HTTP/1.1 200 OK\r\n")
        await until(lambda: sorted(server.script.ended) == ["/a", "/half"])


async def test_a_write_goes_on_when_its_client_leaves() -> None:
    done: list[bytes] = []
    release = asyncio.Event()

    async def work(request: Request) -> Response:
        await release.wait()
        assert request.body is not None
        done.append(bytes(request.body.view()))
        return Response(201)

    async with serving(Script(finish_with=work)) as server:
        client = await server.client()
        client.send(put(3) + b"abc")
        await until(lambda: len(server.script.begun) == 1)
        await asyncio.sleep(0.02)
        client.writer.transport.abort()
        await asyncio.sleep(0.02)
        release.set()
        await until(lambda: done == [b"abc"])


async def test_an_unread_buffer_is_not_used_again_while_somebody_looks_at_it() -> None:
    kept: list[memoryview] = []

    def keep(request: Request) -> Response:
        assert request.body is not None
        kept.append(request.body.view())
        return Response(200)

    async with serving(Script(finish_with=keep)) as server:
        client = await server.client()
        for number in range(4):
            client.send(put(100) + bytes((number,)) * 100)
            await client.answer()
    assert [bytes(one) for one in kept] == [bytes((number,)) * 100 for number in range(4)]


async def test_unpooled_bodies_of_aborted_requests_are_let_go() -> None:
    async with serving() as server:
        for size in (100, 100_000, 5 * MIB):
            client = await server.client()
            client.send(put(size) + b"x" * (size // 2))
            await until(lambda: len(server.script.begun) > len(server.script.ended))
            client.writer.transport.abort()
            await until(lambda: len(server.script.begun) == len(server.script.ended))


async def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    release = asyncio.Event()
    script = Script(lambda request: later(echo(request), after=release) if request.path == "/slow" else None)
    async with serving(script, idle_s=0.2) as server:
        silent, half, slow, dribbling = [await server.client() for _ in range(4)]
        half.send(b"GET /a HTT")
        slow.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        dribbling.send(put(20))
        for _ in range(10):
            await asyncio.sleep(0.05)
            dribbling.send(b"x")
        assert await silent.rest() == b""
        assert await half.rest() == b""
        dribbling.send(b"y" * 10)
        assert (await dribbling.answer())[2] == b"PUT /p 20 xxxxxxxxxxyyyyyyyyyy"
        release.set()
        assert (await slow.answer())[2] == b"GET /slow 0 "


async def test_a_client_that_takes_nothing_of_its_answer_is_closed() -> None:
    sent: list[str] = []
    script = Script(lambda _: Response(200, [], bytes(32 * MIB), lambda: sent.append("over")))
    async with serving(script, idle_s=0.2) as server:
        client = await server.client()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET)
        await until(lambda: sent == ["over"])


async def test_connections_beyond_the_bound_are_closed_at_once() -> None:
    async with serving(connections_max=3) as server:
        clients = [await server.client() for _ in range(3)]
        for client in clients:
            client.send(GET)
            await client.answer()
        extra = await server.client()
        extra.send(GET)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await extra.answer()
        assert server.listener.counters.connections_refused == 1


async def test_stopping_lets_requests_finish_and_closes_the_idle() -> None:
    release = asyncio.Event()
    script = Script(lambda request: later(echo(request), after=release))
    async with serving(script) as server:
        idle, half, busy = [await server.client() for _ in range(3)]
        half.send(b"GET /a")
        busy.send(GET)
        await until(lambda: script.begun == ["/a"])
        stopping = asyncio.create_task(server.listener.stop(10))
        assert await idle.rest() == b""
        assert await half.rest() == b""
        assert not stopping.done()
        release.set()
        _, headers, _ = await busy.answer()
        assert headers["connection"] == "close"
        await stopping
        with pytest.raises(OSError, match=r"refused|failed"):
            await server.client()


async def test_stopping_ends_what_does_not_end_by_itself() -> None:
    release = asyncio.Event()
    async with serving(Script(lambda request: later(echo(request), after=release))) as server:
        client = await server.client()
        client.send(GET)
        await until(lambda: server.script.begun == ["/a"])
        await server.listener.stop(0.01)
        assert await client.rest() == b""
        release.set()
        await until(lambda: server.script.ended == ["/a"])
