"""Reads of a volume that is here, asked of the handler over a real store."""

import asyncio
import gzip
import inspect
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from less_sync.volume.format.needle import GZIP, MANIFEST
from less_sync.volume.http.decompress import HELD_BYTES_MAX
from less_sync.volume.http.entity import MADE_RANGES_MAX
from less_sync.volume.http.loading import HELD_LEAST_BYTES, HELD_RECORD_BYTES_MAX, HELD_TOTAL_BYTES_MAX
from less_sync.volume.http.read import MADE_BYTES_MAX
from less_sync.volume.http.response import FilePart, Pieces
from less_sync.volume.http.sending import close_pieces
from tests.volume.http.reading import Reader, open_holders, reader

_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
_TEXT = b"0123456789abcdef"
_LONG = bytes(range(256)) * 20_000
"""5 MB: more than is held in memory."""
_READ_KEY = {"WEED_JWT_SIGNING_READ_KEY": "secret"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Reader]:
    async with reader(tmp_path) as one:
        await one.store.allocate(5)
        yield one
        assert not any(open_holders(list(one.store.volumes())))


async def _put(server: Reader, id: int, data: bytes, **fields: Any) -> str:
    volume = server.store.volume(5)
    assert volume is not None
    return await server.put(volume, id, data, **fields)


async def test_a_short_file_is_answered_at_once_with_these_headers_and_counted(server: Reader) -> None:
    path = await _put(server, 1, _TEXT, name=b"5,0100000001", mime=b"application/octet-stream")
    assert not inspect.iscoroutine(server.begin(path))
    server.limits.downloads.subtract(server.limits.downloads.bytes)
    answer = await server.get(path)
    assert (answer.status, answer.body, answer.held_bytes > len(_TEXT)) == (200, _TEXT, True)
    assert answer.headers == {
        "accept-ranges": "bytes",
        "content-disposition": 'inline; filename="5,0100000001"',
        "content-length": "16",
        "content-type": "text/plain; charset=utf-8",
        "etag": '"42d3119e"',
        "last-modified": _DATE,
    }


async def test_what_a_path_names_decides_the_status(server: Reader) -> None:
    await _put(server, 1, _TEXT)
    for path, status in (
        ("/5,0100000001", 200),
        ("/05,00000100000001", 200),
        ("/4294967301,0100000001", 200),
        ("/5,0100000001.txt", 200),
        ("/5/0100000001", 200),
        ("/5/0100000001/a.txt", 200),
        ("/5,0000000001", 404),
        ("/5,0000000001_1", 200),
        ("/5,0000000001_2", 404),
        ("/5,0000000001_x", 400),
        ("/5,0100000002", 404),
        ("/5,0200000001", 404),
        ("/5,xx00000001", 400),
        ("/5,01", 400),
        ("/abc,0100000001", 400),
        ("/-5,0100000001", 400),
        ("/not-a-vid/not-a-fid", 400),
        ("/", 400),
        ("/\u0665,0100000001", 400),
        ("/5,0100000001\u0661", 400),
    ):
        for method, headers in (("GET", {"content-length": "0"}), ("HEAD", {})):
            answer = await server.get(path, method=method)
            assert answer.status == status, (method, path)
            if status != 200:
                assert (answer.body, answer.headers) == (b"", headers)


async def test_conditions_come_before_everything_else_of_a_file(server: Reader) -> None:
    path = await _put(server, 1, _TEXT, pairs=b'{"x-y":"1","etag":"\\"mine\\""}')
    for headers in ({"if-modified-since": _DATE}, {"if-none-match": '"42d3119e"', "range": "bytes=99-"}):
        for method in ("GET", "HEAD"):
            answer = await server.get(path, headers, method)
            assert (answer.status, answer.headers, answer.body) == (304, {"last-modified": _DATE}, b"")
    timeless = await _put(server, 2, _TEXT, last_modified=0)
    assert (await server.get(timeless, {"if-none-match": '"42d3119e"'})).headers == {}
    assert (await server.get(timeless, {"if-modified-since": _DATE})).status == 200


async def test_a_range_beyond_the_end_keeps_what_is_known_but_the_type(server: Reader) -> None:
    path = await _put(server, 1, _TEXT, name=b"a.txt", mime=b"a/b")
    answer = await server.get(path, {"range": "bytes=17-"})
    assert (answer.status, answer.body) == (416, b"invalid range\n")
    assert answer.headers == {
        "accept-ranges": "bytes",
        "content-disposition": "inline; filename=a.txt",
        "content-length": "14",
        "content-type": "text/plain; charset=utf-8",
        "etag": '"42d3119e"',
        "last-modified": _DATE,
        "x-content-type-options": "nosniff",
    }


