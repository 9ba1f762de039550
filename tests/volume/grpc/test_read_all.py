"""Sending every needle of volumes."""

from pathlib import Path

import grpc
import grpc.aio
import pytest

from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.needle import GZIP, HAS_LAST_MODIFIED, HAS_MIME, HAS_NAME
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import put, serving


async def test_the_last_version_of_every_needle_comes_in_the_order_of_the_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        await put(volume, 1, 7, b"first")
        fields = {"flags": GZIP | HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED, "name": b"n\xff", "mime": b"a/b"}
        await put(volume, 2, 8, b"second", last_modified=1_700_000_000, **fields)
        await put(volume, 1, 7, b"first again")
        await put(volume, 3, 9, b"")
        await volume.delete(2, 8)
        found = await server.stream(pb.ReadAllNeedlesRequest(volume_ids=[3]))
        assert [(one.needle_id, one.needle_blob) for one in found] == [
            (2, b"second"),
            (1, b"first again"),
            (3, b""),
        ]
        assert found[0] == pb.ReadAllNeedlesResponse(
            volume_id=3,
            needle_id=2,
            cookie=8,
            needle_blob=b"second",
            needle_blob_compressed=True,
            last_modified=1_700_000_000,
            crc=masked(crc32c(b"second")),
            name=b"n\xff",
            mime=b"a/b",
        )


async def test_a_volume_that_is_not_there_ends_the_stream_behind_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 7, b"x")
        stream = aiter(server.open(pb.ReadAllNeedlesRequest(volume_ids=[3, 9])))
        assert (await anext(stream)).needle_id == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(stream)
        assert caught.value.details() == "not found volume id 9"
        assert caught.value.code() is grpc.StatusCode.UNKNOWN


async def test_many_and_large_needles_all_come(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        sizes = [1] * 1_030 + [3 << 20, 5, 2 << 20, 0, 7]
        for needle_id, size in enumerate(sizes, start=1):
            await put(volume, needle_id, 7, b"x" * size)
        found = await server.stream(pb.ReadAllNeedlesRequest(volume_ids=[3]))
        assert [(one.needle_id, len(one.needle_blob)) for one in found] == list(enumerate(sizes, start=1))


async def test_what_lies_behind_the_last_whole_record_is_not_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        await put(volume, 1, 7, b"x")
        await put(volume, 2, 7, b"y" * 100)
        with (tmp_path / "3.dat").open("r+b") as file:
            file.truncate(volume.data_bytes - 64)
        found = await server.stream(pb.ReadAllNeedlesRequest(volume_ids=[3]))
        assert [one.needle_id for one in found] == [1]


async def test_a_vacuum_meanwhile_changes_nothing_for_the_stream(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        for needle_id in range(1, 9):
            await put(volume, needle_id, 7, bytes([needle_id]) * (1 << 20))
        await volume.delete(2, 7)
        stream = aiter(server.open(pb.ReadAllNeedlesRequest(volume_ids=[3])))
        found = [await anext(stream)]
        await server.stream(pb.VacuumVolumeCompactRequest(volume_id=3))
        await server.call(pb.VacuumVolumeCommitRequest(volume_id=3))
        found += [one async for one in stream]
        assert [one.needle_id for one in found] == list(range(1, 9))
        assert all(one.needle_blob == bytes([one.needle_id]) * (1 << 20) for one in found)
