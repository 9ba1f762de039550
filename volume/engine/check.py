"""Reads every byte of the volumes in a directory, and says what is wrong (docs/volume.md 8)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from less_sync.volume.engine.compaction import OldRecords
from less_sync.volume.engine.errors import DamagedRecord, VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.offline import PAUSE_S, Advance, OfflineVolume, bases_in, is_base, look_at
from less_sync.volume.engine.swap import VacuumPaths
from less_sync.volume.engine.walk import walk
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.needle import record_length
from less_sync.volume.format.rows import Row
from less_sync.volume.format.volume_info import decode_volume_info

DAMAGED_NAMED_MAX: Final = 20
"""Needles of one volume that are named; the others are counted."""


@dataclass(slots=True)
class Checked:
    """One volume, or one file that is none."""

    name: str
    wrong: list[str] = field(default_factory=list)
    """What an operator should know of."""
    repairs: list[str] = field(default_factory=list)
    """What a start would do, in its order. Nothing of it is done here."""
    notes: list[str] = field(default_factory=list)
    """What is no fault."""
    needles: int = 0
    content_bytes: int = 0
    damaged: int = 0

    def damage(self, text: str) -> None:
        """Count a needle that cannot be read, and name it if not too many are."""
        self.damaged += 1
        if self.damaged <= DAMAGED_NAMED_MAX:
            self.wrong.append(text)


def bytes_in(directory: Path) -> int:
    """How much there is to read.

    Raises:
        OSError: the directory cannot be read.
    """
    return sum(
        path.stat().st_size for path in directory.iterdir() if path.suffix == ".dat" and path.is_file()
    )


def check_directory(
    files: Files,
    directory: Path,
    index_directory: Path | None = None,
    *,
    configured_width: int = 4,
    advance: Advance = lambda amount: None,
    pause_s: float = PAUSE_S,
) -> Iterator[Checked]:
    """Check one volume after the other; lone data files come last.

    A volume that cannot be read is one more finding and does not end the check.

    Raises:
        OSError: the directory cannot be read.
    """
    index_directory = index_directory or directory
    bases, lone = bases_in(directory)
    for base in bases:
        checked = Checked(base)
        try:
            _look_beside(directory, index_directory, base, checked)
            if any((where / f"{base}.ecx").exists() for where in (directory, index_directory)):
                checked.notes.append("erasure-coded: not checked")
            else:
                found = look_at(
                    files,
                    directory,
                    index_directory,
                    base,
                    configured_width=configured_width,
                    pause_s=pause_s,
                )
                _judge(found, checked)
                _read_all(files, found, checked, advance)
        except (VolumeNotLoaded, OSError) as error:
            checked.wrong.append(f"a start would not serve it: {error}")
        yield checked
    for base in lone:
        yield _lone(base)


def _lone(base: str) -> Checked:
    if not is_base(base):
        return Checked(f"{base}.dat", notes=["not the name of a volume"])
    return Checked(
        f"{base}.dat",
        wrong=["neither an index nor a volume info is beside it: no server sees it"],
        repairs=[f"none; with an empty {base}.idx beside it a start would build its index"],
    )


def _look_beside(directory: Path, index_directory: Path, base: str, checked: Checked) -> None:
    """What a start would do before it opens the volume."""
    if (directory / f"{base}.note").exists():
        checked.wrong.append("a copy of this volume was never finished")
        checked.repairs.append("remove all its files")
    info = directory / f"{base}.vif"
    if info.exists() and info.stat().st_size and not _is_understood(info):
        checked.wrong.append(
            "its volume info cannot be read: a read-only mark or a remote copy may be forgotten"
        )
    sides = [
        VacuumPaths(directory / f"{base}.dat", where / f"{base}.idx")
        for where in (directory, index_directory)
    ]
    left = any(path.exists() for paths in sides for path in (paths.new_data, paths.new_index))
    if sides[0].marker.exists():
        checked.wrong.append("a vacuum was interrupted after its new files were complete")
        checked.repairs.append("put the compacted files in place" if left else "remove the marker")
    elif left:
        checked.notes.append("a vacuum is under way, or was interrupted; a start would remove its files")


def _is_understood(info: Path) -> bool:
    try:
        decode_volume_info(info.read_bytes())
    except (FormatError, OSError):
        return False
    return True


def _judge(volume: OfflineVolume, checked: Checked) -> None:
    """Say in words what the plan of a repair says in figures."""
    repair = volume.repair
    dropped = _counted(repair.rows_dropped, "row")
    said = (
        (repair.index_bytes < 0, "the index is missing", "build the index from the records"),
        (repair.half_row_bytes, "the index ends in half a row", "cut that half row"),
        (repair.rows_dropped, f"no record for {dropped} at the end of the index", f"drop {dropped}"),
        (
            repair.rows_added and repair.index_bytes >= 0,
            f"no row for {_counted(repair.needles_found, 'file')} "
            f"and {_counted(repair.deletions_found, 'deletion')}",
            "give each of them its row",
        ),
        (
            repair.cut_bytes,
            f"{_counted(repair.cut_bytes, 'byte')} at the end of the data are no whole record",
            "cut them, with a copy beside the volume unless they are all zeros",
        ),
        (repair.doubt, repair.doubt, "leave the data as it is, and take no writes"),
        (
            volume.head_rows,
            f"{_counted(len(volume.head_rows), 'row')} at the head of the index written over",
            "put them back",
        ),
    )
    frozen = volume.info.read_only or not volume.paths.data.stat().st_mode & 0o200
    for applies, wrong, done in said:
        if applies:
            checked.wrong.append(wrong)
            if not frozen:
                checked.repairs.append(done)
    if frozen and checked.wrong:
        checked.repairs.append("repair nothing: the volume is marked read-only")


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def _read_all(files: Files, volume: OfflineVolume, checked: Checked, advance: Advance) -> None:
    """Read the file from front to back, live records and dead ones."""
    data = files.open(volume.paths.data, os.O_RDONLY)
    try:
        records = volume.records(files, data)
        version, position, unknown = volume.superblock.version, volume.superblock.end, 0
        for row in volume.live_by_offset(files):
            unknown += _read_dead(files, data, version, position, row.offset)
            if row.offset < position:
                checked.damage(f"needle {row.id:x} at {row.offset} lies within the one before it")
            elif row.offset:
                fault = _fault(records, row)
                if fault:
                    checked.damage(f"needle {row.id:x} at {row.offset}: {fault}")
            checked.needles += 1
            checked.content_bytes += row.size
            end = row.offset + record_length(row.size, version)
            advance(max(0, end - position))
            position = max(position, end)
        end = min(volume.repair.data_bytes, volume.repair.data_end)
        unknown += _read_dead(files, data, version, position, end)
        advance(max(0, end - position))
    finally:
        files.close(data)
    if checked.damaged > DAMAGED_NAMED_MAX:
        checked.wrong.append(f"and {checked.damaged - DAMAGED_NAMED_MAX} more needles")
    if unknown:
        checked.notes.append(f"{unknown} bytes between the records belong to nothing; a vacuum removes them")


def _read_dead(files: Files, data: int, version: int, start: int, end: int) -> int:
    """Read what no live row points at. How many bytes of it are no record that is whole."""
    if end <= start:
        return 0
    for record in walk(files, data, version, start, end):
        start = record.end
    return max(0, end - start)


def _fault(records: OldRecords, row: Row) -> str:
    try:
        found = records.verified(row, records.locate(row))
    except DamagedRecord as error:
        return str(error)
    return "" if found.id == row.id else f"the record there is that of needle {found.id:x}"