@pytest.mark.parametrize("data", [_TEXT, _LONG[: (1 << 20) + 1], _LONG], ids=["short", "middle", "long"])
async def test_ranges_are_the_same_wherever_the_data_lies(server: Reader, data: bytes) -> None:
    path = await _put(server, 1, data, mime=b"a/b")
    size = len(data)
    whole = await server.get(path)
    assert (whole.status, whole.body) == (200, data)
    assert (await server.head(path, {"range": "bytes=0-1"})).headers == whole.headers
    for header, start, end in (
        ("bytes=3-5", 3, 6),
        ("bytes=-4", size - 4, size),
        (f"bytes={size}-", size, size),
        ("bytes=0-", 0, size),
    ):
        answer = await server.get(path, {"range": header})
        assert (answer.status, answer.body) == (206, data[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert answer.headers["content-type"] == "a/b"
    for header in ("bytes=", "bytes=0-,1-"):
        answer = await server.get(path, {"range": header})
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    several = await server.get(path, {"range": "bytes=0-1,4-5"})
    boundary = several.headers["content-type"].removeprefix("multipart/byteranges; boundary=").encode()
    parts = several.body.split(b"--" + boundary)
    assert several.status == 206
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:3]] == [
        data[:2] + b"\r\n",
        data[4:6] + b"\r\n",
    ]
    assert several.headers["content-length"] == str(len(several.body))


async def test_a_long_file_is_sent_from_its_file_after_its_checksum(server: Reader) -> None:
    path = await _put(server, 1, _LONG)
    assert len(_LONG) > HELD_RECORD_BYTES_MAX
    answer = await server.get(path)
    assert (answer.body, answer.headers["content-type"]) == (_LONG, "application/octet-stream")
    volume = server.store.volume(5)
    assert volume is not None
    content = bytearray(volume.data.path.read_bytes())
    content[2_000_000] ^= 1
    volume.data.path.write_bytes(content)
    damaged = await server.get(path)
    assert (damaged.status, damaged.body, damaged.headers) == (500, b"", {"content-length": "0"})
    assert (await server.get(path, {"range": "bytes=1999999-1999999"})).status == 206
    assert (await server.head(path)).status == 200
    assert server.services.counters.handlers["errorGetInternal"] == 1


@pytest.mark.parametrize("size", [100, (1 << 20) + 1])
async def test_a_file_in_memory_is_not_sent_with_a_wrong_byte(server: Reader, size: int) -> None:
    path = await _put(server, 1, _LONG[:size])
    volume = server.store.volume(5)
    assert volume is not None
    content = bytearray(volume.data.path.read_bytes())
    content[90] ^= 1
    volume.data.path.write_bytes(content)
    assert (await server.get(path)).status == 500
    counters = server.services.counters
    assert counters.read_failures == counters.read_invalid_needles == 1


async def test_a_file_that_was_cut_off_is_never_answered_with_200(server: Reader) -> None:
    path = await _put(server, 1, _LONG)
    volume = server.store.volume(5)
    assert volume is not None
    with volume.data.path.open("r+b") as file:
        file.truncate(3_000_000)
    assert (await server.get(path)).status == 500
    assert (await server.get(path, {"range": "bytes=0-9"})).status == 500


async def test_a_deleted_file_is_read_only_if_asked_for_exactly(server: Reader) -> None:
    path = await _put(server, 1, _TEXT)
    volume = server.store.volume(5)
    assert volume is not None
    await volume.delete(1, 1)
    assert (await server.get(path)).status == 404
    assert (await server.get(f"{path}?readDeleted=1")).status == 404
    assert (await server.get(f"{path}?readDeleted=true")).body == _TEXT
    assert (await server.head(f"{path}?readDeleted=true")).status == 200
    assert (await server.get("/5,0100000002?readDeleted=true")).status == 404


async def test_an_empty_file_has_no_cookie_and_no_fields(server: Reader) -> None:
    await _put(server, 1, b"", name=b"a.txt")
    for path in ("/5,0100000001", "/5,0100000009"):
        answer = await server.get(path)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers == {"accept-ranges": "bytes", "content-length": "0", "etag": '"00000000"'}
    assert (await server.get("/5,0100000001", {"range": "bytes=0-"})).headers[
        "content-range"
    ] == "bytes 0--1/0"


