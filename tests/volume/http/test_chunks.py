"""Files that are stored in chunks: here, on another server, in each other."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from less_sync.volume.format.needle import GZIP, MANIFEST
from less_sync.volume.http.chunks import TOO_DEEP
from less_sync.volume.http.manifest import DEPTH_MAX, MANIFEST_BYTES_MAX
from less_sync.volume.master.lookup import Place
from tests.volume.http.reading import Answer, Reader, listening, open_holders, place
from tests.volume.ports import Ports

_LONG = bytes(range(256)) * 20_000
HERE, THERE = 5, 6


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[tuple[Reader, Reader]]:
    """Two of them; the first has volume 5, the second volume 6, and each knows where the other's is."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    async with listening(tmp_path / "here") as here, listening(tmp_path / "there") as there:
        await here.store.allocate(HERE)
        await there.store.allocate(THERE)
        here.places.places[THERE] = [place(there)]
        there.places.places[HERE] = [place(here)]
        yield here, there
        assert not any(open_holders([*here.store.volumes(), *there.store.volumes()]))


async def test_short_chunks_do_not_keep_others_waiting(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    chunk = await _put(here, HERE, 1, b"x")
    path = await _list(here, 2, [(chunk, at, 1) for at in range(300)])
    reading = asyncio.create_task(here.get(path))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await reading).body == b"x" * 300
    assert turns >= 300


async def _put(server: Reader, volume_id: int, id: int, data: bytes, **fields: Any) -> str:
    volume = server.store.volume(volume_id)
    assert volume is not None
    path = await server.put(volume, id, data, **fields)
    return path[1:]


async def _list(server: Reader, id: int, chunks: list[tuple[str, int, int]], **told: object) -> str:
    entries = [dict(zip(("fid", "offset", "size"), chunk, strict=True)) for chunk in chunks]
    text = json.dumps({**told, "chunks": entries}).encode()
    volume_id = HERE if server.store.volume(HERE) is not None else THERE
    return "/" + await _put(server, volume_id, id, text, flags=MANIFEST, mime=b"application/json")


@pytest.mark.parametrize("where", ["here", "there", "both"])
async def test_chunks_are_put_together_wherever_they_are(servers: tuple[Reader, Reader], where: str) -> None:
    here, there = servers
    first, second = (here, HERE), (there, THERE)
    if where != "both":
        first = second = first if where == "here" else second
    one = await _put(*first, 1, b"first-")
    two = await _put(*second, 2, b"second")
    path = await _list(here, 3, [(two, 6, 6), (one, 0, 6)], name="m.txt", mime="text/plain", size=12)
    answer = await here.get(path)
    assert (answer.status, answer.body, answer.failed) == (200, b"first-second", False)
    assert {name: answer.headers[name] for name in answer.headers if name != "etag"} == {
        "accept-ranges": "bytes",
        "content-disposition": "inline; filename=m.txt",
        "content-length": "12",
        "content-type": "text/plain",
        "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "x-file-store": "chunked",
    }
    assert (await here.head(path)).headers == answer.headers
    for header, body in (("bytes=4-8", b"t-sec"), ("bytes=-2", b"nd"), ("bytes=6-6", b"s")):
        part = await here.get(path, {"range": header})
        assert (part.status, part.body, part.failed) == (206, body, False)
    several = await here.get(path, {"range": "bytes=0-1,7-8"})
    assert (several.body.count(b"Content-Type: text/plain\r\n"), several.body.count(b"\r\n\r\nfi\r\n")) == (
        2,
        1,
    )
    assert (await here.get(path, {"range": "bytes=13-"})).status == 416
    assert (await here.get(path, {"if-none-match": answer.headers["etag"]})).status == 304


