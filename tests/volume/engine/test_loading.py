"""What a start makes of a directory, and that nothing in it can keep the others from being served."""

import errno
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.volume.engine.errors import VolumeNotLoaded, VolumeSizeExceeded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.load import Loader, VolumeFiles
from less_sync.volume.format.rows import OFFSETS_BYTES, encode_row
from less_sync.volume.format.superblock import Superblock
from less_sync.volume.format.volume_info import decode_volume_info
from tests.volume.engine.making import Clock, needle, open_store, rows
from tests.volume.volume_files import copy_volume


async def _make(directory: Path, *names: tuple[int, str]) -> None:
    """Volumes with one needle each."""
    directory.mkdir(exist_ok=True)
    async with open_store(directory) as store:
        for id, collection in names:
            (await store.allocate(id, collection)).try_write(needle(1))


async def _loaded(directory: Path, index_directory: Path | None = None) -> list[tuple[str, int]]:
    async with open_store(directory, index_directory=index_directory) as store:
        return sorted((volume.collection, volume.id) for volume in store.volumes())


async def test_the_identity_of_a_directory_is_made_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        made = store.locations[0].uuid
    path = tmp_path / "vol_dir.uuid"
    assert (path.read_text(), len(made), str(UUID(made))) == (made, 36, made)
    async with open_store(tmp_path) as store:
        assert store.locations[0].uuid == made
    path.write_text("")
    async with open_store(tmp_path) as store:
        assert store.locations[0].uuid == path.read_text() != made


async def test_an_index_or_an_info_makes_a_volume_visible_and_data_alone_does_not(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""), (2, "a_b"), (3, ""))
    (tmp_path / "1.idx").unlink()
    (tmp_path / "a_b_2.vif").unlink()
    (tmp_path / "3.idx").unlink()
    (tmp_path / "3.vif").unlink()
    async with open_store(tmp_path) as store:
        assert sorted((volume.collection, volume.id) for volume in store.volumes()) == [("", 1), ("a_b", 2)]
        assert [bytes(volume.read(1).data) for volume in store.volumes()] == [b"data"] * 2
    assert decode_volume_info((tmp_path / "a_b_2.vif").read_bytes()).version == 3
    assert (tmp_path / "3.dat").exists()


async def test_what_is_no_volume_is_passed_over(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""))
    for name in ("x.idx", "_.vif", "c_x.idx", "007.idx", "18446744073709551616.vif", "4.vif"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c\udcff_8.idx").write_bytes(b"")  # a volume but for its name, which is no text
    (tmp_path / "c\udcff_8.dat").write_bytes((tmp_path / "1.dat").read_bytes())
    (tmp_path / "5.idx").mkdir()
    (tmp_path / "6.vif").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    assert await _loaded(tmp_path) == [("", 1)]
    assert sorted(tmp_path.iterdir()) == before


async def test_a_broken_volume_is_left_alone_and_the_others_are_served(tmp_path: Path) -> None:
    await _make(tmp_path, *((id, "") for id in range(1, 8)))
    spoilt = {
        "1.dat": b"",
        "2.dat": b"abc",
        "3.dat": b"\x09" + bytes(7),
        "4.vif": b'{"files": [{"backendType": "s3", "backendId": "x"}]}',
        "5.vif": b'{"bytesOffset": 6}',
        "6.vif": b"garbage",
    }
    for name, content in spoilt.items():
        (tmp_path / name).write_bytes(content)
    assert await _loaded(tmp_path) == [("", 6), ("", 7)]
    for name, content in spoilt.items():
        assert (tmp_path / name).read_bytes() == content
    assert all((tmp_path / f"{id}.idx").stat().st_size == 16 for id in range(1, 8))


async def test_an_unfinished_copy_is_removed(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""), (2, "c"))
    (tmp_path / "c_2.note").write_text("copying from elsewhere")
    assert await _loaded(tmp_path) == [("", 1)]
    assert not list(tmp_path.glob("c_2*"))


async def test_files_of_an_erasure_coded_volume_are_left_alone(tmp_path: Path) -> None:
    directory = copy_volume("ec_10_4", tmp_path)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert await _loaded(directory) == []
    (directory / "vol_dir.uuid").unlink()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


async def test_files_that_appear_later_are_loaded_when_asked_for(tmp_path: Path) -> None:
    await _make(tmp_path / "a", (1, ""))
    await _make(tmp_path / "b", (2, ""))
    async with open_store(tmp_path / "a") as store:
        first = store.volume(1)
        for path in (tmp_path / "b").glob("2.*"):
            shutil.copy(path, tmp_path / "a")
        await store.reload()
        assert [volume.id for volume in store.volumes()] == [1, 2]
        assert store.volume(1) is first


