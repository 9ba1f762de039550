"""5,000 damaged directories: each is loaded, read to the last byte, checked and exported."""

import gc
import io
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from less_sync.volume.engine.check import check_directory
from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.export import export_directory
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.walk import walk
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import Needle, decode
from less_sync.volume.format.rows import decode_rows
from less_sync.volume.options import DirectoryOptions, Options
from tests.volume.volume_files import copy_volume

ROUNDS: Final = 1_000
SEEDS: Final = range(5)
RSS_GROWTH_MAX: Final = 48 << 10
"""KiB."""
BASES: Final = (
    ("all_flags_v3", 4),
    ("crash/ok", 5),
    ("vacuum_before", 4),
    ("vacuum_committed_marker", 5),
    ("version_1", 4),
    ("version_2", 5),
    ("compressed", 5),
    ("crash/idx_missing", 4),
    ("crash/idx_head_tombstone", 5),
    ("hand_made_v3", 4),
)
IDS_SEEN_MAX: Final = 2_000
_NEW_ID: Final = (1 << 63) + 12345


def _flip(random_: random.Random, content: bytearray) -> None:
    for _ in range(random_.choice((1, 1, 2, 8))):
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)


def _cut(random_: random.Random, content: bytearray) -> None:
    del content[random_.randrange(len(content)) :]


def _lose(random_: random.Random, content: bytearray) -> None:
    start = random_.randrange(len(content))
    del content[start : start + random_.choice((1, 8, 16, 17, 64))]


def _zero(random_: random.Random, content: bytearray) -> None:
    start, length = random_.randrange(len(content)), random_.choice((4, 16, 512))
    content[start : start + length] = bytes(len(content[start : start + length]))


def _repeat(random_: random.Random, content: bytearray) -> None:
    start, length = random_.randrange(len(content)), random_.choice((8, 16, 17, 200))
    content[start:start] = content[start : start + length]


def _number(random_: random.Random, content: bytearray) -> None:
    """A number that means something: a limit, or a little."""
    at = random_.randrange(max(1, len(content) - 8))
    value = random_.choice((0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 24))
    content[at : at + 4] = value.to_bytes(4, "big")


def _append(random_: random.Random, content: bytearray) -> None:
    content += random_.choice((bytes(16), bytes(4096), random_.randbytes(random_.randrange(1, 300))))


MUTATIONS: Final[tuple[Callable[[random.Random, bytearray], None], ...]] = (
    _flip,
    _cut,
    _lose,
    _zero,
    _repeat,
    _number,
    _append,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    directory = tmp_path_factory.mktemp("whole")
    found = {}
    for name, width in BASES:
        copied = copy_volume(name, directory, width)
        found[name] = {path.name: path.read_bytes() for path in copied.iterdir()}
    return found


def _mutate(random_: random.Random, files: dict[str, bytes], directory: Path) -> None:
    names = [name for name, content in files.items() if content]
    chosen = {random_.choice(names) for _ in range(random_.choice((1, 1, 1, 2)))}
    for name, content in files.items():
        changed = bytearray(content)
        if name in chosen:
            for _ in range(random_.choice((1, 1, 2, 4))):
                if changed:
                    random_.choice(MUTATIONS)(random_, changed)
        (directory / name).write_bytes(changed)


def _contents(directory: Path, files: dict[str, bytes]) -> set[bytes]:
    """Whatever the undamaged records hold, dead ones and those of a vacuum included."""
    found: set[bytes] = {b""}
    for name, content in files.items():
        if name.endswith((".dat", ".cpd")):
            path = directory / f"whole-{name}"
            path.write_bytes(content)
            with path.open("rb") as data:
                for record in walk(Files(), data.fileno(), content[0], 8, len(content)):
                    found.add(bytes(decode(content[record.offset : record.end], content[0]).data))
            path.unlink()
    return found


def _ids(directory: Path) -> set[int]:
    """All ids that any row of the damaged index may be read as having."""
    ids: set[int] = set()
    for path in directory.glob("*.idx"):
        for width in (4, 5):
            ids |= {row.id for row in decode_rows(path.read_bytes(), width)}
    return ids


async def _look(directory: Path, allowed: set[bytes]) -> dict[int, bytes]:
    """Load, read everything, write and read back; what was read."""
    store = Store(Options(directories=(DirectoryOptions(directory),)))
    await store.load()
    read: dict[int, bytes] = {}
    for volume in list(store.volumes()):
        ids = _ids(directory) | set(range(60))
        assert len(ids) <= IDS_SEEN_MAX
        for id_ in ids:
            content = _read(volume, id_)
            if content is not None:
                assert content in allowed, (id_, content[:40])
                read[id_] = content
        if not volume.read_only and volume.needles.get(_NEW_ID) is None:
            await _write_and_read(volume)
    await store.close()
    return read


def _read(volume: Volume, id_: int) -> bytes | None:
    try:
        return bytes(volume.read(id_).data)
    except VolumeError:
        return None


async def _write_and_read(volume: Volume) -> None:
    needle = Needle(_NEW_ID, 7, b"written after the damage", checksum=crc32c(b"written after the damage"))
    try:
        await volume.write(needle)
    except VolumeError:
        return
    assert volume.read(_NEW_ID).data == b"written after the damage"


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_damaged_volume_never_serves_a_wrong_byte_nor_ends_the_process(
    seed: int, tmp_path: Path, whole: dict[str, dict[str, bytes]]
) -> None:
    random_ = random.Random(seed)
    allowed = {name: _contents(tmp_path, files) for name, files in whole.items()}
    peak = reads = 0
    for round_ in range(ROUNDS):
        name = BASES[round_ % len(BASES)][0]
        directory = tmp_path / "damaged"
        directory.mkdir()
        _mutate(random_, whole[name], directory)
        if round_ % 5 == 0:
            list(check_directory(Files(), directory, pause_s=0))
            export_directory(Files(), directory, io.BytesIO(), now_ns=1, pause_s=0)
        first = await _look(directory, allowed[name])
        reads += len(first)
        if round_ % 5 == 0:
            # What a start has repaired the next one finds in order, and it reads the same.
            second = await _look(directory, allowed[name] | {b"written after the damage"})
            second.pop(_NEW_ID, None)
            assert second == first
        shutil.rmtree(directory)
        if round_ == ROUNDS // 5:
            gc.collect()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reads > 5 * ROUNDS  # The damage was such that most could still be read.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < RSS_GROWTH_MAX