async def test_only_one_word_shows_the_list_itself(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    path = await _list(here, 3, [(await _put(here, HERE, 1, b"x"), 0, 1)])
    assert (await here.get(f"{path}?cm=0")).body == b"x"
    raw = await here.get(f"{path}?cm=false")
    assert json.loads(raw.body)["chunks"][0]["size"] == 1
    assert "x-file-store" not in raw.headers


@pytest.mark.parametrize("text", [b"not json", b'{"chunks":[null]}', b"[]"])
async def test_what_is_no_list_is_an_ordinary_file(servers: tuple[Reader, Reader], text: bytes) -> None:
    here, _ = servers
    for id_, stored, flags in ((1, text, MANIFEST), (2, gzip.compress(text), MANIFEST | GZIP)):
        path = await _put(here, HERE, id_, stored, flags=flags)
        answer = await here.get(f"/{path}")
        assert (answer.status, answer.body, "x-file-store" in answer.headers) == (200, text, False)


async def test_name_and_type_follow_the_list_unless_the_path_has_a_name(
    servers: tuple[Reader, Reader],
) -> None:
    here, _ = servers
    chunk = await _put(here, HERE, 1, b"<html>")
    path = await _list(here, 2, [(chunk, 0, 6)], name="a.js", mime="application/octet-stream")
    assert (await here.get(path)).headers["content-type"] == "application/javascript"
    named = await here.get("/5/0200000001/b.css?dl=1")
    assert named.headers["content-type"] == "text/css; charset=utf-8"
    assert named.headers["content-disposition"] == "attachment; filename=b.css"
    path = await _list(here, 3, [(chunk, 0, 6)])
    guessed = await here.get(path, {"range": "bytes=0-"})
    assert "content-disposition" not in guessed.headers
    assert guessed.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("where", ["here", "there"])
async def test_long_and_compressed_chunks_are_read_to_their_ends(
    servers: tuple[Reader, Reader], where: str
) -> None:
    here, there = servers
    server, volume = (here, HERE) if where == "here" else (there, THERE)
    long = await _put(server, volume, 1, _LONG)
    packed = await _put(server, volume, 2, gzip.compress(_LONG), flags=GZIP)
    size = len(_LONG)
    path = await _list(here, 3, [(long, 0, size), (packed, size, size)])
    answer = await here.get(path)
    assert (answer.body == _LONG * 2, answer.failed) == (True, False)
    for start in (size - 5, size + 5):
        part = await here.get(path, {"range": f"bytes={start}-{start + 9}"})
        assert part.body == (_LONG * 2)[start : start + 10]


def _failure(answer: Answer) -> tuple[int, str, bool]:
    assert answer.headers["x-file-store"] == "chunked"
    return answer.status, answer.body.decode(), answer.failed


async def test_what_fails_at_once_is_an_error_and_what_fails_later_a_cut(
    servers: tuple[Reader, Reader],
) -> None:
    here, _ = servers
    good = await _put(here, HERE, 1, b"good" * 250)
    own, other = (server.services.options.own_address for server in servers)
    for id_, fid, text in (
        (10, "not-a-fid", "Invalid fileId not-a-fid"),
        (11, "1,2,3", "Invalid fileId 1,2,3"),
        (12, "abc,0100000001", "File Not Found"),
        (13, "77,0100000001", "File Not Found"),
        (14, "5,9900000001", f"Read chunk needle error: [404] http://{own}/5,9900000001"),
        (15, "5,0100000002", f"Read chunk needle error: [404] http://{own}/5,0100000002"),
        (16, "5,zz", f"Read chunk needle error: [400] http://{own}/5,zz"),
        (17, "6,9900000001", f"Read chunk needle error: [404] http://{other}/6,9900000001"),
    ):
        path = await _list(here, id_, [(fid, 0, 4)], name="a.txt")
        answer = await here.get(path)
        assert _failure(answer) == (500, f"{text}\n", False)
        assert answer.headers["content-disposition"] == "inline; filename=a.txt"
        part = await here.get(path, {"range": "bytes=1-2"})
        assert (part.status, part.body, part.failed) == (206, b"", True)
        size = 1000
        path = await _list(here, id_ + 100, [(good, 0, size), (fid, size, 4)], name="a.txt")
        answer = await here.get(path)
        assert (answer.status, answer.body, answer.failed) == (200, b"good" * 250, True)
    path = await _list(here, 3, [(good, 5, 1000)])
    assert _failure(await here.get(path)) == (500, "Invalid range\n", False)
    here.places.fault = "no master"
    path = await _list(here, 4, [("77,0100000001", 0, 4)])
    assert _failure(await here.get(path)) == (500, "no master\n", False)
    here.places.fault = ""
    with Ports() as ports:
        dead = f"127.0.0.1:{ports.take()}"
        here.places.places[77] = [Place(dead, dead, 0)]
        status, text, _ = _failure(await here.get(path))
    assert (status, "refused" in text) == (500, True)


async def test_a_damaged_chunk_is_not_sent(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    chunk = await _put(here, HERE, 1, _LONG)
    path = await _list(here, 2, [(chunk, 0, len(_LONG))])
    volume = here.store.volume(HERE)
    assert volume is not None
    content = bytearray(volume.data.path.read_bytes())
    content[1_000_000] ^= 1
    volume.data.path.write_bytes(content)
    status, text, _ = _failure(await here.get(path))
    assert (status, "[500]" in text) == (500, True)


async def test_sizes_that_a_list_tells_wrongly_never_make_an_answer_longer_than_told(
    servers: tuple[Reader, Reader],
) -> None:
    here, _ = servers
    chunk = await _put(here, HERE, 1, b"0123456789")
    path = await _list(here, 2, [(chunk, 0, 4)])
    assert (await here.get(path)).body == b"0123"
    path = await _list(here, 3, [(chunk, 0, 14)])
    answer = await here.get(path)
    assert (answer.body, answer.failed) == (b"0123456789", True)
    path = await _list(here, 4, [(chunk, 0, 2**62)])
    answer = await here.get(path, {"range": f"bytes={2**61}-"})
    assert (answer.status, answer.body, answer.failed) == (206, b"", True)


async def test_an_empty_list_is_an_empty_file(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    path = await _list(here, 1, [])
    for method in ("GET", "HEAD"):
        answer = await here.get(path, method=method)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("where", ["here", "there", "in turns"])
async def test_a_list_of_itself_ends(servers: tuple[Reader, Reader], where: str) -> None:
    here, there = servers
    match where:
        case "here":
            path = await _list(here, 1, [("5,0100000001", 0, 1)])
        case "there":
            path = await _list(here, 1, [("6,0100000001", 0, 1)])
            await _list(there, 1, [("6,0100000001", 0, 1)])
        case _:
            path = await _list(here, 1, [("6,0100000001", 0, 1)])
            await _list(there, 1, [("5,0100000001", 0, 1)])
    answer = await here.get(path)
    assert (answer.status, "[500]" in answer.body.decode()) == (500, True)
    expected = 0 if where == "here" else 1 if where == "there" else DEPTH_MAX + 1
    assert len(here.asked) + len(there.asked) == expected


async def test_lists_of_lists_are_put_together_up_to_a_depth(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    fid = await _put(here, HERE, 1, b"deep")
    for level in range(DEPTH_MAX + 1):
        path = await _list(here, 10 + level, [(fid, 0, 4)])
        assert (await here.get(path)).body == b"deep"
        fid = path[1:]
    path = await _list(here, 30, [(fid, 0, 4)])
    assert (await here.get(path)).status == 500


@pytest.mark.parametrize("told", ["9", "x", "10", "-1", "5"])
async def test_a_request_out_of_too_many_lists_is_refused(servers: tuple[Reader, Reader], told: str) -> None:
    here, _ = servers
    path = await _list(here, 1, [])
    answer = await here.get(path, {"x-chunk-depth": told})
    assert (answer.status, answer.body) == (500, f"{TOO_DEEP}\n".encode())


async def test_a_list_that_is_too_long_is_an_error(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    blanks = b" " * (MANIFEST_BYTES_MAX + 1)
    for id_, stored, flags in ((1, blanks, MANIFEST), (2, gzip.compress(blanks * 20), MANIFEST | GZIP)):
        path = await _put(here, HERE, id_, stored, flags=flags)
        assert (await here.get(f"/{path}")).status == 500


async def test_a_picture_in_chunks_is_changed(servers: tuple[Reader, Reader]) -> None:
    here, _ = servers
    written = io.BytesIO()
    Image.new("RGB", (60, 40)).save(written, "PNG")
    data = written.getvalue()
    chunks = [
        (await _put(here, HERE, 1, data[:50]), 0, 50),
        (await _put(here, HERE, 2, data[50:]), 50, len(data) - 50),
    ]
    path = await _list(here, 3, chunks, name="a.png")
    with Image.open(io.BytesIO((await here.get(f"{path}?width=20")).body)) as image:
        assert image.size == (20, 13)
