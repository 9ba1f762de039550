"""Vacuum, step by step, by calls."""

from pathlib import Path

import grpc

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import put, serving

UNKNOWN = grpc.StatusCode.UNKNOWN


async def test_a_volume_is_compacted_with_what_was_written_meanwhile(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(34)
        sizes = [(await put(volume, one, 1, bytes(1_000 * one))).size for one in (1, 2, 3)]
        await volume.delete(1, 1)
        answer = await server.call(pb.VacuumVolumeCheckRequest(volume_id=34))
        assert answer.garbage_ratio == sizes[0] / sum(sizes)
        before = volume.data_bytes
        assert await server.stream(pb.VacuumVolumeCompactRequest(volume_id=34)) == []
        await put(volume, 4, 1, b"meanwhile")
        await volume.delete(2, 1)
        done = await server.call(pb.VacuumVolumeCommitRequest(volume_id=34))
        assert not done.is_read_only
        assert done.volume_size == (tmp_path / "34.dat").stat().st_size < before
        await server.call(pb.VacuumVolumeCleanupRequest(volume_id=34))
        found = await server.stream(pb.ReadAllNeedlesRequest(volume_ids=[34]))
        assert [(one.needle_id, len(one.needle_blob)) for one in found] == [(2, 2_000), (3, 3_000), (4, 9)]
        refused = await server.refused(pb.VolumeNeedleStatusRequest(volume_id=34, needle_id=2))
        assert refused == (UNKNOWN, "already deleted")
        status = await server.call(pb.VolumeSyncStatusRequest(volume_id=34))
        assert status.compact_revision == 1
        assert sorted(path.name for path in tmp_path.glob("34.*")) == ["34.dat", "34.idx", "34.vif"]


async def test_the_check_of_an_empty_volume_is_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(34)
        assert (await server.call(pb.VacuumVolumeCheckRequest(volume_id=34))).garbage_ratio == 0


async def test_a_volume_that_is_not_there_is_named_with_the_step(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for request, step in [
            (pb.VacuumVolumeCheckRequest(volume_id=9), "check compact"),
            (pb.VacuumVolumeCompactRequest(volume_id=9), "compact"),
            (pb.VacuumVolumeCommitRequest(volume_id=9), "commit compact"),
            (pb.VacuumVolumeCleanupRequest(volume_id=9), "cleaning up"),
        ]:
            assert await server.refused(request) == (UNKNOWN, f"volume id 9 is not found during {step}")


async def test_a_commit_of_nothing_leaves_the_volume_serving(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(34)
        await put(volume, 1, 1, b"x")
        refused = await server.refused(pb.VacuumVolumeCommitRequest(volume_id=34))
        assert refused == (UNKNOWN, "volume 34 compact swap aborted: missing .cpd/.cpx")
        assert bytes(volume.read(1).data) == b"x"
        assert not (tmp_path / "34.cpc").exists()


async def test_a_cleanup_removes_what_a_compaction_made(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(34), 1, 1, b"x")
        await server.stream(pb.VacuumVolumeCompactRequest(volume_id=34))
        assert (tmp_path / "34.cpd").exists()
        for _ in range(2):
            await server.call(pb.VacuumVolumeCleanupRequest(volume_id=34))
        assert not list(tmp_path.glob("34.cp*"))


async def test_nothing_is_committed_while_the_server_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(34), 1, 1, b"x")
        await server.stream(pb.VacuumVolumeCompactRequest(volume_id=34))
        server.store.stopping = True
        for volume_id in (34, 9):
            assert await server.refused(pb.VacuumVolumeCommitRequest(volume_id=volume_id)) == (
                UNKNOWN,
                f"volume id {volume_id} skips compact because volume is stopping",
            )
