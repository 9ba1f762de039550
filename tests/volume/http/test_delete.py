"""Deleting files and manifests, over a socket, from real stores."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.volume.engine.errors import NeedleDeleted
from less_sync.volume.grpc.protos import master_pb2 as pb
from tests.volume.grpc.serving import put
from tests.volume.grpc.serving import serving as serving_grpc
from tests.volume.http.whole_server import Server, serving
from tests.volume.master.fake_master import FakeMaster, running

pytestmark = pytest.mark.anyio
FID = "3,01637037d6"
BINARY = [("Content-Type", "application/octet-stream")]
JSON = [("Content-Type", "application/json")]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data") as server:
        await server.store.allocate(3)
        yield server


def _manifest(*fids: str, size: int = 12) -> bytes:
    chunks = [{"fid": fid, "offset": 0, "size": 6} for fid in fids]
    return json.dumps({"name": "m.txt", "size": size, "chunks": chunks}).encode()


async def test_the_size_of_the_record_is_told_and_the_second_time_nothing(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    size = server.stored(FID).size
    answer = await server.ask("DELETE", f"/{FID}.txt")
    assert (answer.status, answer.body) == (202, b'{"size":%d}' % size)
    answer = await server.ask("DELETE", f"/{FID}?ts=7")
    assert (answer.status, answer.body) == (404, b'{"size":0}')
    volume = server.volume()
    assert bytes(volume.read(1, deleted=True).data) == b"hello"


@pytest.mark.parametrize(
    ("target", "status", "told"),
    [
        ("/x,01637037d6", 404, {"size": 0}),
        ("/9,01637037d6", 404, {"size": 0}),
        ("/3,02637037d6", 404, {"size": 0}),
        ("/3,zz", 400, {"error": "Invalid fid: zz"}),
        ("/3,0100000001", 400, {"error": "File Random Cookie does not match."}),
    ],
)
async def test_what_is_not_there_or_not_named_is_refused(
    server: Server, target: str, status: int, told: dict[str, object]
) -> None:
    await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    answer = await server.ask("DELETE", target)
    assert (answer.status, answer.json) == (status, told)
    assert bytes(server.stored(FID).data) == b"hello"


async def test_an_empty_file_goes_with_any_cookie(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", b"", BINARY)
    assert (await server.ask("DELETE", "/3,0100000001")).json == {"size": 0}
    with pytest.raises(NeedleDeleted):
        server.stored(FID)


async def test_a_large_file_is_deleted_without_reading_its_data(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", bytes(2 << 20), BINARY)
    size = server.stored(FID).size
    assert (await server.ask("DELETE", "/3,0100000001")).status == 400
    assert (await server.ask("DELETE", f"/{FID}")).json == {"size": size}


async def test_a_volume_that_takes_no_deletions_says_so(server: Server) -> None:
    await server.ask("PUT", f"/{FID}", b"hello", BINARY)
    volume = server.volume()
    volume.no_write_or_delete = True
    answer = await server.ask("DELETE", f"/{FID}")
    assert (answer.status, answer.json) == (500, {"error": "Deletion Failed: volume 3 is read only"})


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_manifest_goes_with_its_chunks(server: Server, is_packed: bool) -> None:
    for key in (1, 2):
        await server.ask("PUT", f"/3,0{key}00000001", b"chunk", BINARY)
    # A chunk that is missing already is no failure.
    manifest = _manifest("3,0100000001", "3,0200000001", "3,9900000001")
    headers = [*JSON, ("Content-Encoding", "gzip")] if is_packed else JSON
    await server.ask(
        "PUT", "/3,0300000001?cm=true", gzip.compress(manifest) if is_packed else manifest, headers
    )
    assert (await server.ask("DELETE", "/3,0300000001")).json == {"size": 12}
    for key in (1, 2, 3):
        with pytest.raises(NeedleDeleted):
            server.stored(f"3,0{key}00000001")


async def test_a_manifest_of_more_than_a_record_in_memory_goes_too(server: Server) -> None:
    manifest = _manifest(*(f"3,{key:x}00000001" for key in range(0x10000, 0x14000)))
    assert len(manifest) > 1 << 19
    await server.ask("PUT", "/3,0300000001?cm=true", manifest, BINARY)
    await server.ask("PUT", "/3,1000000000001", b"chunk", BINARY)
    assert (await server.ask("DELETE", "/3,0300000001")).json == {"size": 12}
    with pytest.raises(NeedleDeleted):
        server.stored("3,0300000001")


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        (b"not json", "Load chunks manifest error: invalid character 'o' in literal null (expecting 'u')"),
        (_manifest("not-a-fid"), "Delete chunks error: chunk delete not-a-fid: Wrong fid format."),
        (_manifest("3,0100000001", "3,01"), "Delete chunks error: chunk delete 3,01: KeyHash is too short."),
        (_manifest("x,0100000001"), "Delete chunks error: chunk delete x,0100000001: volume id x not found"),
    ],
)
async def test_a_manifest_whose_chunks_cannot_go_stays_and_so_do_they(
    server: Server, manifest: bytes, error: str
) -> None:
    await server.ask("PUT", "/3,0100000001", b"chunk", BINARY)
    await server.ask("PUT", "/3,0300000001?cm=1", manifest, JSON)
    answer = await server.ask("DELETE", "/3,0300000001")
    assert (answer.status, answer.json) == (500, {"error": error})
    assert bytes(server.stored("3,0300000001").data) == manifest
    assert bytes(server.stored("3,0100000001").data) == b"chunk"


async def test_chunks_on_other_servers_are_deleted_there(tmp_path: Path) -> None:
    for name in ("elsewhere",):
        (tmp_path / name).mkdir()
    async with (
        running(FakeMaster()) as master,
        serving(tmp_path / "here", master=master.address) as here,
        serving_grpc(tmp_path / "elsewhere") as elsewhere,
    ):
        volume = await elsewhere.volume(7)
        await put(volume, 1, 1, b"chunk")
        await here.store.allocate(3)
        await here.ask("PUT", "/3,0300000001?cm=1", _manifest("7,0100000001"), JSON)
        error = "Delete chunks error: chunk delete 7,0100000001: volume id 7 not found"
        assert (await here.ask("DELETE", "/3,0300000001")).json == {"error": error}
        master.places["7"] = [pb.Location(url="127.0.0.1:1", grpc_port=elsewhere.port)]
        volume.no_write_or_delete = True
        error = "Delete chunks error: chunk delete 7,0100000001: volume 7 is read only"
        assert (await here.ask("DELETE", "/3,0300000001")).json == {"error": error}
        volume.no_write_or_delete = False
        assert (await here.ask("DELETE", "/3,0300000001")).json == {"size": 12}
        with pytest.raises(NeedleDeleted):
            volume.read(1)
        await here.ask("PUT", "/3,0400000001?cm=1", _manifest("8,0100000001"), JSON)
        master.places["8"] = [pb.Location(url="127.0.0.1:1", grpc_port=1)]
        told = (await here.ask("DELETE", "/3,0400000001")).json["error"]
        assert told.startswith(
            "Delete chunks error: chunk delete 8,0100000001: rpc error: code = Unavailable"
        )
