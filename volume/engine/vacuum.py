"""Vacuum: a volume is written anew without what was overwritten, deleted or has expired.

`compact` copies while reads and writes go on; `commit` adds what was written meanwhile, and puts the new
files in the place of the old ones. The new files are opened and their map is built before anything is
renamed, so that the change is one assignment on the event loop: there is no moment without files to serve
from. Whatever fails before the renames leaves the old files as they are; what fails behind them leaves the
new ones, which hold the same.

Concurrency: `is_compacting` keeps a second vacuum, an unmount and a deletion away, and none begins once
somebody waits to close the volume. `commit` holds the turn
for its last pass, so nothing is written that it does not see. Crashes: see `engine.swap`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from less_sync.volume.engine.compaction import (
    Compacted,
    Compaction,
    NewFiles,
    OldRecords,
    catch_up,
    row_count,
)
from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.errors import VolumeClosed, VolumeError
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_walk import walk_index
from less_sync.volume.engine.memory import LARGE_BYTES, return_memory
from less_sync.volume.engine.needle_map import NeedleMap
from less_sync.volume.engine.pace import Pace
from less_sync.volume.engine.swap import (
    SwapUndecided,
    SwapUnfinished,
    VacuumPaths,
    remove_new_files,
    settle,
    swap,
)
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Loaded
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.format.rows import ALIGNMENT
from less_sync.volume.format.superblock import SUPERBLOCK_BYTES, Superblock
from less_sync.volume.logs import Logger

REPORT_BYTES: Final = 128 << 20
"""How far the offset of the last copied record has to be above the last one reported."""
PASSES_MAX: Final = 4
"""How often `commit` catches up before it makes writers wait."""
PASS_ROWS_MIN: Final = 1_000
"""With fewer rows than that to catch up with, writers wait at once."""
_REVISIONS: Final = 1 << 16
_log: Final = Logger(__name__)
T = TypeVar("T")

Progress = Callable[[int], Awaitable[None]]
"""Told an offset in the old data file."""


class CommitResult(NamedTuple):
    """Whether the volume took no writes before, and the size of its data file now."""

    was_read_only: bool
    data_bytes: int


class _Begin(NamedTuple):
    """What a compaction has to find: the length of the index, and the sum of the sizes of what is live."""

    index_bytes: int
    live_bytes: int


def garbage_ratio(volume: Volume) -> float:
    """How much of what was ever written is overwritten or deleted, from 0 to 1."""
    needles = volume.needles
    if not needles.content_bytes:
        return 0.0
    if needles.deleted_count and not needles.deleted_bytes:
        return (volume.data_bytes - needles.content_bytes - SUPERBLOCK_BYTES) / volume.data_bytes
    return needles.deleted_bytes / needles.content_bytes


async def compact(
    volume: Volume,
    *,
    preallocate: int = 0,
    bytes_per_s: int = 0,
    progress: Progress | None = None,
) -> None:
    """Copy what is live to new files beside the old ones. Returns at once if that is under way.

    Damaged records are left behind with a warning, those whose TTL is over without one.

    Args:
        preallocate: bytes to reserve for the new data file.
        bytes_per_s: how much may be copied in a second; 0: no limit.

    Raises:
        VolumeClosed: it is.
        VolumeError: too little space is free, the index was changed from outside, or `progress` raised.
        OSError: the disk failed; the new files are removed.
    """
    _require_staying(volume)
    if volume.is_compacting:
        return
    if volume.is_remote:
        raise VolumeError(f"volume {volume.id} has its data in a remote store")
    volume.is_compacting = True
    volume.compacted = None
    paths = _paths(volume)
    data, index = volume.data.retain(), volume.index.retain()
    try:
        await _in_thread(_require_space, volume, preallocate)
        await _in_thread(settle, volume.files, paths)
        async with volume.turn:
            begin = _Begin(
                row_count(index.end, volume.offset_bytes) * volume.row_bytes,
                volume.needles.content_bytes - volume.needles.deleted_bytes,
            )
        await _in_thread(_require_rows, volume, index, begin.index_bytes)
        await _in_thread(_sync, data, index)
        found = await _copy(volume, paths, data, index, begin, preallocate, bytes_per_s, progress)
        volume.compacted = found
    except BaseException:
        await _in_thread(_remove_quietly, volume.files, paths)
        raise
    finally:
        volume.is_compacting = False
        data.release()
        index.release()
    await _return_memory(volume)


async def commit(volume: Volume, *, stopping: bool = False) -> CommitResult:
    """Serve from the compacted files, with all that was written since `compact` began.

    Returns at once if a vacuum is under way. Writers wait while the last of it is done, readers never.

    Raises:
        VolumeClosed: it is.
        VolumeError: nothing is compacted, or the server is stopping.
        OSError, VolumeError: the disk failed. The volume serves as before, and the new files are removed; or,
            when they were in place already (`SwapUnfinished`), from them.
    """
    if stopping:
        raise VolumeError(f"volume id {volume.id} skips compact because volume is stopping")
    _require_staying(volume)
    was_read_only = volume.read_only
    if not volume.is_compacting:
        volume.is_compacting = True
        try:
            await to_the_end(_commit(volume))
        finally:
            volume.is_compacting = False
        await _return_memory(volume)
    return CommitResult(was_read_only, volume.data_bytes)


async def cleanup(volume: Volume) -> None:
    """Remove what a compaction that is not to be committed has left.

    Raises:
        VolumeClosed: it is.
        VolumeError: a compaction is under way, or a commit has been decided.
        OSError: the disk refused.
    """
    _require_staying(volume)
    paths = _paths(volume)
    if volume.is_compacting:
        raise VolumeError(f"volume {volume.id} is compacting")
    volume.is_compacting = True
    try:
        if await _in_thread(paths.marker.exists):
            raise VolumeError(f"volume {volume.id}: refusing cleanup while commit marker present")
        volume.compacted = None
        await _in_thread(remove_new_files, volume.files, paths)
    finally:
        volume.is_compacting = False


def _require_staying(volume: Volume) -> None:
    """Begin nothing with a volume that is about to be closed."""
    if volume.is_closing:
        raise VolumeClosed(f"volume {volume.id} is closed")


async def _copy(
    volume: Volume,
    paths: VacuumPaths,
    data: DataFile,
    index: DataFile,
    begin: _Begin,
    preallocate: int,
    bytes_per_s: int,
    progress: Progress | None,
) -> Compacted:
    files, width = volume.files, volume.offset_bytes
    superblock = _next_superblock(volume)
    rows = await _in_thread(read_up_to, files, index.fd, begin.index_bytes, 0)
    opened: list[NewFiles] = []
    try:
        # Kept by the thread and not by this task, which may be cancelled while the thread opens them.
        await _in_thread(_begin, files, paths, width, preallocate, opened)
        (new,) = opened
        compaction = await _in_thread(
            Compaction, OldRecords(files, data.fd, volume.version, width), new, rows, superblock
        )
        del rows
        pace = Pace(bytes_per_s)
        reported = dropped = expired = body_bytes = 0
        while True:
            volume.require_open()
            batch = await _in_thread(compaction.step, volume.clock())
            body_bytes += batch.body_bytes
            dropped += batch.dropped
            expired += batch.expired
            if batch.is_last:
                break
            if progress is not None and batch.offset > reported + REPORT_BYTES:
                reported = batch.offset
                await _report(progress, reported)
            await asyncio.sleep(pace.pause_s(batch.copied_bytes))
        if body_bytes < begin.live_bytes:
            # As in `_require_rows`: the index is not the one that was written.
            raise VolumeError(
                f"volume {volume.id} unexpected new data size: {body_bytes} "
                f"does not match size of content minus deleted: {begin.live_bytes}"
            )
        await _in_thread(new.sync)
        await _in_thread(_sync_names, files, paths)
        if dropped:
            _log.warning("damaged needles left behind by a vacuum", volume=volume.id, needles=dropped)
        if expired:
            _log.info("expired needles left behind by a vacuum", volume=volume.id, needles=expired)
        return Compacted(begin.index_bytes, volume.revision, row_count(new.index_end, width))
    finally:
        for one in opened:
            await _in_thread(one.close)


async def _commit(volume: Volume) -> None:
    paths, seen = _paths(volume), volume.compacted
    volume.compacted = None
    if seen is None:
        raise VolumeError(f"volume {volume.id} compact swap aborted: missing .cpd/.cpx")
    try:
        new = await _in_thread(_open_new, volume, paths)
        try:
            await _catch_up_beside_writers(volume, new, seen)
            # Whoever lets go last of a file that was replaced waits until its blocks are free: a thread.
            old = await _in_thread(volume.files.open, paths.data, os.O_RDONLY)
            try:
                async with volume.turn:
                    await _swap_in(volume, paths, new, seen)
            finally:
                await _in_thread(volume.files.close, old)
        finally:
            await _in_thread(new.close)
    except (SwapUnfinished, SwapUndecided):
        raise  # The files are in use, or could not be removed.
    except BaseException:
        await _in_thread(_remove_quietly, volume.files, paths)
        raise


async def _catch_up_beside_writers(volume: Volume, new: NewFiles, seen: Compacted) -> None:
    """Bring the rest down to what is copied in a moment, while writes go on."""
    for _ in range(PASSES_MAX):
        async with volume.turn:
            end = volume.index.end
        if end - seen.index_bytes <= PASS_ROWS_MIN * volume.row_bytes:
            return
        await _in_thread(_pass, volume, new, seen, end)


async def _swap_in(volume: Volume, paths: VacuumPaths, new: NewFiles, seen: Compacted) -> None:
    """The last pass and the change; under the turn."""
    volume.require_open()
    if volume.revision != seen.revision:
        raise VolumeError(
            f"current old dat file's compact revision {volume.revision} "
            f"is not the expected one {seen.revision}"
        )
    data, index, needles = await asyncio.to_thread(_last_pass, volume, paths, new, seen)
    unfinished: SwapUnfinished | None = None
    try:
        await asyncio.to_thread(swap, volume.files, paths)
    except SwapUnfinished as error:
        unfinished = error
    except BaseException as error:
        data.close()
        index.close()
        volume.no_write_or_delete |= isinstance(error, SwapUndecided)
        raise
    _adopt(volume, data, index, needles)
    if unfinished is not None:
        raise unfinished


def _adopt(volume: Volume, data: DataFile, index: DataFile, needles: NeedleMap) -> None:
    """Serve from the new files; whatever else is known of the volume stays as it is at this moment."""
    old_data, old_index, modified_at_s = volume.data, volume.index, volume.modified_at_s
    volume.adopt(
        Loaded(
            data=data,
            index=index,
            needles=needles,
            superblock=_next_superblock(volume),
            info=volume.info,
            placement=volume.placement,
            last_append_ns=volume.last_append_ns,
            last_modified=volume.last_modified,
            no_write_or_delete=volume.no_write_or_delete,
            no_write_can_delete=volume.no_write_can_delete,
        )
    )
    volume.modified_at_s = modified_at_s
    old_data.close()
    old_index.close()


def _next_superblock(volume: Volume) -> Superblock:
    return replace(volume.superblock, revision=(volume.revision + 1) % _REVISIONS)


def _pass(volume: Volume, new: NewFiles, seen: Compacted, end: int) -> None:
    """Catch up with the rows up to `end`. In a thread."""
    _require_rows(volume, volume.index, end)
    old = OldRecords(volume.files, volume.data.fd, volume.version, volume.offset_bytes)
    seen.deletions += catch_up(volume.files, volume.index.fd, old, new, seen.index_bytes, end)
    seen.index_bytes = end


def _last_pass(
    volume: Volume, paths: VacuumPaths, new: NewFiles, seen: Compacted
) -> tuple[DataFile, DataFile, NeedleMap]:
    """Catch up with all that there is, flush, and open the new files under their later names. In a thread."""
    files = volume.files
    _pass(volume, new, seen, volume.index.end)
    new.sync()
    rows = read_up_to(files, new.index, new.index_end, 0)
    walked = walk_index(rows, volume.offset_bytes, volume.version, backward=False)
    # Existing servers count rows that were caught up with as files, deletions included, until the next start.
    walked.counters.file_count += seen.deletions
    data = DataFile(files, paths.data, files.open(paths.new_data, os.O_RDWR), alignment=ALIGNMENT)
    try:
        index = DataFile(files, paths.index, files.open(paths.new_index, os.O_RDWR))
    except BaseException:
        data.close()
        raise
    return data, index, NeedleMap(volume.offset_bytes, walked.settled, walked.counters)


async def _return_memory(volume: Volume) -> None:
    """Give back what sorting a large index took."""
    if volume.index_bytes >= LARGE_BYTES:
        await _in_thread(return_memory)


async def _report(progress: Progress, offset: int) -> None:
    try:
        await progress(offset)
    except Exception as error:
        raise VolumeError("interrupted") from error


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Run in a thread and wait for its end, even if this task is cancelled meanwhile."""
    return await to_the_end(asyncio.to_thread(work, *arguments))


