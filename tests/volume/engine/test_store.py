"""How volumes come, go and change, and what lies in the directories then."""

import asyncio
import errno
from pathlib import Path

import pytest

from less_sync.volume.engine import vacuum
from less_sync.volume.engine.errors import (
    ConfigureFailed,
    NoSpace,
    ReadOnlyVolume,
    StateMismatch,
    VolumeClosed,
    VolumeError,
    VolumeExists,
    VolumeNotEmpty,
    VolumeNotFound,
    VolumeNotLoaded,
)
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.store import ServerState, Store, VolumeChange
from less_sync.volume.format.superblock import decode_superblock
from less_sync.volume.format.volume_info import decode_volume_info
from less_sync.volume.options import DirectoryOptions, Options
from tests.volume.engine.making import NOW_S, Clock, FailingFiles, needle, open_store, rows
from tests.volume.engine.open_volumes import FailingSteps

DAY = 1 << 8 | 3


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_new_volume_is_on_the_disk_and_announced(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_store(tmp_path, files=files) as store:
        changes: list[VolumeChange] = []
        store.watch(changes.append)
        volume = await store.allocate(7, "pics_2", placement=10, ttl=DAY, version=2)
        assert _names(tmp_path) == ["pics_2_7.dat", "pics_2_7.idx", "pics_2_7.vif", "vol_dir.uuid"]
        superblock = decode_superblock((tmp_path / "pics_2_7.dat").read_bytes())
        assert (superblock.version, superblock.placement, superblock.ttl) == (2, 10, DAY)
        info = decode_volume_info((tmp_path / "pics_2_7.vif").read_bytes())
        assert (info.version, info.bytes_offset, info.expire_at_sec) == (2, 4, NOW_S + 86_400)
        assert files.count("sync", ".dat") == files.count("sync", ".idx") == 1
        assert changes == [VolumeChange(True, 7, "pics_2", 10, 2, DAY, "", 0)]
        assert (volume.version, volume.read_only) == (2, False)


async def test_a_volume_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        both = await asyncio.gather(store.allocate(1), store.allocate(1, "other"), return_exceptions=True)
        assert [str(error) for error in both if isinstance(error, VolumeExists)] == [
            "Volume Id 1 already exists!"
        ]
        assert sum(name.endswith(".dat") for name in _names(tmp_path)) == 1


@pytest.mark.parametrize("version", [0, 4])
async def test_a_version_that_nobody_knows_leaves_nothing_behind(tmp_path: Path, version: int) -> None:
    async with open_store(tmp_path) as store:
        with pytest.raises(VolumeError, match=f"^volume super block version {version} is not supported$"):
            await store.allocate(1, version=version)
        assert _names(tmp_path) == ["vol_dir.uuid"]


async def test_an_allocation_that_fails_at_any_step_leaves_nothing_behind(tmp_path: Path) -> None:
    files = FailingSteps()
    async with open_store(tmp_path, files=files) as store:
        failed = 0
        while True:
            files.arm(failed + 1)
            try:
                await store.allocate(1)
            except (OSError, VolumeNotLoaded):
                failed += 1
                assert _names(tmp_path) == ["vol_dir.uuid"], files.steps[-1]
            else:
                break
        assert failed > 20


async def test_files_of_an_unloaded_volume_are_adopted(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        (await store.allocate(1, placement=1)).try_write(needle(5))
        await store.unmount(1)
        volume = await store.allocate(1, placement=2)
        assert volume.placement == 1
        assert bytes(volume.read(5).data) == b"data"


async def test_preallocated_space_does_not_make_a_file_longer(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1, preallocate=1 << 20)
        status = volume.data_path.stat()
        assert status.st_size == 8
        assert status.st_blocks * 512 >= 1 << 20


async def test_a_new_volume_goes_where_the_fewest_are_on_its_type_of_disk(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.mkdir()
    first, second, third = paths
    options = Options(
        directories=(
            DirectoryOptions(first, max_volumes=2),
            DirectoryOptions(second, max_volumes=0, disk_type="HDD"),
            DirectoryOptions(third, disk_type="SSD"),
        )
    )
    store = Store(options)
    await store.load()
    volumes = await asyncio.gather(*(store.allocate(id) for id in range(1, 7)))
    assert [volume.location.disk_id for volume in volumes].count(0) == 2
    assert (await store.allocate(10, disk_type="ssd")).location.disk_id == 2
    with pytest.raises(NoSpace, match=r"^No more free space left$"):
        await store.allocate(11, disk_type="nvme")
    store.locations[2].is_low = True
    with pytest.raises(NoSpace):
        await store.allocate(11, disk_type="ssd")
    await store.close()


async def test_unmounting_and_mounting_tell_and_keep_everything(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1, "c")
        volume.try_write(needle(5))
        changes: list[VolumeChange] = []
        store.watch(changes.append)
        await store.unmount(1)
        await store.unmount(1)
        assert (store.volume(1), volume.is_closed) == (None, True)
        again = await store.mount(1)
        assert await store.mount(1) is again
        assert bytes(again.read(5).data) == b"data"
        assert [change.added for change in changes] == [False, True, True]
        with pytest.raises(VolumeNotFound, match=r"^volume 2 not found on disk$"):
            await store.mount(2)


async def test_a_compaction_holds_unmounting_up_and_deleting_off(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1)
        volume.is_compacting = True
        text = "^DeleteVolume 1 failed on some disks: volume 1 is compacting$"
        with pytest.raises(VolumeError, match=text):
            await store.delete_volume(1)
        await store.delete_collection("")
        assert store.volume(1) is volume
        unmounting = asyncio.create_task(store.unmount(1))
        await asyncio.sleep(0)
        volume.try_write(needle(1))
        assert not unmounting.done()
        volume.is_compacting = False
        await unmounting
        assert store.volume(1) is None


async def test_what_waits_behind_the_end_of_a_volume_is_refused(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1)
        volume.try_write(needle(1))
        async with volume.turn:
            unmounting = asyncio.create_task(store.unmount(1))
            await asyncio.sleep(0)
            late = [
                asyncio.create_task(work)
                for work in (volume.delete(1, 7), volume.write(needle(2)), store.mark_writable(volume))
            ]
            for begin in (vacuum.compact, vacuum.commit, vacuum.cleanup):
                with pytest.raises(VolumeClosed, match=r"^volume 1 is closed$"):
                    await begin(volume)
        await unmounting
        assert [type(error) for error in await asyncio.gather(*late, return_exceptions=True)] == [
            VolumeClosed
        ] * 3
        again = await store.mount(1)
        assert bytes(again.read(1).data) == b"data"
        async with again.turn:
            deleting = asyncio.create_task(store.delete_volume(1))
            await asyncio.sleep(0)
            marking = asyncio.create_task(store.mark_read_only(again, persist=True))
            await asyncio.sleep(0)
        await deleting
        with pytest.raises(VolumeClosed):
            await marking
        assert _names(tmp_path) == ["vol_dir.uuid"]


async def test_what_is_written_before_the_end_of_an_empty_volume_keeps_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1)
        async with volume.turn:
            writing = asyncio.create_task(volume.write(needle(1)))
            await asyncio.sleep(0)
            deleting = asyncio.create_task(store.delete_volume(1, only_empty=True))
            await asyncio.sleep(0)
        await writing
        with pytest.raises(VolumeNotEmpty, match=r"^DeleteVolume 1: volume not empty$"):
            await deleting
        assert bytes(volume.read(1).data) == b"data"
        await vacuum.compact(volume)


async def test_a_deleted_volume_leaves_no_file(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1, "c")
        volume.try_write(needle(1))
        for name in ("c_1.sdx", "c_1.cpd", "c_1.note"):
            (tmp_path / name).touch()
        (tmp_path / "c_1.ldb").mkdir()
        (tmp_path / "c_1.ldb" / "LOG").touch()
        with pytest.raises(VolumeNotEmpty, match=r"^DeleteVolume 1: volume not empty$"):
            await store.delete_volume(1, only_empty=True)
        await store.delete_volume(1)
        assert _names(tmp_path) == ["vol_dir.uuid"]
        with pytest.raises(VolumeNotFound, match=r"^delete volume 1 not found on disk$"):
            await store.delete_volume(1)


async def test_the_info_stays_where_an_erasure_coded_volume_needs_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.allocate(1)
        (tmp_path / "1.ecx").write_bytes(bytes(16))
        await store.delete_volume(1, only_empty=True)
        assert _names(tmp_path) == ["1.ecx", "1.vif", "vol_dir.uuid"]


async def test_a_collection_goes_without_the_others(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        for id, collection in ((1, ""), (2, "a"), (3, "a"), (4, "b")):
            await store.allocate(id, collection)
        await store.delete_collection("a")
        await store.delete_collection("unknown")
        assert [volume.id for volume in store.volumes()] == [1, 4]
        await store.delete_collection("")
        assert [volume.id for volume in store.volumes()] == [4]


async def test_another_placement_stands_in_the_info_and_is_told(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.allocate(1, placement=1)
        await store.configure(1, "010")
        volume = store.volume(1)
        assert volume is not None
        assert (volume.placement, volume.superblock.placement) == (10, 1)
        assert decode_volume_info(volume.info_path.read_bytes()).replication == "010"
        with pytest.raises(ConfigureFailed, match=r"^unexpected replication type: 999$") as refused:
            await store.configure(1, "999")
        assert refused.value.step == "replication "
        text = "^volume 9 not found on disk. Also failed to restore mount: volume 9 not found on disk$"
        with pytest.raises(ConfigureFailed, match=text):
            await store.configure(9, "000")
        volume.info_path.chmod(0o444)
        with pytest.raises(ConfigureFailed, match=r"not writable"):
            await store.configure(1, "000")
        assert store.volume(1) is not None


async def test_marks_last_only_if_they_are_to_last(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        for id in (1, 2, 3):
            (await store.allocate(id)).try_write(needle(1))
        one, two, three = store.volumes()
        await store.mark_read_only(one)
        await store.mark_read_only(two, persist=True)
        await store.mark_read_only(three, persist=True, can_delete=True)
        assert [volume.read_only for volume in store.volumes()] == [True] * 3
    async with open_store(tmp_path) as store:
        marked = {volume.id: volume.read_only for volume in store.volumes()}
        assert marked == {1: False, 2: True, 3: True}
        frozen, can_delete = store.volume(2), store.volume(3)
        assert frozen is not None
        assert can_delete is not None
        with pytest.raises(ReadOnlyVolume):
            frozen.try_delete(1, 7)
        assert can_delete.try_delete(1, 7)
        await store.mark_writable(frozen)
        assert frozen.try_write(needle(2)) is not None
    async with open_store(tmp_path) as store:
        assert {volume.id: volume.read_only for volume in store.volumes()} == {1: False, 2: False, 3: True}
        assert [volume.needles.deleted_count for volume in store.volumes() if volume.id == 3] == [2]


async def test_the_state_survives_and_its_version_is_compared(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        assert await store.set_state(ServerState(maintenance=True, version=0)) == ServerState(True, 1)
        assert (tmp_path / "state.pb").read_bytes() == b"\x08\x01\x10\x01"
        text = r"^version mismatch for VolumeServerState \(got 1, want 0\)$"
        with pytest.raises(StateMismatch, match=text):
            await store.set_state(ServerState())
    async with open_store(tmp_path) as store:
        assert store.state == ServerState(True, 1)
    (tmp_path / "state.pb").write_bytes(b"\xff")
    with pytest.raises(VolumeError, match=r"state.pb is damaged"):
        await Store(Options(directories=(DirectoryOptions(tmp_path),))).load()


async def test_a_state_that_cannot_be_written_has_not_changed(tmp_path: Path) -> None:
    class FullDisk(Files):
        def replace_text(self, path: Path, content: bytes, mode: int = 0o644) -> None:
            if path.name == "state.pb":
                raise OSError(errno.ENOSPC, "no space left on device")
            super().replace_text(path, content, mode)

    async with open_store(tmp_path, files=FullDisk()) as store:
        with pytest.raises(VolumeError, match=f"^failed to write store state to {tmp_path}/state.pb : "):
            await store.set_state(ServerState(maintenance=True))
        assert store.state == ServerState()


async def test_an_index_beside_its_data_is_used_until_it_is_moved(tmp_path: Path) -> None:
    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    index.mkdir()
    async with open_store(data) as store:
        (await store.allocate(1)).try_write(needle(5))
    async with open_store(data, index_directory=index) as store:
        volume = store.volume(1)
        assert volume is not None
        assert volume.index_directory == data
        await store.consolidate_index(1)
        volume.try_write(needle(6))
        await store.consolidate_index(1)
        assert (_names(index), "1.idx" in _names(data)) == (["1.idx"], False)
        (await store.allocate(2)).try_write(needle(7))
        with pytest.raises(VolumeNotFound, match=r"^volume 3 not found on disk$"):
            await store.consolidate_index(3)
    assert _names(index) == ["1.idx", "2.idx"]
    async with open_store(data, index_directory=index) as store:
        read = [
            bytes(volume.read(id).data)
            for id in (5, 6, 7)
            for volume in store.volumes()
            if volume.needles.get(id)
        ]
        assert read == [b"data"] * 3


async def test_an_index_moves_across_file_systems(tmp_path: Path) -> None:
    class TwoDisks(Files):
        def rename(self, source: Path, target: Path) -> None:
            if source.suffix == ".idx":
                raise OSError(errno.EXDEV, "another file system")
            super().rename(source, target)

    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    index.mkdir()
    async with open_store(data) as store:
        (await store.allocate(1)).try_write(needle(5))
    async with open_store(data, index_directory=index, files=TwoDisks()) as store:
        await store.consolidate_index(1)
        volume = store.volume(1)
        assert volume is not None
        volume.try_write(needle(6))
        assert [row.id for row in rows(volume)] == [5, 6]
    assert ("1.idx" in _names(data), _names(index)) == (False, ["1.idx"])


async def test_an_index_that_cannot_be_moved_serves_from_where_it_is(tmp_path: Path) -> None:
    class Stuck(Files):
        def rename(self, source: Path, target: Path) -> None:
            if source.suffix == ".idx":
                raise OSError(errno.EACCES, "permission denied")
            super().rename(source, target)

    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    index.mkdir()
    async with open_store(data) as store:
        await store.allocate(1)
    async with open_store(data, index_directory=index, files=Stuck()) as store:
        with pytest.raises(VolumeError, match=r"^relocate index for volume 1: move .idx: "):
            await store.consolidate_index(1)
        volume = store.volume(1)
        assert volume is not None
        assert volume.try_write(needle(1)) is not None


async def test_a_volume_whose_time_is_long_over_is_not_told_and_goes(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        for id in (1, 2):
            volume = await store.allocate(id, ttl=DAY if id == 1 else 0)
            volume.try_write(needle(1))
            volume.last_modified = NOW_S
        clock.ns += 200_000_000_000_000
        assert len(store.reports()) == 2
        store.take_limits(1 << 30, False)
        assert [report.id for report in store.reports()] == [2]
    assert not list(tmp_path.glob("1.*"))


async def test_reports_tell_what_the_master_counts(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        volume = await store.allocate(3, "c", placement=1, ttl=DAY)
        first = needle(1)
        volume.try_write(first)
        clock.ns += 5_000_000_000
        volume.try_write(needle(1, b"other"))
        (report,) = store.reports()
        assert report[:6] == (3, volume.data_bytes, "c", 2, 1, first.size)
        assert report[6:14] == (False, 1, 3, DAY, 0, NOW_S + 5, "", 0)
        volume.location.is_low = True
        assert store.reports()[0].read_only
        (disk,) = store.disk_reports()
        assert (disk.slots, disk.max_file_key, disk.uuid) == (1, 1, (tmp_path / "vol_dir.uuid").read_text())
        volume.data_path.unlink()
        assert store.reports() == []


async def test_an_automatic_maximum_is_worked_out_from_the_free_space(tmp_path: Path) -> None:
    store = Store(Options(directories=(DirectoryOptions(tmp_path, max_volumes=0),)))
    await store.load()
    assert store.disk_reports()[0].max_volumes == 0
    assert store.take_limits(1 << 20, False)
    assert not store.take_limits(0, False)
    (disk,) = store.disk_reports()
    assert disk.slots == disk.max_volumes == disk.free_bytes >> 20
    await store.close()
