"""From where a tail has to send."""

from pathlib import Path

import pytest

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.engine.tail import position_after
from less_sync.volume.format.rows import TOMBSTONE_SIZE
from tests.volume.engine.open_volumes import open_volume
from tests.volume.engine.plain_volume import Plain, rows_of
from tests.volume.volume_files import WIDTHS, copy_volume


@pytest.mark.parametrize("width", WIDTHS)
async def test_from_each_time_on_the_next_record_is_found(width: int, tmp_path: Path) -> None:
    plain = Plain.new(width=width)
    offsets = [plain.put(id_, b"content") for id_ in (5, 3, 9, 3, 1)]
    plain.delete(9)
    offsets.append(rows_of(plain.write(tmp_path), width)[-1].offset)
    volume = open_volume(tmp_path, width=width)
    found = [position_after(volume, since) for since in range(len(offsets) + 2)]
    assert found == [*offsets, None, None]
    await volume.close()


async def test_rows_without_a_record_are_passed_over(tmp_path: Path) -> None:
    for gone_at in range(6):
        plain = Plain.new()
        offsets = []
        for id_ in range(1, 6):
            if id_ - 1 == gone_at:
                for _ in range(3):
                    plain.row(77, 0, TOMBSTONE_SIZE)
            offsets.append(plain.put(id_, b"content"))
        plain.write(tmp_path)
        volume = open_volume(tmp_path)
        assert [position_after(volume, since) for since in range(7)] == [*offsets, None, None]
        await volume.close()


async def test_an_empty_volume_has_nothing(tmp_path: Path) -> None:
    Plain.new().write(tmp_path)
    volume = open_volume(tmp_path)
    assert position_after(volume, 0) is None
    await volume.close()


async def test_after_a_vacuum_the_answer_is_that_of_existing_servers(tmp_path: Path) -> None:
    directory = copy_volume("vacuum_after", tmp_path)
    volume = open_volume(directory, "10")
    first = rows_of(VolumePaths(directory / "10.dat", directory / "10.idx"))[0]
    since = volume.read_at(first.offset, first.size).append_at_ns
    assert position_after(volume, since) == 3952
    await volume.close()


@pytest.mark.parametrize("name", ["version_1", "version_2"])
async def test_without_times_there_is_never_anything_after(name: str, tmp_path: Path) -> None:
    base = {"version_1": "5", "version_2": "4"}[name]
    volume = open_volume(copy_volume(name, tmp_path), base)
    assert position_after(volume, 0) is None
    await volume.close()


async def test_a_damaged_record_on_the_way_is_an_error_that_names_it(tmp_path: Path) -> None:
    plain = Plain.new()
    offset = plain.put(1, b"content")
    plain.data[offset + 21] ^= 1
    plain.write(tmp_path)
    volume = open_volume(tmp_path)
    with pytest.raises(VolumeError, match="read entry 0 offset 8: invalid CRC"):
        position_after(volume, 0)
    await volume.close()