async def test_pairs_are_headers_and_may_replace_tag_and_time_but_not_the_framing(server: Reader) -> None:
    pairs = (
        b'{"x-one":"1","etag":"e","last-modified":"l","content-type":"p/q","accept-ranges":"none",'
        b'"content-length":"7","transfer-encoding":"chunked","content-disposition":"mine","a b":"no",'
        b'"r":"a\\r\\nx: y"}'
    )
    path = await _put(server, 1, _TEXT, name=b"n.txt", mime=b"a/b", pairs=pairs)
    assert (await server.get(path)).headers == {
        "accept-ranges": "bytes",
        "content-disposition": "mine",
        "content-length": "16",
        "content-type": "a/b",
        "etag": "e",
        "last-modified": "l",
        "x-one": "1",
        "r": "a  x: y",
    }


@pytest.mark.parametrize("pairs", [b"", b"[]", b"no", b'{"x":1}', b"[" * 60_000, b'{"x":"\xff"}'])
async def test_pairs_that_are_none_are_no_headers(server: Reader, pairs: bytes) -> None:
    path = await _put(server, 1, _TEXT, pairs=pairs)
    answer = await server.get(path)
    assert (answer.status, "x" in answer.headers) == (200, False)


async def test_the_query_sets_headers_whatever_the_case_of_its_names(server: Reader) -> None:
    path = await _put(server, 1, _TEXT, name=b"a.txt", mime=b"a/b")
    query = (
        "?response-content-type=c%2Fd&Response-Cache-Control=no-store&response-expires=Thu%2C+01+Jan"
        "&response-content-language=de&response-content-encoding=x&response-content-disposition=d"
        "&response-etag=no&response-expires=second"
    )
    headers = (await server.get(path + query)).headers
    assert headers == {
        "accept-ranges": "bytes",
        "cache-control": "no-store",
        "content-disposition": "d",
        "content-encoding": "x",
        "content-language": "de",
        "content-length": "16",
        "content-type": "c/d",
        "etag": '"42d3119e"',
        "expires": "Thu, 01 Jan",
        "last-modified": _DATE,
    }
    headers = (await server.get(f"{path}?response-content-disposition=&dl=1")).headers
    assert headers["content-disposition"] == "attachment; filename=a.txt"


async def test_the_name_in_the_path_wins_over_the_stored_one(server: Reader) -> None:
    await _put(server, 1, _TEXT, name=b"stored.js")
    for path, name, type_ in (
        ("/5,0100000001", "stored.js", "application/javascript"),
        ("/5,0100000001.css", "stored.js", "application/javascript"),
        ("/5/0100000001/path.css", "path.css", "text/css; charset=utf-8"),
        ("/5/0100000001/plain", "plain", "text/plain; charset=utf-8"),
        ("/5/0100000001/b%C3%A4h", "*=utf-8''b%C3%A4h", "text/plain; charset=utf-8"),
    ):
        for method in ("GET", "HEAD"):
            headers = (await server.get(path, method=method)).headers
            equals = "" if name.startswith("*") else "="
            assert headers["content-disposition"] == f"inline; filename{equals}{name}"
            expected = None if method == "HEAD" and type_.startswith("text/plain") else type_
            assert headers.get("content-type") == expected


