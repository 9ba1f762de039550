"""Calls whose messages or volumes are large."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio

from less_sync.volume.format.needle import encode
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import put, serving

MIB = 1 << 20


async def test_the_progress_of_a_long_compaction_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(34)
        for needle_id in range(1, 6):
            await put(volume, needle_id, 1, bytes(64 * MIB))
        told = await server.stream(pb.VacuumVolumeCompactRequest(volume_id=34))
        offsets = [entry[0] for one in (3, 5) if (entry := volume.needles.get(one))]
        assert [one.processed_bytes for one in told] == offsets
        assert all(one.load_avg_1m >= 0 for one in told)


async def test_a_client_that_leaves_a_long_compaction_interrupts_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(34)
        for needle_id in range(1, 6):
            await put(volume, needle_id, 1, bytes(64 * MIB))
        call = server.open(pb.VacuumVolumeCompactRequest(volume_id=34))
        assert (await anext(aiter(call))).processed_bytes > 128 * MIB
        call.cancel()
        while volume.is_compacting:
            await server.call(pb.GetStateRequest())
        assert not list(tmp_path.glob("34.cp*"))
        code, _ = await server.refused(pb.VacuumVolumeCommitRequest(volume_id=34))
        assert code is grpc.StatusCode.UNKNOWN
        assert volume.read(1).size > 64 * MIB


async def test_a_record_of_eighty_megabytes_goes_from_one_volume_to_another(tmp_path: Path) -> None:
    # The loop would otherwise print whole messages when it says what was slow.
    asyncio.get_running_loop().set_debug(False)
    async with serving(tmp_path) as server:
        source, target = await server.volume(1), await server.volume(2)
        needle = await put(source, 1, 7, bytes(80 * MIB))
        entry = source.needles.get(1)
        assert entry is not None
        answer = await server.call(pb.ReadNeedleBlobRequest(volume_id=1, offset=entry[0], size=entry[1]))
        assert answer.needle_blob == encode(needle, 3)
        request = pb.WriteNeedleBlobRequest(
            volume_id=2, needle_id=1, size=entry[1], needle_blob=answer.needle_blob
        )
        await server.call(request)
        assert target.data_bytes == source.data_bytes


async def test_a_record_that_fits_into_no_message_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(1)
        volume.data.end = 2 << 30
        request = pb.ReadNeedleBlobRequest(volume_id=1, offset=8, size=(1 << 30) + 1)
        code, text = await server.refused(request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert text.startswith("trying to send message larger than max (")
        volume.data.end = 8
