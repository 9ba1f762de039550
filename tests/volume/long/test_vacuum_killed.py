"""SIGKILL before every single operation that a volume with a vacuum makes on its files."""

import asyncio
import subprocess
import sys
from pathlib import Path

from less_sync.volume.engine.store import Store
from less_sync.volume.options import DirectoryOptions, Options
from tests.volume.engine.open_volumes import contents, put
from tests.volume.long.vacuum_life import content

ROOT = Path(__file__).resolve().parents[3]
LIVES_MIN = 100
IDS = range(1, 30)


async def test_whenever_a_vacuum_is_killed_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    status = await asyncio.to_thread(_run_lives, tmp_path)
    assert status == 0
    lives = sorted(tmp_path.iterdir())
    assert len(lives) >= LIVES_MIN
    ends = []
    for life in lives:
        lines = (life / "acknowledged").read_text().splitlines()
        ends.append(lines[-1] == "end 0 0")
        await _check(life / "data", lines)
    assert ends == [False] * (len(lives) - 1) + [True]


def _run_lives(directory: Path) -> int:
    command = [sys.executable, "-m", "tests.volume.long.vacuum_life", str(directory)]
    return subprocess.run(command, cwd=ROOT, timeout=300, check=False).returncode


async def _check(data: Path, lines: list[str]) -> None:
    expected: dict[int, bytes] = {}
    pending: tuple[str, int, int] | None = None
    for line in lines:
        *trying, step, id_text, round_text = line.split()
        change = (step, int(id_text), int(round_text))
        if trying:
            pending = change
        else:
            _apply(expected, change)
            pending = None
    either = dict(expected)
    if pending is not None:
        _apply(either, pending)
    store = Store(Options(directories=(DirectoryOptions(data),)))
    await store.load()
    volume = store.volume(7)
    assert volume is not None
    assert contents(volume, IDS) in (expected, either)
    assert not volume.read_only
    put(volume, 25, b"after the crash")
    await store.close()
    names = {path.name for path in data.iterdir()}
    assert {"7.dat", "7.idx", "7.vif"} <= names
    assert not [name for name in names if name.endswith((".cpd", ".cpx", ".cpc"))]


def _apply(state: dict[int, bytes], change: tuple[str, int, int]) -> None:
    step, id_, round_ = change
    if step == "put":
        state[id_] = content(id_, round_)
    elif step == "delete":
        state.pop(id_, None)
