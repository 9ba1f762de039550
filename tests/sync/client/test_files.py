"""The client of files against a server that misbehaves on demand."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import uvloop

from less_sync.sync.client import (
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    FileClient,
    FileInfo,
    FileLimits,
    FileRefused,
    FilesNotServed,
    FilesScopeMissing,
    FileTooLarge,
    NotThisProtocol,
    RequestTimeout,
    ServerUnavailable,
    SyncClientError,
    TokenRefused,
    TokenSource,
    TokenUnavailable,
)
from less_sync.sync.client.exchange import Base
from tests.sync.client.file_server import Act, Call, file_server
from tests.sync.tls import self_signed

SPACE = "da29e793-3f05-51c3-9f72-63cc953f9c05"
FILE = UUID("6f0c3b0e-52a5-4d0b-a0a3-3a29f8a4a2b1")
RECORD = UUID("0b7e8a3c-94a1-4a51-8b4c-3c6a0c1f6b10")
DEK = bytes([0, 0, 0, 1, *range(40)])
DEK_TEXT = b64encode(DEK).decode()
MIB = 1024 * 1024
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "selector": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
BRIEF = FileLimits(open_timeout_s=20.0, idle_timeout_s=0.2)


async def token() -> str:
    return "t"


def tokens(*given: str) -> TokenSource:
    """Gives these one after the other, and the last one again for the rest."""
    left = list(given)

    async def source() -> str:
        return left.pop(0) if len(left) > 1 else left[0]

    return source


def client_of(url: str, source: TokenSource = token, limits: FileLimits | None = None) -> FileClient:
    return FileClient(url, source, limits=limits)


class Content:
    """A content of `pieces` times `piece`; counts how often it was begun and ended, and what was taken."""

    def __init__(self, pieces: int = 1, piece: bytes = b"x" * 10) -> None:
        self.pieces, self.piece = pieces, piece
        self.begun = self.ended = self.taken_bytes = 0

    @property
    def size_bytes(self) -> int:
        return self.pieces * len(self.piece)

    async def __call__(self) -> AsyncIterator[bytes]:
        self.begun += 1
        try:
            for _ in range(self.pieces):
                yield self.piece
                self.taken_bytes += len(self.piece)
        finally:
            self.ended += 1


async def put(files: FileClient, content: Content, *, size_bytes: int | None = None, ucan: str = "") -> bool:
    return await files.upload(
        SPACE,
        FILE,
        record=RECORD,
        wrapped_dek=DEK,
        size_bytes=content.size_bytes if size_bytes is None else size_bytes,
        content=content,
        ucan=ucan,
    )


async def fetched(files: FileClient) -> bytes | None:
    async with files.download(SPACE, FILE) as found:
        return None if found is None else b"".join([piece async for piece in found.chunks()])


def refusing(status: int, error: str) -> Act:
    async def act(call: Call) -> None:
        await call.refuse(status, error)

    return act


async def test_an_upload_sends_what_the_server_asks_for_and_is_never_chunked() -> None:
    bodies = []

    async def act(call: Call) -> None:
        bodies.append(await call.body())
        await call.answer(201 if len(bodies) == 1 else 204)

    content = Content(3, b"abc")
    async with file_server(act) as server, client_of(server.url) as files:
        assert await put(files, content, ucan="a.b.c") is True
        assert await put(files, content) is False
        assert server.connections == 1
    first, second = server.calls
    assert (first.method, first.target) == ("PUT", f"/api/v1/spaces/{SPACE}/files/{FILE}")
    host = server.url.removeprefix("ws://").removesuffix("/api/v1/ws")
    assert first.headers == {
        "host": host,
        "authorization": "Bearer t",
        "x-ucan": "a.b.c",
        "x-record-id": str(RECORD),
        "x-wrapped-dek": DEK_TEXT,
        "content-length": "9",
        "content-type": "application/octet-stream",
    }
    assert "x-ucan" not in second.headers
    assert bodies == [b"abcabcabc"] * 2


async def test_a_file_of_no_bytes_goes_up_and_comes_down() -> None:
    async def act(call: Call) -> None:
        if call.method == "PUT":
            assert await call.body() == b""
            await call.answer(201)
        else:
            await call.answer(200, X_Wrapped_DEK=DEK_TEXT)

    async with file_server(act) as server, client_of(server.url) as files:
        assert await put(files, Content(0)) is True
        assert await fetched(files) == b""


async def test_a_download_has_key_and_size_before_its_content_which_comes_in_pieces() -> None:
    async def act(call: Call) -> None:
        await call.answer(200, b"y" * 3 * MIB, X_Wrapped_DEK=DEK_TEXT)

    async with file_server(act) as server, client_of(server.url) as files:
        async with files.download(SPACE, FILE) as found:
            assert found is not None
            assert (found.wrapped_dek, found.size_bytes) == (DEK, 3 * MIB)
            assert repr(found) == f"FileDownload(wrapped_dek=<44 bytes>, size_bytes={3 * MIB})"
            pieces = [piece async for piece in found.chunks()]
    assert max(map(len, pieces)) <= MIB
    assert b"".join(pieces) == b"y" * 3 * MIB


async def test_what_is_not_there_is_none_and_asked_once() -> None:
    async with file_server(refusing(404, "file not found")) as server, client_of(server.url) as files:
        assert await fetched(files) is None
        assert await files.find(SPACE, FILE) is None
        await files.served(SPACE)
    assert [call.method for call in server.calls] == ["GET", "HEAD", "GET"]
    assert server.connections == 1


async def test_find_takes_key_and_size_from_the_head_alone() -> None:
    async def act(call: Call) -> None:
        await call.answer(200, X_Wrapped_DEK=DEK_TEXT, Content_Length="5000")

    async with file_server(act) as server, client_of(server.url) as files:
        assert await files.find(SPACE, FILE) == FileInfo(DEK, 5000)
    assert [call.method for call in server.calls] == ["HEAD"]


@pytest.mark.parametrize(
    ("status", "error", "kind", "text"),
    [
        (400, "record not found in this space", FileRefused, "400: record not found in this space"),
        (401, "authorization required", FileRefused, "401: authorization required"),
        (401, "X-UCAN header too large", FileRefused, "401: X-UCAN"),
        (401, "token has expired", TokenRefused, "refused the token: token has expired"),
        (403, "access denied", FileRefused, "403: access denied"),
        (403, "files scope required", FilesScopeMissing, "lacks the scope `files`"),
        (408, "request timeout", ServerUnavailable, "HTTP 408: request timeout"),
        (413, "file exceeds 100 MB limit", FileTooLarge, "file exceeds 100 MB limit"),
        (429, "", ServerUnavailable, "HTTP 429"),
        (500, "internal error", ServerUnavailable, "HTTP 500: internal error"),
        (503, "authentication is unavailable", ServerUnavailable, "HTTP 503"),
        (302, "", NotThisProtocol, "HTTP 302"),
    ],
)
async def test_each_refusal_has_its_error_whatever_was_asked(
    status: int, error: str, kind: type[SyncClientError], text: str
) -> None:
    async with file_server(refusing(status, error)) as server, client_of(server.url) as files:
        for ask in (put(files, Content()), fetched(files), files.find(SPACE, FILE), files.served(SPACE)):
            with pytest.raises(kind, match=text) as raised:
                await ask
            assert type(raised.value) is kind


async def test_a_space_that_is_not_there_refuses_an_upload() -> None:
    async with file_server(refusing(404, "space not found")) as server, client_of(server.url) as files:
        with pytest.raises(FileRefused) as raised:
            await put(files, Content())
    assert (raised.value.status, raised.value.error) == (404, "space not found")
    assert not raised.value.hosted_elsewhere


async def test_a_file_that_only_the_home_of_its_space_takes_is_told_apart() -> None:
    elsewhere = "space is hosted on another server"
    async with file_server(refusing(409, elsewhere)) as server, client_of(server.url) as files:
        with pytest.raises(FileRefused, match=f"409: {elsewhere}") as raised:
            await put(files, Content())
    assert raised.value.hosted_elsewhere


async def test_a_server_without_the_route_serves_no_files() -> None:
    async def act(call: Call) -> None:
        await call.answer(404)

    async with file_server(act) as server, client_of(server.url) as files:
        for ask in (put(files, Content()), fetched(files), files.find(SPACE, FILE), files.served(SPACE)):
            with pytest.raises(FilesNotServed):
                await ask


@pytest.mark.parametrize("status", [200, 201, 204, 401, 403, 404])
async def test_an_answer_of_something_else_is_not_taken_for_the_servers(status: int) -> None:
    async def act(call: Call) -> None:
        call.writer.write(f"HTTP/1.1 {status} Portal\r\nContent-Length: 0\r\n\r\n".encode())

    async with file_server(act) as server, client_of(server.url) as files:
        for ask in (put(files, Content()), fetched(files), files.find(SPACE, FILE)):
            with pytest.raises(NotThisProtocol):
                await ask


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Wrapped_DEK": "no base64!"},
        {"X_Wrapped_DEK": b64encode(DEK[1:]).decode()},
        {"X_Wrapped_DEK": DEK_TEXT, "Transfer_Encoding": "chunked"},
    ],
)
async def test_a_file_without_key_or_size_is_not_taken(headers: dict[str, str]) -> None:
    async def act(call: Call) -> None:
        await call.answer(200, b"3\r\nabc\r\n0\r\n\r\n", **headers)

    async with file_server(act) as server, client_of(server.url) as files:
        with pytest.raises(NotThisProtocol):
            await fetched(files)


@pytest.mark.parametrize("body", [b"", b"abcd", b"abcdefghijkl"])
async def test_a_content_of_another_length_than_was_said_is_lost(body: bytes) -> None:
    async def act(call: Call) -> None:
        sized = {"Content_Length": "8", "X_Wrapped_DEK": DEK_TEXT}
        if len(body) > 8:
            chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            await call.answer(200, chunk, Transfer_Encoding="chunked", **sized)
        else:
            await call.answer(200, body, **sized)
        raise EOFError

    async with file_server(act) as server, client_of(server.url) as files:
        with pytest.raises(ConnectionLost):
            await fetched(files)


async def test_leaving_a_download_early_hangs_up_and_the_next_request_connects_anew() -> None:
    hung_up = asyncio.Event()

    async def act(call: Call) -> None:
        try:
            await call.answer(200, b"y" * 64 * MIB, X_Wrapped_DEK=DEK_TEXT)
        except ConnectionError:
            hung_up.set()
            raise

    async with file_server(act) as server, client_of(server.url) as files:
        async with files.download(SPACE, FILE) as found:
            assert found is not None
            async for _ in found.chunks():
                break
        async with asyncio.timeout(20):
            await hung_up.wait()
        assert await fetched(files) == b"y" * 64 * MIB
        assert server.connections == 2


@pytest.mark.parametrize("backend", ["selector", "uvloop"])
@pytest.mark.parametrize("drained_bytes", [64 * 1024, 8 * MIB])
def test_a_refusal_before_the_content_was_sent_is_heard_and_ends_the_sending(
    backend: str, drained_bytes: int
) -> None:
    """The server reads on for a while after its answer and then closes, which resets the connection."""
    content = Content(50, b"x" * MIB)

    async def act(call: Call) -> None:
        await call.refuse(413, "file exceeds 4 MB limit", hang_up=True, drained_bytes=drained_bytes)

    async def refused() -> None:
        async with file_server(act) as server, client_of(server.url) as files:
            with pytest.raises(FileTooLarge, match="4 MB"):
                await put(files, content)
            with pytest.raises(FileTooLarge, match="4 MB"):
                await put(files, content)

    with asyncio.Runner(loop_factory=LOOPS[backend]) as runner:
        runner.run(refused())
    assert content.begun == content.ended == 2
    assert content.taken_bytes <= 4 * MIB


async def test_a_server_that_goes_away_during_an_upload_leaves_its_fate_unknown() -> None:
    async def act(call: Call) -> None:
        await call.reader.readexactly(3 * MIB)
        call.writer.transport.abort()
        raise EOFError

    content = Content(50, b"x" * MIB)
    async with file_server(act) as server, client_of(server.url) as files:
        with pytest.raises(ConnectionLost):
            await put(files, content)
    assert (content.begun, content.ended, len(server.calls)) == (1, 1, 1)


async def test_no_server_no_connection() -> None:
    async with file_server(refusing(500, "")) as server:
        pass
    async with client_of(server.url) as files:
        with pytest.raises(ConnectFailed):
            await put(files, Content())
    async with client_of("ws://no-such-host.invalid/api/v1/ws") as files:
        with pytest.raises(ConnectFailed):
            await files.served(SPACE)


async def test_a_server_that_takes_nothing_or_says_nothing_is_given_up() -> None:
    async def act(call: Call) -> None:
        await asyncio.Event().wait()

    async with file_server(act) as server, client_of(server.url, limits=BRIEF) as files:
        with pytest.raises(RequestTimeout):
            await put(files, Content(100, b"x" * MIB))
        with pytest.raises(RequestTimeout):
            await fetched(files)


async def test_a_slow_server_is_waited_for_as_long_as_it_moves() -> None:
    """The whole takes twice as long as nothing may move."""
    limits = FileLimits(idle_timeout_s=1.0)

    async def act(call: Call) -> None:
        for _ in range(20):
            await asyncio.sleep(limits.idle_timeout_s / 10)
            await call.reader.readexactly(MIB)
        await call.answer(201)

    async with file_server(act) as server, client_of(server.url, limits=limits) as files:
        assert await put(files, Content(1, b"x" * 20 * MIB)) is True


async def test_over_tls_the_server_is_trusted_or_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_tls, client_tls = self_signed("127.0.0.1")
    trusted = tmp_path / "trusted.pem"
    (der,) = client_tls.get_ca_certs(binary_form=True)
    trusted.write_text(ssl.DER_cert_to_PEM_cert(der))

    async def act(call: Call) -> None:
        if call.method == "PUT":
            await call.refuse(413, "file exceeds 4 MB limit", hang_up=True, drained_bytes=8 * MIB)
        else:
            await call.answer(200, b"y" * 3 * MIB, X_Wrapped_DEK=DEK_TEXT)

    async with file_server(act, tls=server_tls) as server:
        async with client_of(server.url) as files:
            with pytest.raises(ConnectFailed, match="certificate verify failed"):
                await fetched(files)
        assert server.calls == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        async with client_of(server.url) as files:
            assert await fetched(files) == b"y" * 3 * MIB
            with pytest.raises(FileTooLarge, match="4 MB"):
                await put(files, Content(50, b"x" * MIB))
            assert await fetched(files) == b"y" * 3 * MIB


async def test_a_content_of_another_size_than_told_is_an_error_of_the_caller() -> None:
    async def act(call: Call) -> None:
        await call.body()
        await call.answer(201)

    async with file_server(act) as server, client_of(server.url) as files:
        for size_bytes in (9, 11):
            content = Content()
            with pytest.raises(ValueError, match=f"{size_bytes} bytes"):
                await put(files, content, size_bytes=size_bytes)
            assert content.ended == 1


async def test_an_error_while_the_content_is_read_comes_through() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise PermissionError("no more")

    async with file_server(refusing(500, "")) as server, client_of(server.url) as files:
        with pytest.raises(PermissionError, match="no more"):
            await files.upload(
                SPACE, FILE, record=RECORD, wrapped_dek=DEK, size_bytes=100 * MIB, content=broken
            )


def allowing(*good: str) -> Act:
    """Takes these tokens, with every body; refuses others at once."""

    async def act(call: Call) -> None:
        if call.headers["authorization"].removeprefix("Bearer ") not in good:
            await call.refuse(401, "token has expired", hang_up=call.method == "PUT")
        elif call.method == "PUT":
            await call.body()
            await call.answer(201)
        else:
            await call.refuse(404, "file not found")

    return act


async def test_a_token_is_kept_until_it_is_refused_and_the_request_repeated_once_with_the_next() -> None:
    content = Content(20, b"x" * MIB)
    async with (
        file_server(allowing("new")) as server,
        client_of(server.url, tokens("old", "new", "never")) as files,
    ):
        assert await put(files, content) is True
        assert await put(files, content) is True
        await files.served(SPACE)
    assert server.tokens == ["old", "new", "new", "new"]
    assert content.begun == 3


async def test_requests_that_meet_an_expired_token_at_once_ask_for_one_new_token() -> None:
    asked: list[int] = []

    async def source() -> str:
        asked.append(len(asked))
        await asyncio.sleep(0.01)
        return f"t{len(asked)}"

    async with file_server(allowing("t2")) as server, client_of(server.url, source) as files:
        await asyncio.gather(*(files.served(SPACE) for _ in range(6)))
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("given", "sent"), [(("same",), ["same"]), (("one", "two", "three"), ["one", "two"])]
)
async def test_a_token_that_stays_refused_is_told(given: tuple[str, ...], sent: list[str]) -> None:
    async with file_server(allowing()) as server:
        client = FileClient(server.url, tokens(*given), now=lambda: datetime(2026, 1, 1, 0, 5, tzinfo=UTC))
        async with client as files:
            with pytest.raises(TokenRefused) as raised:
                await put(files, Content())
    assert (raised.value.code, raised.value.reason) == (401, "token has expired")
    assert raised.value.clock_difference == timedelta(minutes=5)
    assert server.tokens == sent


async def test_a_source_that_fails_or_gives_no_token_sends_nothing_and_shows_nothing() -> None:
    async def failing() -> str:
        raise OSError("secret")

    async with file_server(refusing(500, "")) as server:
        for source in (failing, tokens(""), tokens("secret\r\nX-Other: 1"), tokens("secrét")):
            async with client_of(server.url, source) as files:
                with pytest.raises(TokenUnavailable) as raised:
                    await files.served(SPACE)
                assert "secr" not in str(raised.value)
        async with client_of(server.url) as files:
            with pytest.raises(SyncClientError, match="UCAN") as refused:
                await files.served(SPACE, ucan="secret\n")
            assert "secr" not in str(refused.value)
            assert refused.value.__suppress_context__
    assert server.calls == []


async def test_a_closed_client_says_so_also_to_calls_under_way() -> None:
    async def act(call: Call) -> None:
        await asyncio.Event().wait()

    async with file_server(act) as server:
        async with client_of(server.url) as files:
            waiting = asyncio.create_task(files.served(SPACE))
            await server.called.wait()
        with pytest.raises(ClientClosed):
            await waiting
        with pytest.raises(ClientClosed):
            await files.served(SPACE)


async def test_a_call_that_is_cancelled_frees_its_connection() -> None:
    async def act(call: Call) -> None:
        if len(server.calls) > 1:
            await call.refuse(404, "file not found")
        else:
            await asyncio.Event().wait()

    async with file_server(act) as server, client_of(server.url, limits=FileLimits(connections=1)) as files:
        waiting = asyncio.create_task(files.served(SPACE))
        await server.called.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        await files.served(SPACE)
    assert server.connections == 2


async def test_no_more_connections_are_made_than_allowed() -> None:
    async with (
        file_server(refusing(404, "file not found")) as server,
        client_of(server.url, limits=FileLimits(connections=2)) as files,
    ):
        await asyncio.gather(*(files.served(SPACE) for _ in range(20)))
    assert (len(server.calls), server.connections) == (20, 2)


async def test_a_connection_that_the_server_closed_while_it_rested_is_not_used_again() -> None:
    async def act(call: Call) -> None:
        await call.refuse(404, "file not found")
        raise EOFError

    async with file_server(act) as server, client_of(server.url) as files:
        await files.served(SPACE)
        await asyncio.sleep(0.05)
        await files.served(SPACE)
    assert server.connections == 2


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/api/v1/ws", "ws:///api/v1/ws", "ws://h/", "ws://h:x/ws", "ws://[h/ws", ""]
)
def test_what_is_no_address_of_a_sync_server_is_refused(url: str) -> None:
    with pytest.raises(NotThisProtocol, match="address"):
        client_of(url)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("ws://h/api/v1/ws", "h", "http://h:80/api/v1/x"),
        ("wss://h/api/v1/ws", "h", "https://h:443/api/v1/x"),
        ("ws://h:5379/below/api/v1/ws", "h:5379", "http://h:5379/below/api/v1/x"),
        ("ws://[::1]:5379/api/v1/ws", "[::1]:5379", "http://::1:5379/api/v1/x"),
        (
            "wss://bücher.example/api/v1/ws",
            "xn--bcher-kva.example",
            "https://xn--bcher-kva.example:443/api/v1/x",
        ),
    ],
)
def test_files_are_found_beside_the_websocket_route(url: str, authority: str, target: str) -> None:
    base = Base.of(url)
    assert base.authority == authority
    found = base.url("/x")
    assert f"{found.scheme.decode()}://{found.host.decode()}:{found.port}{found.target.decode()}" == target
