"""Making, mounting, changing and deleting volumes by calls."""

import json
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from less_sync.volume.engine.store import ServerState
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.master.masters import Mark
from tests.volume.grpc.serving import Serving, put, serving


def allocation(volume_id: int, **fields: Any) -> pb.AllocateVolumeRequest:
    return pb.AllocateVolumeRequest(volume_id=volume_id, version=3, **fields)


async def text(server: Serving, request: Message) -> str:
    code, text = await server.refused(request)
    assert code is grpc.StatusCode.UNKNOWN
    return text


REFUSED = [
    (allocation(12, replication="bad"), "unexpected replication type: bad"),
    (allocation(12, replication="1-1", ttl="x"), "unknown replication type: 1-1"),
    (allocation(12, ttl="ad"), 'strconv.Atoi: parsing "a": invalid syntax'),
    (allocation(12, disk_type="ssd"), "No more free space left"),
    (allocation(12, collection="../c"), 'invalid collection "../c"'),
    (allocation(12, collection="c\0"), 'invalid collection "c\\x00"'),
    (pb.AllocateVolumeRequest(volume_id=12), "volume super block version 0 is not supported"),
    (pb.AllocateVolumeRequest(volume_id=12, version=9), "volume super block version 9 is not supported"),
]


async def test_what_cannot_be_allocated_leaves_no_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for request, wanted in REFUSED:
            assert await text(server, request) == wanted
            assert not [*tmp_path.glob("*12.*"), *tmp_path.parent.glob("*_12.*")]


async def test_a_volume_lives_from_its_allocation_to_its_deletion(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.call(allocation(3, collection="pics", replication="001", ttl="7d", disk_type="HDD"))
        assert await text(server, allocation(3)) == "Volume Id 3 already exists!"
        status = await server.call(pb.VolumeSyncStatusRequest(volume_id=3))
        assert (status.collection, status.replication, status.ttl) == ("pics", "001", "1w")
        for _ in range(2):
            await server.call(pb.VolumeUnmountRequest(volume_id=3))
        assert await text(server, pb.VolumeStatusRequest(volume_id=3)) == "not found volume id 3"
        for _ in range(2):
            await server.call(pb.VolumeMountRequest(volume_id=3))
        assert (await server.call(pb.VolumeStatusRequest(volume_id=3))).volume_size == 8
        await server.call(pb.VolumeDeleteRequest(volume_id=3, only_empty=True))
        assert await text(server, pb.VolumeDeleteRequest(volume_id=3)) == "delete volume 3 not found on disk"
        assert await text(server, pb.VolumeMountRequest(volume_id=3)) == "volume 3 not found on disk"
        assert not list(tmp_path.glob("*3.*"))


async def test_a_volume_with_a_needle_is_not_deleted_as_empty(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 1, b"hello")
        refused = await text(server, pb.VolumeDeleteRequest(volume_id=3, only_empty=True))
        assert refused == "DeleteVolume 3: volume not empty"
        await server.call(pb.VolumeDeleteRequest(volume_id=3))
        assert server.store.volume(3) is None


async def test_the_status_counts_what_was_ever_put_and_what_was_lost(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        await put(volume, 1, 1, b"hello")
        await put(volume, 1, 1, b"world")
        status = await server.call(pb.VolumeStatusRequest(volume_id=3))
        assert (status.file_count, status.file_deleted_count) == (2, 1)
        assert status.volume_size == (tmp_path / "3.dat").stat().st_size


async def test_a_collection_is_deleted_alone_and_twice(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for volume_id, collection in ((1, ""), (2, "a"), (3, "a")):
            await server.volume(volume_id, collection)
        for _ in range(2):
            await server.call(pb.DeleteCollectionRequest(collection="a"))
        assert [volume.id for volume in server.store.volumes()] == [1]
        await server.call(pb.DeleteCollectionRequest())
        assert not list(server.store.volumes())


async def test_errors_of_a_configuration_are_told_in_a_successful_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(22)
        bad = await server.call(pb.VolumeConfigureRequest(volume_id=22, replication='b"d'))
        request = r'volume_id:22 replication:"b\"d"'
        assert bad.error.startswith(f"volume configure replication {request}: un")
        absent = await server.call(pb.VolumeConfigureRequest(volume_id=99, replication="000"))
        assert absent.error == (
            'volume configure volume_id:99 replication:"000": volume 99 not found on disk. '
            "Also failed to restore mount: volume 99 not found on disk"
        )
        good = await server.call(pb.VolumeConfigureRequest(volume_id=22, replication="010"))
        assert good.error == ""
        status = await server.call(pb.VolumeSyncStatusRequest(volume_id=22))
        assert status.replication == "010"


async def test_an_index_stays_where_there_is_no_directory_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.volume(2)
        await server.call(pb.VolumeConsolidateIndexRequest(volume_id=2))
        refused = await text(server, pb.VolumeConsolidateIndexRequest(volume_id=3))
        assert refused == "volume 3 not found on disk"


async def test_the_master_hears_of_a_read_only_volume_before_and_after(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.call(allocation(7, collection="c", replication="001", ttl="3d"))
        mark = Mark(7, "c", 1, 3 * 256 + 3, "")
        await server.call(pb.VolumeMarkReadonlyRequest(volume_id=7, persist=True, can_delete=True))
        assert server.masters.told == [(mark, True), (mark, True)]
        info = json.loads((tmp_path / "c_7.vif").read_text())
        assert (info["readOnly"], info["readOnlyCanDelete"]) == (True, True)
        assert (await server.call(pb.VolumeStatusRequest(volume_id=7))).is_read_only
        await server.call(pb.VolumeMarkWritableRequest(volume_id=7))
        assert server.masters.told[2:] == [(mark, False)]
        assert not (await server.call(pb.VolumeStatusRequest(volume_id=7))).is_read_only


async def test_a_master_that_refuses_leaves_a_volume_writable(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(7)
        server.masters.fails_from = 0
        assert await text(server, pb.VolumeMarkReadonlyRequest(volume_id=7)) == "the master refuses"
        assert not volume.read_only


async def test_a_volume_takes_writes_again_although_the_master_refuses(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(7)
        await server.call(pb.VolumeMarkReadonlyRequest(volume_id=7))
        server.masters.fails_from = 2
        assert await text(server, pb.VolumeMarkWritableRequest(volume_id=7)) == "the master refuses"
        assert not volume.read_only


async def test_marks_look_for_the_volume_before_they_look_at_maintenance(tmp_path: Path) -> None:
    async with serving(tmp_path, id="s") as server:
        await server.volume(7)
        await server.store.set_state(ServerState(True, 0))
        for kind in (pb.VolumeMarkReadonlyRequest, pb.VolumeMarkWritableRequest):
            assert await text(server, kind(volume_id=8)) == "volume 8 not found"
            assert await text(server, kind(volume_id=7)) == "volume server s is in maintenance mode"
        assert server.masters.told == []
