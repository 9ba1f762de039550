"""How commands find a plane and its key, and what they exit with (docs/fleet.md 7)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from less_sync.bins.commands.fleet_client import (
    ANSWER_BYTES_MAX,
    FAILURE,
    NOT_ALLOWED,
    UNREACHABLE,
    USAGE,
    FleetClient,
    FleetProblem,
    PlaneOptions,
    fleet_client,
    plane_url,
)

pytestmark = pytest.mark.anyio
KEY = "k" * 32


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (None, "http://127.0.0.1:5380"),
        ("localhost", "http://localhost:5380"),
        ("127.0.0.1:7000", "http://127.0.0.1:7000"),
        ("[::1]", "http://[::1]:5380"),
        ("fleet.example.org", "https://fleet.example.org"),
        ("fleet.example.org:8443", "https://fleet.example.org:8443"),
        ("https://example.org/fleet/", "https://example.org/fleet"),
        ("http://127.0.0.1:5380/", "http://127.0.0.1:5380"),
    ],
)
def test_a_plane_is_named_by_url_or_by_host_and_port(text: str | None, url: str) -> None:
    assert plane_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://fleet.example.org",
        "https://",
        "https://user:secret@fleet.example.org",
        "https://fleet.example.org?key=1",
        "https://fleet.example.org:0",
        "https://fleet.example.org:x",
        "https://[::1",
        "http://fleet.example.org",
    ],
)
def test_what_is_no_address_or_would_show_the_key_is_wrong_usage(text: str) -> None:
    with pytest.raises(FleetProblem) as caught:
        plane_url(text)
    assert caught.value.exit_code == USAGE
    assert "secret" not in str(caught.value)


def test_another_machine_is_told_the_key_in_the_clear_only_on_demand() -> None:
    assert plane_url("http://10.0.0.7:5380", insecure=True) == "http://10.0.0.7:5380"


Handler = Callable[[bytes], bytes]


@asynccontextmanager
async def answering(answer: Handler | bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers each request with these bytes and hangs up; what it was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(heard[-1]) if callable(answer) else answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


def response(status: str, content: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content.encode())}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + content).encode()


async def ask(url: str, work: Callable[[FleetClient], object] | None = None) -> object:
    """What a client gets, in a thread as a command would be."""

    def asking() -> object:
        with fleet_client(PlaneOptions(url, key=KEY)) as plane:
            return plane.ask("GET", "/x") if work is None else work(plane)

    return await asyncio.to_thread(asking)


async def problem(url: str) -> FleetProblem:
    with pytest.raises(FleetProblem) as caught:
        await ask(url)
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "content", "code", "text"),
    [
        ("401 Unauthorized", '{"error":"invalid credentials"}', NOT_ALLOWED, "invalid credentials"),
        ("403 Forbidden", '{"error":"forbidden"}', NOT_ALLOWED, "forbidden"),
        ("409 Conflict", '{"error":"last admin"}', FAILURE, "last admin"),
        ("502 Bad Gateway", "<html>", FAILURE, "502"),
        ("500 Oops", '{"error":', FAILURE, "500"),
        ("500 Oops", "[" * 100_000, FAILURE, "500"),
        ("200 OK", "[]", FAILURE, "no JSON object"),
        ("200 OK", "<html>", FAILURE, "no JSON object"),
        ("302 Found", "", FAILURE, "302"),
    ],
)
async def test_each_answer_has_its_exit_code_and_words(
    status: str, content: str, code: int, text: str
) -> None:
    async with answering(response(status, content)) as (url, _):
        found = await problem(url)
    assert found.exit_code == code
    assert text in str(found)


async def test_the_key_follows_no_redirect() -> None:
    async with (
        answering(response("200 OK", "{}")) as (elsewhere, heard),
        answering(response("307 Temporary Redirect", "", f"Location: {elsewhere}/x")) as (url, asked),
    ):
        await problem(url)
    assert heard == []
    assert f"Bearer {KEY}".encode() in asked[0]


async def test_no_listener_no_answer_and_half_an_answer_are_unreachable() -> None:
    async with answering(b"") as (url, _):
        assert (await problem(url)).exit_code == UNREACHABLE
    assert (await problem(url)).exit_code == UNREACHABLE
    for broken in (b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"):
        async with answering(broken) as (url, _):
            assert (await problem(url)).exit_code == UNREACHABLE


async def test_an_endless_answer_is_cut() -> None:
    content = "x" * (ANSWER_BYTES_MAX + 1)
    async with answering(response("200 OK", content)) as (url, _):
        assert "bytes" in str(await problem(url))


async def test_lists_are_walked_page_by_page_to_their_end_or_as_far_as_asked() -> None:
    def page(heard: bytes) -> bytes:
        number = int(heard.partition(b"cursor=")[2][:1] or b"0")
        cursor = "null" if number == 2 else f'"{number + 1}"'
        return response(
            "200 OK", f'{{"things":[{{"n":{2 * number}}},{{"n":{2 * number + 1}}}],"next_cursor":{cursor}}}'
        )

    async with answering(page) as (url, heard):
        every = await ask(url, lambda plane: [row["n"] for row in plane.rows("/x", "things", {"a": "b"})])
        assert every == [0, 1, 2, 3, 4, 5]
        assert all(b"a=b" in one for one in heard)
        heard.clear()
        some = await ask(url, lambda plane: [row["n"] for row in plane.rows("/x", "things", at_most=3)])
        assert some == [0, 1, 2]
        assert [b"limit=3" in one or b"limit=1" in one for one in heard] == [True, True]
    async with answering(response("200 OK", '{"others":[]}')) as (url, _):
        with pytest.raises(FleetProblem, match="no list of things"):
            await ask(url, lambda plane: list(plane.rows("/x", "things")))


def sent_key(options: PlaneOptions) -> str:
    with fleet_client(options) as plane:
        header: str = plane._http.headers["Authorization"]
    return header.removeprefix("Bearer ")


def test_the_key_is_that_of_the_file_named_then_the_environment_then_this_machines_own_plane(
    tmp_path: Path,
) -> None:
    named = tmp_path / "named"
    named.write_text(f" {'n' * 32}\n")
    own = tmp_path / "fleet" / "management.key"
    own.parent.mkdir()
    own.write_text("o" * 32)
    assert sent_key(PlaneOptions(key_file=named, key=KEY, data_dir=tmp_path)) == "n" * 32
    assert sent_key(PlaneOptions(key=f" {KEY}\n", data_dir=tmp_path)) == KEY
    assert sent_key(PlaneOptions(data_dir=tmp_path)) == "o" * 32
    with pytest.raises(FleetProblem, match="no key") as caught:
        sent_key(PlaneOptions("https://fleet.example.org", data_dir=tmp_path))
    assert caught.value.exit_code == USAGE


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff" * 40, b"x" * 5000])
def test_a_file_that_holds_no_key_is_wrong_usage(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    for options in (PlaneOptions(key_file=file), PlaneOptions(key_file=tmp_path / "none")):
        with pytest.raises(FleetProblem) as caught:
            sent_key(options)
        assert caught.value.exit_code == USAGE