async def test_with_an_index_directory_the_info_is_what_makes_a_volume_visible(tmp_path: Path) -> None:
    data, index = tmp_path / "data", tmp_path / "index"
    data.mkdir()
    index.mkdir()
    async with open_store(data, index_directory=index) as store:
        (await store.allocate(1, "c")).try_write(needle(1))
    assert sorted(path.name for path in index.iterdir()) == ["c_1.idx"]
    assert await _loaded(data, index) == [("c", 1)]
    (data / "c_1.vif").unlink()
    assert await _loaded(data, index) == []


async def test_a_data_file_that_may_not_be_written_is_served_read_only(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""))
    (tmp_path / "1.dat").chmod(0o444)
    (tmp_path / "1.idx").write_bytes((tmp_path / "1.idx").read_bytes() + b"half")
    assert await _loaded(tmp_path) == []
    (tmp_path / "1.idx").write_bytes((tmp_path / "1.idx").read_bytes()[:16])
    async with open_store(tmp_path) as store:
        volume = store.volume(1)
        assert volume is not None
        assert volume.no_write_or_delete
        assert bytes(volume.read(1).data) == b"data"
        await store.mark_writable(volume)
        assert volume.read_only


async def test_a_row_that_points_beyond_the_data_makes_a_volume_read_only(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""))
    index = tmp_path / "1.idx"
    index.write_bytes(encode_row(9, 1 << 20, 100, 4) + index.read_bytes())
    async with open_store(tmp_path) as store:
        volume = store.volume(1)
        assert volume is not None
        assert volume.read_only
        assert bytes(volume.read(1).data) == b"data"


async def test_the_placement_of_the_info_counts_and_one_that_is_none_does_not(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""), (2, ""))
    for id, placement in ((1, "020"), (2, "xyz")):
        (tmp_path / f"{id}.vif").write_text(f'{{"replication": "{placement}"}}')
    async with open_store(tmp_path) as store:
        assert {volume.id: volume.placement for volume in store.volumes()} == {1: 20, 2: 0}


async def test_a_volume_goes_on_after_the_last_append_time_of_its_file(tmp_path: Path) -> None:
    await _make(tmp_path, (1, ""))
    clock = Clock()
    late = clock.ns
    clock.ns -= 10
    async with open_store(tmp_path, clock=clock) as store:
        volume = store.volume(1)
        assert volume is not None
        assert volume.last_append_ns == late
        volume.try_write(needle(2))
        assert volume.read(2).append_at_ns == late + 1


async def test_a_full_volume_takes_deletions_after_a_start_as_before(tmp_path: Path) -> None:
    for begin in range(3):
        async with open_store(tmp_path) as store:
            volume = store.volume(1) or await store.allocate(1)
            assert not volume.read_only
            if not begin:
                for id_ in range(1, 5):
                    volume.try_write(needle(id_))
                volume.data.end = OFFSETS_BYTES[4] - 8
                volume.try_write(needle(9, b"last"))
            with pytest.raises(VolumeSizeExceeded):
                volume.try_write(needle(8))
            assert volume.try_delete(begin + 1, 7)
            assert volume.try_write(needle(10 + begin, b"")) is not None
            assert [bytes(volume.read(id_).data) for id_ in (4, 9)] == [b"data", b"last"]
            assert len(rows(volume)) == 5 + 2 * (begin + 1)


async def test_a_superblock_with_more_behind_it_is_served(tmp_path: Path) -> None:
    superblock = Superblock(extra=b"\x0a\x06\x08\x0a\x10\x04\x18\x01")
    (tmp_path / "1.dat").write_bytes(superblock.encode())
    (tmp_path / "1.idx").touch()
    for _ in range(2):
        async with open_store(tmp_path) as store:
            volume = store.volume(1)
            assert volume is not None
            written = volume.try_write(needle(1))
            assert written is not None
            assert written.offset == 16
            assert bytes(volume.read(1).data) == b"data"


def test_a_volume_without_an_index_that_may_not_be_written_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "1.dat").write_bytes(Superblock().encode() + bytes(32))
    (tmp_path / "1.vif").write_text('{"readOnly": true}')
    with pytest.raises(VolumeNotLoaded, match=r"its index 1.idx is missing, and it is read-only"):
        Loader(Files(), Clock(), 4).load(VolumeFiles(tmp_path, tmp_path, "1"))


async def test_a_vacuum_that_cannot_be_finished_keeps_no_other_volume_from_being_served(
    tmp_path: Path,
) -> None:
    class Stuck(Files):
        def rename(self, source: Path, target: Path) -> None:
            if source.suffix == ".cpd":
                raise OSError(errno.EACCES, "permission denied")
            super().rename(source, target)

    directory = copy_volume("vacuum_committed_marker", tmp_path)
    await _make(directory.with_name("more"), (1, ""))
    for path in directory.with_name("more").glob("1.*"):
        shutil.copy(path, directory)
    async with open_store(directory, files=Stuck()) as store:
        assert store.volume(1) is not None
    async with open_store(directory) as store:
        finished = store.volume(10)
        assert finished is not None
        assert (finished.revision, finished.needles.file_count) == (1, 20)
