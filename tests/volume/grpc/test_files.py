"""Sizes of files, and their bytes, by calls."""

import asyncio
import os
from pathlib import Path

import grpc

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import Serving, put, serving

ANY = 2**32 - 1
ALL = 2**63 - 1
UNKNOWN = grpc.StatusCode.UNKNOWN


def copy(volume_id: int, ext: str, stop: int = ALL, **fields: object) -> pb.CopyFileRequest:
    request = pb.CopyFileRequest(volume_id=volume_id, ext=ext, stop_offset=stop, compaction_revision=ANY)
    request.MergeFrom(pb.CopyFileRequest(**fields))  # type: ignore[arg-type]
    return request


async def test_both_statuses_tell_what_lies_on_the_disk(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.store.allocate(3, "pics", placement=1, ttl=0x0303)
        await put(volume, 1, 1, b"hello")
        modified_s = int((tmp_path / "pics_3.dat").stat().st_mtime)
        sizes = [(tmp_path / f"pics_3.{ext}").stat().st_size for ext in ("dat", "idx")]
        assert await server.call(pb.VolumeSyncStatusRequest(volume_id=3)) == pb.VolumeSyncStatusResponse(
            volume_id=3,
            collection="pics",
            replication="001",
            ttl="3d",
            tail_offset=sizes[0],
            idx_file_size=sizes[1],
            version=3,
        )
        status = await server.call(pb.ReadVolumeFileStatusRequest(volume_id=3))
        assert status.volume_info.expire_at_sec > modified_s
        status.volume_info.expire_at_sec = 0
        assert status == pb.ReadVolumeFileStatusResponse(
            volume_id=3,
            idx_file_timestamp_seconds=modified_s,
            idx_file_size=sizes[1],
            dat_file_timestamp_seconds=modified_s,
            dat_file_size=sizes[0],
            file_count=1,
            collection="pics",
            volume_info=pb.VolumeInfo(version=3, bytes_offset=4),
            version=3,
        )
        for request in (pb.VolumeSyncStatusRequest(), pb.ReadVolumeFileStatusRequest()):
            assert await server.refused(request) == (UNKNOWN, "not found volume id 0")


EXTENSIONS = ["", "dat", ".", "./x", ".da-t", ".dat/", "/../../x", ".a b", ".dät", ".d\x00", "..dat"]


async def test_no_extension_leads_out_of_the_directory(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(3)
        for ext in EXTENSIONS:
            for request in (copy(3, ext), copy(3, ext, is_ec_volume=True)):
                code, text = await server.refused(request)
                assert code is UNKNOWN
                assert text.startswith('invalid file extension "')


async def test_no_collection_leads_out_of_the_directory(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(3)
        for collection in (".", "..", "a/b", "a\\b", "../x", "/"):
            for is_ec_volume in (False, True):
                request = copy(3, ".dat", collection=collection, is_ec_volume=is_ec_volume)
                shown = collection.replace("\\", "\\\\")
                assert await server.refused(request) == (UNKNOWN, f'invalid collection "{shown}"')


async def whole(server: Serving, request: pb.CopyFileRequest) -> list[tuple[int, bool]]:
    """Length of each frame, and whether it has a time."""
    return [(len(one.file_content), bool(one.modified_ts_ns)) for one in await server.stream(request)]


async def test_a_file_comes_in_frames_of_which_the_first_has_its_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 1, b"L" * (5 << 20))
        frames = await server.stream(copy(3, ".dat"))
        assert b"".join(one.file_content for one in frames) == (tmp_path / "3.dat").read_bytes()
        assert [len(one.file_content) for one in frames[:2]] == [2 << 20, 2 << 20]
        modified_ns = (tmp_path / "3.dat").stat().st_mtime_ns
        assert [one.modified_ts_ns for one in frames] == [modified_ns, 0, 0]
        assert await whole(server, copy(3, ".dat", 5 << 20)) == [
            (2 << 20, True),
            (2 << 20, False),
            (1 << 20, False),
        ]
        assert await whole(server, copy(3, ".dat", 1)) == [(1, True)]


async def test_of_a_file_without_content_one_frame_tells_the_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(3)
        for request in (
            copy(3, ".idx"),
            copy(3, ".dat", 0),
            copy(3, ".dat", 2**63),
            copy(3, ".dat", 2**64 - 1),
        ):
            assert await whole(server, request) == [(0, True)]


async def test_a_file_that_is_not_there_is_a_fault_unless_nothing_is_wanted_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(3)
        missing = f"open {tmp_path}/3.missing: no such file or directory"
        assert await server.refused(copy(3, ".missing")) == (UNKNOWN, missing)
        assert await server.stream(copy(3, ".missing", ignore_source_file_not_found=True)) == []
        assert await server.stream(copy(3, ".missing", 0)) == []


async def test_another_revision_than_the_volumes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 1, b"x")
        request = pb.CopyFileRequest(volume_id=3, ext=".dat", stop_offset=4)
        assert [one.file_content for one in await server.stream(request)] == [b"\x03\0\0\0"]
        await server.stream(pb.VacuumVolumeCompactRequest(volume_id=3))
        await server.call(pb.VacuumVolumeCommitRequest(volume_id=3))
        assert await server.refused(request) == (UNKNOWN, "volume 3 is compacted")
        request.compaction_revision = 1
        assert len(await server.stream(request)) == 1


async def test_an_index_is_found_in_its_own_directory(tmp_path: Path) -> None:
    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    index.mkdir()
    async with serving(data, index_directory=index) as server:
        await put(await server.volume(3), 1, 1, b"x")
        [frame] = await server.stream(copy(3, ".idx"))
        assert frame.file_content == (index / "3.idx").read_bytes()
        [frame] = await server.stream(copy(3, ".vif"))
        assert frame.file_content == (data / "3.vif").read_bytes()


async def test_a_directory_in_place_of_a_file_is_a_fault(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(3)
        (tmp_path / "3.ldb").mkdir()
        assert await server.refused(copy(3, ".ldb")) == (UNKNOWN, "is a directory")


async def test_a_file_of_an_erasure_coded_volume_needs_no_volume(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        (tmp_path / "c_9.ec00").write_bytes(b"shard")
        [frame] = await server.stream(copy(9, ".ec00", collection="c", is_ec_volume=True))
        assert frame.file_content == b"shard"
        absent = copy(9, ".ec01", collection="c", is_ec_volume=True)
        assert await server.refused(absent) == (UNKNOWN, "CopyFile not found ec volume id 9")
        absent.ignore_source_file_not_found = True
        assert await server.stream(absent) == []


def held(path: Path) -> int:
    """How many descriptors of this process are of a file."""
    found = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(one) and os.readlink(one) == str(path) for one in found)


async def test_a_reader_that_goes_away_leaves_no_file_open(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 1, bytes(40 << 20))
        calls = [server.open(copy(3, ".dat")) for _ in range(5)]
        for call in calls:
            await anext(aiter(call))
        assert held(tmp_path / "3.dat") > 1
        for call in calls:
            call.cancel()
        async with asyncio.timeout(10):
            while held(tmp_path / "3.dat") > 1:
                await server.call(pb.GetStateRequest())
