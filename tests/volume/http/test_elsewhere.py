"""Reads of volumes that another server has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from less_sync.volume.master.lookup import Place
from tests.volume.http.reading import Reader, listening, open_holders, place, reader
from tests.volume.ports import Ports

_LONG = bytes(range(256)) * 20_000
_PATH = "/3,0100000001"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Reader]:
    """A server that has volume 3, with two files in it."""
    (tmp_path / "there").mkdir()
    async with listening(tmp_path / "there") as server:
        await server.store.allocate(3)
        volume = server.store.volume(3)
        assert volume is not None
        await server.put(volume, 1, b"proxy me please", name=b"a.txt", mime=b"x/y")
        await server.put(volume, 2, _LONG)
        yield server
        assert not any(open_holders([volume]))


@asynccontextmanager
async def _asking(tmp_path: Path, there: Reader, read_mode: str = "proxy") -> AsyncIterator[Reader]:
    """A server without volumes that knows the other."""
    directory = tmp_path / "here"
    directory.mkdir(exist_ok=True)
    async with reader(directory, read_mode=read_mode) as server:
        server.places.places[3] = [place(there)]
        yield server


async def test_a_read_is_passed_on_and_answered_as_there(tmp_path: Path, there: Reader) -> None:
    async with _asking(tmp_path, there) as here:
        expected = await there.get(_PATH)
        answer = await here.get(_PATH)
        assert len(answer.headers.pop("x-amz-request-id")) == 24
        assert (answer.status, answer.body, answer.headers) == (200, b"proxy me please", expected.headers)
        part = await here.get(_PATH, {"range": "bytes=0-4", "connection": "close", "host": "x"})
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"proxy", "bytes 0-4/15")
        assert (await here.get(_PATH, {"range": "bytes=99-"})).status == 416
        same = await here.get(_PATH, {"if-none-match": expected.headers["etag"]})
        assert (same.status, same.body, "etag" in same.headers) == (304, b"", False)
        named = await here.get("/3/0100000001/b%20c.txt?b=2&dl=1&a=%26&b=1")
        assert named.headers["content-disposition"] == 'attachment; filename="b c.txt"'
        assert (await here.get("/3,0900000001")).status == 404


async def test_a_head_is_asked_with_get_and_has_the_length(tmp_path: Path, there: Reader) -> None:
    async with _asking(tmp_path, there) as here:
        for path, size in ((_PATH, 15), ("/3,0200000001", len(_LONG))):
            answer = await here.head(path)
            assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(size))
        assert there.asked == [f"GET {_PATH}", "GET /3,0200000001"]


async def test_a_long_file_is_passed_on_in_pieces_and_let_go_of_by_who_leaves(
    tmp_path: Path, there: Reader
) -> None:
    async with _asking(tmp_path, there) as here:
        answer = await here.get("/3,0200000001")
        assert (answer.body == _LONG, answer.failed) == (True, False)
        response = await here.begin("/3,0200000001")
        await response.body.pieces.aclose()
        assert (await here.get(_PATH)).status == 200


async def test_an_origin_has_its_headers_from_both(tmp_path: Path, there: Reader) -> None:
    async with _asking(tmp_path, there) as here:
        answer = await here.get(_PATH, {"origin": "https://o"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "server" not in answer.headers


async def test_what_was_passed_on_once_is_not_passed_on_again(tmp_path: Path, there: Reader) -> None:
    for mode in ("proxy", "redirect", "local"):
        async with _asking(tmp_path, there, mode) as here:
            answer = await here.get(f"{_PATH}?proxied=true")
            assert (answer.status, answer.headers) == (404, {"content-length": "0"})


async def test_read_mode_local_asks_nobody(tmp_path: Path, there: Reader) -> None:
    async with _asking(tmp_path, there, "local") as here:
        here.places.fault = "must not be asked"
        for path, status in ((_PATH, 404), ("/abc,0100000001", 400)):
            assert (await here.get(path)).status == status
            assert (await here.head(path)).headers == {}


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (_PATH, "/3,0100000001?proxied=true"),
        (f"{_PATH}.txt?a=b&readDeleted=true", "/3,0100000001?proxied=true"),
        ("/3/0100000001/x.txt?collection=c%26c", "/3,0100000001?collection=c%26c&proxied=true"),
    ],
)
async def test_another_read_mode_tells_where_to_go(
    tmp_path: Path, there: Reader, target: str, location: str
) -> None:
    async with _asking(tmp_path, there, "redirect") as here:
        url = f"http://{there.services.options.own_address}{location}"
        answer = await here.get(target)
        assert (answer.status, answer.headers["location"]) == (301, url)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        shown = url.replace("&", "&amp;")
        assert answer.body.decode() == f'<a href="{shown}">Moved Permanently</a>.\n\n'
        head = await here.head(target)
        assert head.headers == {"content-type": "text/html; charset=utf-8", "location": url}


async def test_a_volume_that_nobody_has_is_missing(tmp_path: Path, there: Reader) -> None:
    async with _asking(tmp_path, there) as here:
        own = here.services.options.own_address
        here.places.places[4] = [Place(own, own, 0)]
        for path in ("/77,0100000001", "/4,0100000001"):
            assert (await here.get(path)).status == 404
        assert (await here.get("/abc,0100000001")).status == 400
        here.places.fault = "no master"
        assert (await here.get(_PATH)).status == 404


async def test_a_server_that_does_not_answer_is_forgotten(tmp_path: Path, there: Reader) -> None:
    with Ports() as ports:
        dead = f"127.0.0.1:{ports.take()}"
        async with _asking(tmp_path, there) as here:
            here.places.places[3] = [Place(dead, dead, 0)]
            answer = await here.get(_PATH)
            assert (answer.status, answer.body) == (500, b"")
            assert here.places.forgotten == [3]
            assert here.services.counters.handlers["failedReadProxyRequest"] == 1


async def test_over_the_limit_a_replica_answers_unless_the_request_came_from_one(
    tmp_path: Path, there: Reader
) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    async with reader(directory, download_bytes_max=10, wait_s=0.01) as here:
        volume = await here.store.allocate(3, placement=1)
        path = await here.put(volume, 1, b"what is here has more bytes")
        here.places.places[3] = [place(there)]
        first = here.begin(path)
        answer = await here.begin(path)
        pieces = answer.body.pieces
        assert b"".join([bytes(piece) async for piece in pieces]) == b"proxy me please"
        await pieces.aclose()
        assert (await here.begin(f"{path}?proxied=true")).status == 429
        first.sent()
        assert here.begin(path).body == b"what is here has more bytes"
