"""The state of a folder: whole rows, one command at a time, survival of a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.client.folder.errors import DiskFull, FolderBusy, FolderError, KeyMismatch, UsageProblem
from less_sync.client.folder.plan import Absent, Content, Tombstone
from less_sync.client.folder.state import FolderState, Row, Stamp, disk_errors

ROWS = [
    Row(UUID(int=1), "a", Content(b"\x01" * 32, 5), Stamp(1, 2, 3, 4, 5)),
    Row(UUID(int=2), "b", Tombstone(6), sent=b""),
    Row(UUID(int=3), "c", Absent(), pending_cursor=9, pending_reason="why"),
    Row(UUID(int=4), None, Tombstone(7), pending_cursor=8, sent=b"\x02" * 32, content=UUID(int=9)),
]


def test_rows_come_back_as_they_were_written_after_reopening(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        assert (state.cursor, state.first_pending(), list(state.rows())) == (-1, None, [])
        state.put(ROWS)
        state.advance(12)
    with FolderState.open(tmp_path) as state:
        assert (state.cursor, state.first_pending()) == (12, 8)
        assert [state.get(row.record) for row in ROWS] == ROWS
        assert {row.record for row in state.rows()} == {row.record for row in ROWS}
        state.advance(0)
        assert state.cursor == 0
        state.forget()
        assert (state.cursor, list(state.rows())) == (-1, [])


def test_a_second_command_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with FolderState.open(tmp_path):
        with pytest.raises(FolderBusy):
            FolderState.open(tmp_path)
    FolderState.open(tmp_path).close()


def test_a_folder_tied_to_one_space_and_key_refuses_others(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        state.check(space=UUID(int=1), fingerprint="aa")
        state.check(space=UUID(int=2), fingerprint="bb")
        state.bind(space=UUID(int=1), fingerprint="aa")
        state.check(space=UUID(int=1), fingerprint="aa")
        with pytest.raises(UsageProblem):
            state.check(space=UUID(int=2), fingerprint="aa")
        with pytest.raises(KeyMismatch):
            state.check(space=UUID(int=1), fingerprint="bb")


def test_a_state_of_a_later_format_or_behind_a_link_is_refused(tmp_path: Path) -> None:
    FolderState.open(tmp_path).close()
    database = sqlite3.connect(tmp_path / ".less-sync" / "state.db")
    with database:
        database.execute("UPDATE meta SET value = '4' WHERE name = 'format'")
    database.close()
    with pytest.raises(UsageProblem, match="later version"):
        FolderState.open(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / ".less-sync").symlink_to(tmp_path)
    with pytest.raises(UsageProblem, match="symbolic link"):
        FolderState.open(other)


def test_leftovers_of_a_killed_command_are_removed(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        (state.directory / "tmp" / "half").write_text("x")
    with FolderState.open(tmp_path) as state:
        assert os.listdir(state.directory / "tmp") == []


def test_a_kill_between_two_writes_keeps_every_finished_one_and_frees_the_lock(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from uuid import UUID\n"
        "from less_sync.client.folder.state import FolderState, Row\n"
        "from less_sync.client.folder.plan import Content\n"
        "state = FolderState.open(Path(sys.argv[1]))\n"
        "for n in range(1, 10**6):\n"
        "    state.put([Row(UUID(int=2 * n + k), str(n), Content(bytes(32), n)) for k in (0, 1)])\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    finished = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    finished += [int(line) for line in child.stdout if line.endswith("\n")]
    child.stdout.close()
    child.wait()
    with FolderState.open(tmp_path) as state:
        rows = list(state.rows())
    assert len(rows) % 2 == 0
    assert {str(number) for number in finished} <= {row.path for row in rows}


def test_faults_of_the_disk_become_folder_errors() -> None:
    with pytest.raises(DiskFull, match="no space left"), disk_errors("cannot write x"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FolderError, match=r"cannot write x: Input") as caught, disk_errors("cannot write x"):
        raise OSError(5, "Input/output error")
    assert not isinstance(caught.value, DiskFull)


def test_a_database_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        state._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(DiskFull):
            state.put(Row(UUID(int=n), "x" * 2000, Absent()) for n in range(1000))
        assert list(state.rows()) == []


@pytest.mark.parametrize("damage", ["id = x'00'", "cursor = 'text'"])
def test_a_damaged_state_is_told_and_not_a_traceback(tmp_path: Path, damage: str) -> None:
    with FolderState.open(tmp_path) as state:
        state.put([Row(UUID(int=1), "a", Content(bytes(32), 1))])
        state._database.execute(f"UPDATE record SET {damage}")
        with pytest.raises(FolderError, match="the state of this folder is damaged"):
            list(state.rows())
