"""What a start makes of the files of a vacuum."""

from pathlib import Path

import pytest

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.engine.swap import finish_or_roll_back
from less_sync.volume.format.superblock import decode_superblock
from tests.volume.engine.open_volumes import (
    FailingSteps,
    names_in,
    raise_at,
)
from tests.volume.engine.plain_volume import contents_of
from tests.volume.volume_files import copy_volume


@pytest.mark.parametrize(
    "name",
    [
        "vacuum_uncommitted",
        "vacuum_committed_marker",
        "vacuum_half_swapped",
        "crash/cpc_alone",
        "crash/cp_orphans",
    ],
)
def test_a_start_finishes_or_rolls_back_what_a_crash_left(name: str, tmp_path: Path) -> None:
    directory = copy_volume(name, tmp_path)
    base = "1" if name.startswith("crash") else "10"
    (directory / f"{base}.ldb").mkdir()
    (directory / f"{base}.ldb" / "LOG").write_text("stale")
    assert finish_or_roll_back(Files(), directory, directory, base)
    assert not finish_or_roll_back(Files(), directory, directory, base)
    assert names_in(directory) == [f"{base}.dat", f"{base}.idx", f"{base}.vif"]
    finished = name in {"vacuum_committed_marker", "vacuum_half_swapped"}
    revision = decode_superblock((directory / f"{base}.dat").read_bytes()).revision
    assert revision == (1 if finished else 0)
    paths = VolumePaths(directory / f"{base}.dat", directory / f"{base}.idx")
    assert len(contents_of(paths)) > 3


def test_an_index_elsewhere_is_renamed_before_the_marker_goes(tmp_path: Path) -> None:
    source = copy_volume("vacuum_committed_marker", tmp_path)
    elsewhere = tmp_path / "index"
    elsewhere.mkdir()
    for suffix in (".idx", ".cpx"):
        (source / f"10{suffix}").rename(elsewhere / f"10{suffix}")
    files = FailingSteps()
    files.before = raise_at("sync directory")
    with pytest.raises(OSError, match="injected"):
        finish_or_roll_back(files, source, elsewhere, "10")
    assert names_in(source) == ["10.cpc", "10.dat", "10.vif"]
    assert finish_or_roll_back(Files(), source, elsewhere, "10")
    assert names_in(source) == ["10.dat", "10.vif"]
    assert names_in(elsewhere) == ["10.idx"]


def test_a_marker_beside_data_without_an_index_decides_nothing(tmp_path: Path) -> None:
    directory = copy_volume("vacuum_uncommitted", tmp_path)
    (directory / "10.cpx").unlink()
    (directory / "10.cpc").touch()
    before = (directory / "10.dat").read_bytes()
    assert finish_or_roll_back(Files(), directory, directory, "10")
    assert names_in(directory) == ["10.dat", "10.idx", "10.vif"]
    assert (directory / "10.dat").read_bytes() == before