def _paths(volume: Volume) -> VacuumPaths:
    return VacuumPaths(volume.data_path, volume.index_path)


def _require_space(volume: Volume, preallocate: int) -> None:
    """Refuse to begin what would not end."""
    needed = max(preallocate, volume.data_bytes + volume.index_bytes)
    found = os.statvfs(volume.data_directory)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise VolumeError(
            f"insufficient free space for compaction: need {needed} bytes (volume: {volume.data_bytes}, "
            f"index: {volume.index_bytes}), but only {free} bytes available"
        )


def _require_rows(volume: Volume, index: DataFile, written_bytes: int) -> None:
    """Refuse an index that was cut from outside: what it no longer names would be gone for good."""
    if index.size() < written_bytes:
        raise VolumeError(
            f"index of volume {volume.id} has {index.size()} bytes, but {written_bytes} were written"
        )


def _sync(data: DataFile, index: DataFile) -> None:
    data.sync()
    index.sync()


def _sync_names(files: Files, paths: VacuumPaths) -> None:
    """The marker must not outlive the names of what it speaks of."""
    for directory in paths.directories:
        files.sync_directory(directory)


def _begin(files: Files, paths: VacuumPaths, width: int, preallocate: int, opened: list[NewFiles]) -> None:
    new = NewFiles(files, paths, width, create=True)
    opened.append(new)
    if preallocate:
        files.preallocate(new.data, preallocate)


def _open_new(volume: Volume, paths: VacuumPaths) -> NewFiles:
    try:
        return NewFiles(volume.files, paths, volume.offset_bytes, create=False)
    except FileNotFoundError:
        raise VolumeError(f"volume {volume.id} compact swap aborted: missing .cpd/.cpx") from None


def _remove_quietly(files: Files, paths: VacuumPaths) -> None:
    """Remove the new files after a failure, which is what is to be told; a start removes them as well."""
    try:
        if not paths.marker.exists():
            remove_new_files(files, paths)
    except OSError as error:
        _log.warning("files of a failed vacuum stay", volume=paths.data.stem, error=str(error))
