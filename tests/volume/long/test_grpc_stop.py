"""A stop while somebody reads, and does not read on."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import put, serving

ANY = 2**32 - 1


async def test_a_reader_that_does_not_read_on_holds_up_a_stop_for_ten_seconds_at_most(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        for needle_id in range(1, 5):
            await put(volume, needle_id, 1, bytes(32 << 20))
        request = pb.CopyFileRequest(volume_id=3, ext=".dat", stop_offset=2**40, compaction_revision=ANY)
        stream = aiter(server.open(request))
        await anext(stream)
        async with asyncio.timeout(20):
            await server.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [_ async for _ in stream]
        assert caught.value.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


async def test_a_reader_that_reads_on_gets_all_of_it_during_a_stop(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        await put(volume, 1, 1, bytes(64 << 20))
        request = pb.CopyFileRequest(volume_id=3, ext=".dat", stop_offset=2**40, compaction_revision=ANY)
        stream = aiter(server.open(request))
        received = len((await anext(stream)).file_content)
        stopping = asyncio.create_task(server.server.stop())
        async for frame in stream:
            received += len(frame.file_content)
        await stopping
        assert received == volume.data_bytes
