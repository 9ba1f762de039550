"""The recorded volumes, in both widths: what is read, and what is counted, is as it was recorded."""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from less_sync.volume.engine.errors import DamagedRecord, NeedleNotFound
from less_sync.volume.engine.store import Store
from less_sync.volume.format.fid import parse_needle
from less_sync.volume.format.needle import MANIFEST, Needle
from less_sync.volume.format.placement import placement_of
from tests.volume.engine.making import Clock, needle, open_store
from tests.volume.volume_files import INDEX, WIDTHS, copy_volume

_RECORDED_S: Final = 1_795_700_000
_FID: Final = re.compile(r"(\d+)[,/]([0-9a-fA-F_]+)")
_NOT_OURS: Final = "ec_10_4"


def _clock(directory: Path) -> Clock:
    """The time of the recording, which that of the data files does not lie behind."""
    for path in directory.glob("*.dat"):
        os.utime(path, (_RECORDED_S, _RECORDED_S))
    clock = Clock()
    clock.ns = _RECORDED_S * 1_000_000_000
    return clock


def _answer(store: Store, path: str) -> tuple[int, Needle | None]:
    """The status that a request for a path would have, and what would be sent."""
    place = _FID.match(path)
    assert place is not None
    volume = store.volume(int(place[1]))
    id_, cookie = parse_needle(place[2])
    try:
        found = volume.read(id_, deleted="readDeleted" in path) if volume is not None else None
    except NeedleNotFound:
        return 404, None
    except DamagedRecord:
        return 500, None
    if found is None or (found.size and found.cookie != cookie):
        return 404, None
    return 200, found


def _compare(store: Store, reads: Mapping[str, Any]) -> None:
    """Hold needles against recorded answers, bytes too where nothing stands between the two."""
    for path, recorded in reads.items():
        status, found = _answer(store, path)
        assert status == recorded["status"], path
        is_stored_so = "content-encoding" in recorded["headers"] or path.endswith("#gzip")
        if found is None or found.flags & MANIFEST or (found.flags & 1 and not is_stored_so):
            continue
        data = bytes(found.data)
        if "sha256" in recorded:
            assert hashlib.sha256(data).hexdigest() == recorded["sha256"], path
        else:
            assert data == base64.b64decode(recorded["body_b64"]), path
        if data:
            assert recorded["headers"]["etag"] == f'"{found.checksum:08x}"', path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name in INDEX if not name.startswith("crash/")])
async def test_a_recorded_volume_counts_and_reads_as_recorded(tmp_path: Path, name: str, width: int) -> None:
    directory = copy_volume(name, tmp_path, width)
    before = sorted(path.name for path in directory.iterdir())
    async with open_store(directory, clock=_clock(directory)) as store:
        if name == _NOT_OURS:
            assert set(before) <= {path.name for path in directory.iterdir()}
            return
        counted = []
        for volume in store.volumes():
            names = ("dc", "rack", "node")
            placed = dict(zip(names, placement_of(volume.placement), strict=True))
            counted.append(
                {
                    "Id": volume.id,
                    "Collection": volume.collection,
                    "CompactRevision": volume.revision,
                    "Size": volume.content_bytes,
                    "FileCount": volume.needles.file_count,
                    "DeleteCount": volume.needles.deleted_count,
                    "DeletedByteCount": volume.needles.deleted_bytes,
                    "ReadOnly": volume.read_only,
                    "ReplicaPlacement": {name: count for name, count in placed.items() if count},
                    "Ttl": {"Count": volume.ttl >> 8, "Unit": volume.ttl & 0xFF},
                    "Version": volume.version,
                }
            )
            assert volume.offset_bytes == width
        assert counted == INDEX[name]["volumes"]
        _compare(store, INDEX[name]["reads"])
        assert not [path for path in directory.iterdir() if path.suffix in {".sdx", ".cpd", ".cpx", ".cpc"}]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name in INDEX if name.startswith("crash/")])
async def test_a_damaged_volume_serves_what_can_be_served(tmp_path: Path, name: str, width: int) -> None:
    directory = copy_volume(name, tmp_path, width)
    (directory / "9_not a volume.idx").mkdir()
    async with open_store(directory, clock=_clock(directory)) as store:
        recorded = INDEX[name]
        if name == "crash/vif_bo5":
            # Rows of 4 bytes under a `.vif` that says 5 are left alone; rows of 5 are what it says.
            assert (store.volume(1) is not None) is (width == 5)
        elif "recovered" in recorded:
            answers = {path: _answer(store, path)[0] for path in recorded["recovered"]["status"]}
            assert answers == recorded["recovered"]["status"]
            volume = store.volume(1)
            assert volume is not None
            assert volume.try_write(needle(77)) is not None
            assert bytes(volume.read(77).data) == b"data"
        else:
            _compare(store, recorded["reads"])


@pytest.mark.parametrize("name", ["crash/vif_old", "crash/vif_readonly"])
async def test_a_volume_that_is_marked_read_only_counts_as_recorded(tmp_path: Path, name: str) -> None:
    async with open_store(copy_volume(name, tmp_path)) as store:
        volume = store.volume(1)
        (listed,) = INDEX[name]["go_server"]["volumes"]
        assert volume is not None
        needles = volume.needles
        assert listed["ReadOnly"] is volume.read_only is True
        assert (listed["FileCount"], listed["DeleteCount"]) == (needles.file_count, needles.deleted_count)
        assert (listed["Size"], listed["DeletedByteCount"]) == (needles.content_bytes, needles.deleted_bytes)