class TestCompressed:
    """Files that are stored as gzip streams."""

    async def test_who_takes_gzip_gets_it_as_it_is_stored(self, server: Reader) -> None:
        stored = gzip.compress(_TEXT * 9)
        path = await _put(server, 1, stored, mime=b"a/b", flags=GZIP)
        for accepted in ("gzip", "br, gzip;q=0", "xgzipx"):
            answer = await server.get(path, {"accept-encoding": accepted})
            assert (answer.body, answer.headers["content-encoding"]) == (stored, "gzip")
        part = await server.get(path, {"accept-encoding": "gzip", "range": "bytes=0-1"})
        assert (part.status, part.body) == (206, stored[:2])

    async def test_others_get_it_inflated(self, server: Reader) -> None:
        path = await _put(server, 1, gzip.compress(_TEXT * 9), flags=GZIP)
        answer = await server.get(path, {"accept-encoding": "identity"})
        assert answer.body == _TEXT * 9
        assert "content-encoding" not in answer.headers
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert (await server.head(path)).headers["content-length"] == str(len(_TEXT * 9))
        assert (await server.get(path, {"range": "bytes=-3"})).body == b"def"

    @pytest.mark.parametrize("stored", [b"no gzip", b"\x1f"])
    async def test_what_is_no_stream_is_sent_as_it_is(self, server: Reader, stored: bytes) -> None:
        path = await _put(server, 1, stored, flags=GZIP)
        answer = await server.get(path, {"accept-encoding": "gzip"})
        assert (answer.body, "content-encoding" in answer.headers) == (stored, False)

    @pytest.mark.parametrize(
        "spoilt", [b"\x1f\x8bno", gzip.compress(_TEXT, mtime=0)[:-1], gzip.compress(_LONG, 0, mtime=0)[:-1]]
    )
    async def test_a_damaged_stream_is_empty(self, server: Reader, spoilt: bytes) -> None:
        path = await _put(server, 1, spoilt, mime=b"a/b", flags=GZIP)
        for method in ("GET", "HEAD"):
            answer = await server.get(path, method=method)
            assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
        answer = await server.get(path, {"range": "bytes=0-1"})
        assert (answer.status, answer.headers["content-range"]) == (206, "bytes 0--1/0")

    @pytest.mark.parametrize("level", [0, 1], ids=["in a file", "in memory"])
    async def test_a_long_one_is_inflated_while_it_is_sent(self, server: Reader, level: int) -> None:
        text = _LONG + _TEXT
        assert len(text) > HELD_BYTES_MAX
        path = await _put(server, 1, gzip.compress(text, level), flags=GZIP)
        answer = await server.get(path)
        assert (answer.body, answer.failed) == (text, False)
        assert (answer.headers["content-type"], answer.headers["content-length"]) == (
            "application/octet-stream",
            str(len(text)),
        )
        assert (await server.get(path, {"range": "bytes=-16"})).body == _TEXT
        several = await server.get(path, {"range": "bytes=0-1,-2"})
        assert several.headers["content-length"] == str(len(several.body))
        as_stored = await server.get(path, {"accept-encoding": "gzip"})
        assert gzip.decompress(as_stored.body) == text

    async def test_ranges_that_are_inflated_one_by_one_are_few(self, server: Reader) -> None:
        path = await _put(server, 1, gzip.compress(_LONG + _TEXT, 1), flags=GZIP)
        for count, status in ((MADE_RANGES_MAX, 206), (MADE_RANGES_MAX + 1, 416)):
            answer = await server.get(path, {"range": "bytes=" + ",".join(["-1"] * count)})
            assert answer.status == status

    async def test_a_client_that_leaves_lets_go_of_the_file(self, server: Reader) -> None:
        path = await _put(server, 1, gzip.compress(_LONG, 0), flags=GZIP)
        response = await server.begin(path)
        volume = server.store.volume(5)
        assert volume is not None
        assert open_holders([volume]) == [1]
        await response.body.pieces.aclose()
        assert open_holders([volume]) == [0]
        response.sent()


class TestPictures:
    """What is changed while it is read."""

    async def test_a_picture_is_changed_and_its_type_stays(self, server: Reader) -> None:
        written = io.BytesIO()
        Image.new("RGB", (60, 40)).save(written, "PNG")
        await _put(server, 1, written.getvalue(), name=b"a.gif", mime=b"image/png")
        for path, format_ in (("/5,0100000001.jpg", "JPEG"), ("/5,0100000001", "GIF")):
            answer = await server.get(f"{path}?width=20")
            with Image.open(io.BytesIO(answer.body)) as image:
                assert (image.format, image.size) == (format_, (20, 13))
            assert answer.headers["content-type"] == "image/png"
            assert (await server.head(f"{path}?width=20")).headers == answer.headers
            part = await server.get(f"{path}?width=20", {"range": "bytes=0-2"})
            assert part.body == answer.body[:3]

    async def test_a_compressed_picture_is_inflated_first_whatever_the_client_takes(
        self, server: Reader
    ) -> None:
        written = io.BytesIO()
        Image.new("RGB", (60, 40)).save(written, "PNG")
        path = await _put(server, 1, gzip.compress(written.getvalue()), flags=GZIP)
        answer = await server.get(f"{path}.png?width=20", {"accept-encoding": "gzip"})
        with Image.open(io.BytesIO(answer.body)) as image:
            assert image.size == (20, 13)
        assert "content-encoding" not in answer.headers

    async def test_a_long_picture_goes_by_the_path_alone_and_its_head_by_what_is_stored(
        self, server: Reader
    ) -> None:
        written = io.BytesIO()
        Image.effect_noise((1200, 1200), 90).save(written, "PNG")
        data = written.getvalue()
        assert len(data) > 1 << 20
        await _put(server, 1, data, name=b"a.png")
        assert (await server.get("/5,0100000001?width=20")).body == data
        changed = await server.get("/5,0100000001.png?width=20")
        assert len(changed.body) < 2000
        head = await server.head("/5,0100000001.png?width=20")
        assert head.headers["content-length"] == str(len(data))


