"""Which width the offsets of an index have."""

from pathlib import Path

import pytest

from less_sync.volume.engine.errors import VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.engine.width import choose_width
from tests.volume.engine.plain_volume import Plain
from tests.volume.volume_files import INDEX, WIDTHS, copy_volume

CRASHED = sorted(name for name in INDEX if name.startswith("crash/") and name != "crash/vif_bo5")
UNTELLING = {"crash/dat_0bytes", "crash/dat_3bytes", "crash/idx_empty", "crash/idx_missing"}
"""No row in them."""


def _width(paths: VolumePaths, stated: int, configured: int) -> int:
    return choose_width(Files(), paths, version=3, stated=stated, configured=configured)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CRASHED)
def test_damage_does_not_change_what_the_volume_info_states(name: str, width: int, tmp_path: Path) -> None:
    directory = copy_volume(name, tmp_path, width)
    paths = VolumePaths(directory / "1.dat", directory / "1.idx")
    assert _width(paths, width, 4) == width
    assert _width(paths, width, 5) == width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name in CRASHED if name not in UNTELLING])
def test_where_nothing_is_stated_the_rows_tell_even_when_damaged(
    name: str, width: int, tmp_path: Path
) -> None:
    directory = copy_volume(name, tmp_path, width)
    paths = VolumePaths(directory / "1.dat", directory / "1.idx")
    assert _width(paths, 0, 4) == width
    assert _width(paths, 0, 5) == width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_volume_info_that_states_the_other_width_stops_the_load(width: int, tmp_path: Path) -> None:
    directory = copy_volume("crash/ok", tmp_path, width)
    paths = VolumePaths(directory / "1.dat", directory / "1.idx")
    with pytest.raises(VolumeNotLoaded, match=f"in the index they have {width}"):
        _width(paths, 9 - width, 4)


def test_a_third_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeNotLoaded, match="offsets of 6 bytes"):
        _width(Plain.new().write(tmp_path), 6, 4)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_length_that_is_whole_in_both_widths_is_told_by_the_ids(width: int, tmp_path: Path) -> None:
    plain = Plain.new(width=width)
    for id_ in range(1, 16 * 17 // (12 + width) + 1):
        plain.put(id_, b"content")
    paths = plain.write(tmp_path)
    assert paths.index.stat().st_size == 16 * 17
    assert _width(paths, 0, 4) == _width(paths, 0, 5) == _width(paths, width, 4) == width


def test_without_rows_the_configured_width_holds(tmp_path: Path) -> None:
    paths = Plain.new().write(tmp_path)
    assert [_width(paths, 0, 4), _width(paths, 0, 5)] == [4, 5]
    paths.index.unlink()
    assert [_width(paths, 0, 4), _width(paths, 0, 5)] == [4, 5]
