"""Requests to other servers, against listeners of our own."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from less_sync.volume.http.client import ANSWER_BYTES_MAX, OutgoingError, OutgoingHttp
from tests.volume.security.certificates import Authority

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\nX-Name: a\r\nContent-Length: 5\r\n\r\nhello"


@dataclass(slots=True)
class Peer:
    """Answers each request by its target; an answer of nothing hangs up."""

    place: str = ""
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def peer(answer: Callable[[str, int], bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Listen; `answer` is given the target and how many requests came before."""
    made = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.partition(b"Content-Length: ")[2].partition(b"\r")[0]
                target = head.split(b" ")[1].decode()
                given = answer(target, len(made.heard))
                made.heard.append(head + await reader.readexactly(int(length or 0)))
                if not given:
                    return
                writer.write(given)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    made.place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


@pytest.fixture
async def outgoing() -> AsyncIterator[OutgoingHttp]:
    made = OutgoingHttp(source="127.0.0.1")
    yield made
    await made.close()


async def test_one_connection_serves_requests_that_follow_each_other(outgoing: OutgoingHttp) -> None:
    async with peer(lambda target, count: OK) as other:
        for _ in range(3):
            posted = await outgoing.post(
                other.place, "/a,b?x=1", [(b"X-A", b"1")], [b"abc", memoryview(b"def")]
            )
        incoming = await outgoing.get_stream(other.place, "/")
        assert (incoming.status, incoming.header(b"x-name")) == (200, b"a")
        assert await incoming.read() == b"hello"
        await incoming.close()
        assert (await outgoing.delete(other.place, "/")).status == 200
    assert (posted.status, posted.body) == (200, b"hello")
    assert other.connections == 1
    assert other.heard[0] == (
        f"POST /a,b?x=1 HTTP/1.1\r\nHost: {other.place}\r\nX-A: 1\r\nContent-Length: 6\r\n\r\nabcdef".encode()
    )


async def test_an_answer_that_is_not_taken_costs_its_connection_alone(outgoing: OutgoingHttp) -> None:
    async with peer(lambda target, count: OK.replace(b": 5", b": 9")) as other:
        incoming = await outgoing.get_stream(other.place, "/")
        await incoming.close()
        second = await outgoing.get_stream(other.place, "/")
        assert await anext(second.pieces()) == b"hello"
        await second.close()
    assert other.connections == 2


async def test_redirects_are_followed_up_to_a_bound(outgoing: OutgoingHttp) -> None:
    def answer(target: str, count: int) -> bytes:
        if target == "/here?x=1":
            return OK
        there = b"/here?x=1" if target == "/old" else b"/again"
        return b"HTTP/1.1 301 Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % there

    async with peer(answer) as other:
        incoming = await outgoing.get_stream(other.place, "/old")
        assert await incoming.read() == b"hello"
        await incoming.close()
        with pytest.raises(OutgoingError, match="stopped after 10 redirects"):
            await outgoing.get_stream(other.place, "/loop")
    assert len(other.heard) == 12


async def test_a_redirect_to_another_host_is_followed_without_what_opens_the_first(
    outgoing: OutgoingHttp,
) -> None:
    headers = [(b"authorization", b"Bearer t"), (b"Cookie", b"AT=t"), (b"Range", b"bytes=0-")]

    def answer(target: str, count: int) -> bytes:
        if target == "/there":
            return OK
        there = b"://[" if target == "/nowhere" else b"%b/there" % target[1:].encode()
        return b"HTTP/1.1 302 Found\r\nLocation: http%b\r\nContent-Length: 0\r\n\r\n" % there

    async with peer(answer) as other:
        port = other.place.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            incoming = await outgoing.get_stream(other.place, f"/://{host}:{port}", headers)
            assert await incoming.read() == b"hello"
            await incoming.close()
        with pytest.raises(OutgoingError, match="failed to parse Location header"):
            await outgoing.get_stream(other.place, "/nowhere", headers)
    told = [b"Bearer t" in head and b"AT=t" in head for head in other.heard]
    assert (told, all(b"bytes=0-" in head for head in other.heard)) == ([True, True, True, False, True], True)


async def test_a_kept_connection_that_has_ended_is_replaced(outgoing: OutgoingHttp) -> None:
    async with peer(lambda target, count: b"" if count == 1 else OK) as other:
        for _ in range(2):
            assert (await outgoing.post(other.place, "/", [], [b"abc"])).status == 200
    assert len(other.heard) == 3
    assert {heard[-3:] for heard in other.heard} == {b"abc"}


async def test_a_server_that_never_answers_is_given_up_after_the_second_time(outgoing: OutgoingHttp) -> None:
    async with peer(lambda target, count: b"") as other:
        with pytest.raises(OutgoingError, match=r"^EOF$"):
            await outgoing.delete(other.place, "/")
    assert len(other.heard) == 2


async def test_nobody_there_is_worded_as_existing_servers_word_it(outgoing: OutgoingHttp) -> None:
    with pytest.raises(OutgoingError, match=r"^dial tcp 127\.0\.0\.1:1: connect: connection refused$"):
        await outgoing.get_stream("127.0.0.1:1", "/")


async def test_an_answer_that_is_read_whole_has_a_bound(outgoing: OutgoingHttp) -> None:
    long = b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % (4 * ANSWER_BYTES_MAX) + bytes(
        4 * ANSWER_BYTES_MAX
    )
    async with peer(lambda target, count: long) as other:
        answer = await outgoing.post(other.place, "/", [], [])
    assert (answer.status, len(answer.body)) == (500, ANSWER_BYTES_MAX)


async def test_an_answer_that_is_cut_off_fails(outgoing: OutgoingHttp) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b": 5", b": 9"))
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    incoming = await outgoing.get_stream(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "/")
    with pytest.raises(OutgoingError):
        await incoming.read()
    await incoming.close()
    server.close()


async def test_tls_is_spoken_when_told_and_the_other_side_is_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.certify("other")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.certificate, files.key)
    trusting, doubting = (
        OutgoingHttp(tls=ssl.create_default_context(cafile=cafile)) for cafile in (authority.path, None)
    )
    async with peer(lambda target, count: OK, tls) as other:
        assert trusting.scheme == "https"
        assert (await trusting.delete(other.place, "/")).body == b"hello"
        with pytest.raises(OutgoingError):
            await doubting.delete(other.place, "/")
        await trusting.close()
        await doubting.close()


def test_httpcore_is_not_loaded_before_the_first_request() -> None:
    code = "import sys, less_sync.volume.http.write, less_sync.volume.http.delete; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "less_sync.volume.http.client" in loaded
    assert {"httpcore", "anyio", "h11", "PIL", "grpc", "google.protobuf", "numpy", "structlog"}.isdisjoint(
        loaded
    )