async def test_while_answers_hold_much_more_than_records_little_is_added(server: Reader) -> None:
    """Many slow clients of things that are made when they are read would fill the memory."""
    written = io.BytesIO()
    Image.new("RGB", (60, 40)).save(written, "PNG")
    picture = await _put(server, 1, written.getvalue(), name=b"a.png")
    text = await _put(server, 2, gzip.compress(_TEXT * 30_000), flags=GZIP)
    chunks = [{"fid": "5,0700000001", "offset": 0, "size": 0}] * 2_000
    listed = await _put(server, 3, json.dumps({"chunks": chunks}).encode(), flags=MANIFEST)
    held = await server.begin(text)
    assert server.handler.made.bytes == len(held.body) == len(_TEXT * 30_000)
    held.sent()
    server.handler.made.add(MADE_BYTES_MAX + 1)
    assert (await server.get(f"{picture}?width=20")).status == 503
    assert (await server.get(listed)).status == 503
    streamed = await server.begin(text)
    assert isinstance(streamed.body, Pieces)
    await close_pieces(streamed.body)
    streamed.sent()
    server.handler.made.subtract(MADE_BYTES_MAX + 1)
    assert [(await server.get(path)).status for path in (f"{picture}?width=20", listed)] == [200, 200]
    assert server.handler.made.bytes == 0


async def test_a_token_is_asked_for_before_the_path_is_read(tmp_path: Path) -> None:
    async with reader(tmp_path, environment=_READ_KEY) as server:
        for path in ("/5,0100000001", "/nothing", "/5,0100000001?jwt=x"):
            answer = await server.get(path)
            assert (answer.status, answer.body) == (401, b'{"error":"wrong jwt"}')


class TestLimit:
    """More being sent than may be."""

    async def test_a_read_waits_and_goes_on_when_enough_has_left(self, tmp_path: Path) -> None:
        async with reader(tmp_path, download_bytes_max=10) as server:
            await server.store.allocate(5)
            path = await _put(server, 1, _TEXT)
            first = server.begin(path)
            waiting = asyncio.ensure_future(server.begin(path))
            await asyncio.sleep(0)
            assert not waiting.done()
            first.sent()
            second = await waiting
            assert second.status == 200
            second.sent()
            assert server.services.counters.handlers["downloadLimitCondition"] == 1

    async def test_a_read_that_waits_too_long_is_refused(self, tmp_path: Path) -> None:
        async with reader(tmp_path, download_bytes_max=10, wait_s=0.01) as server:
            await server.store.allocate(5)
            path = await _put(server, 1, _TEXT)
            first = server.begin(path)
            held = server.limits.downloads.bytes
            refused = await server.begin(path)
            assert refused.status == 429
            over = f"inflight download data {held} \\u003e 10, and wait timeout"
            assert refused.body == f'{{"error":"request {path} because {over}"}}'.encode()
            assert (await server.begin("/abc,0100000001")).status == 400
            first.sent()
            assert server.limits.downloads.bytes == 0

    async def test_answers_without_a_body_are_not_counted(self, tmp_path: Path) -> None:
        async with reader(tmp_path, download_bytes_max=10) as server:
            await server.store.allocate(5)
            path = await _put(server, 1, _TEXT)
            for _ in range(3):
                assert server.begin(path, {}, "HEAD").sent is None
                assert server.begin(path, {"if-modified-since": _DATE}).sent is None
            assert server.limits.downloads.bytes == 0

    async def test_while_much_is_being_sent_less_is_held_in_memory(self, tmp_path: Path) -> None:
        async with reader(tmp_path) as server:
            await server.store.allocate(5)
            data = _LONG[: HELD_LEAST_BYTES + 1]
            path = await _put(server, 1, data)
            short = await _put(server, 2, _TEXT)
            server.limits.downloads.add(HELD_TOTAL_BYTES_MAX)
            assert isinstance(server.begin(path).body, bytes | memoryview)
            response = await server.begin(path)
            assert isinstance(response.body, FilePart)
            assert response.body.file.read(0, response.body.length) == data
            response.body.file.release()
            assert server.begin(short).body == _TEXT
