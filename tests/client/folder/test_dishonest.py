"""A server that lies: old versions, deletions nobody made, records in the wrong place, a history that ends.

What is refused here, and what no device can notice, is told in docs/folder-format.md.
"""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.client.folder import refused
from less_sync.client.folder.crypto import SealedFile
from less_sync.client.folder.deletions import DeletionGuard
from less_sync.client.folder.errors import TooManyDeletions, UsageProblem
from less_sync.client.folder.local import UNPROVEN
from less_sync.client.folder.plaintext import PART_BYTES_MIN, PlainContent
from less_sync.client.folder.report import Kind
from less_sync.client.folder.state import OTHER_KIND, FolderState
from tests.client.folder.devices import (
    CIPHER,
    Device,
    Space,
    former_release,
    make_device,
    sealed_value,
)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Device, Device]:
    space = Space()
    return make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)


def settle(*devices: Device) -> None:
    for _ in range(2):
        for device in devices:
            assert device.sync()


def put_back(space: Space, path: str, former: SealedFile | None) -> None:
    """Show something else as the newest of a path, at a new cursor."""
    space.cursor += 1
    space.records[CIPHER.record_id(path)] = (space.cursor, former)


def shown(space: Space, path: str) -> SealedFile | None:
    return space.records[CIPHER.record_id(path)][1]


def version_of(space: Space, path: str) -> int:
    sealed = shown(space, path)
    assert sealed is not None
    return CIPHER.open(CIPHER.record_id(path), sealed).version


def test_an_old_version_at_a_new_cursor_is_refused_named_and_replaced_by_a_push(
    pair: tuple[Device, Device],
) -> None:
    one, two = pair
    one.write("p", b"1")
    one.sync()
    first = shown(one.space, "p")
    one.write("p", b"2")
    settle(one, two)
    put_back(one.space, "p", first)
    for _ in range(2):
        two.events.clear()
        two.sync(push=False)
        assert two.files() == {"p": b"2"}
        assert two.told(Kind.ROLLED_BACK) == [
            ("p", "the server shows version 1, and this device has seen version 2")
        ]
    two.sync()
    assert version_of(one.space, "p") == 3
    one.sync()
    assert (one.files(), one.told(Kind.CONFLICT)) == ({"p": b"2"}, [])
    two.events.clear()
    two.sync()
    assert two.told(Kind.ROLLED_BACK) == []


def test_a_file_that_was_deleted_does_not_come_back(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    settle(one, two)
    first = shown(one.space, "p")
    one.delete("p")
    settle(one, two)
    put_back(one.space, "p", first)
    two.sync(push=False)
    assert (two.files(), len(two.told(Kind.ROLLED_BACK))) == ({}, 1)
    two.sync()
    assert version_of(one.space, "p") == 3
    one.sync()
    assert one.files() == {}


def test_a_server_that_begins_anew_brings_no_old_version_back(pair: tuple[Device, Device]) -> None:
    """It claims a lower cursor, by which a device knows that an older backup was restored."""
    one, _ = pair
    one.write("p", b"1")
    one.sync()
    first = shown(one.space, "p")
    one.write("p", b"2")
    one.write("q", b"q")
    one.sync()
    with FolderState.open(one.root) as state:
        state.forget()
    one.space.records = {CIPHER.record_id("p"): (1, first)}
    one.space.cursor = 1
    one.sync(push=False)
    assert (one.files(), len(one.told(Kind.ROLLED_BACK))) == ({"p": b"2", "q": b"q"}, 1)
    one.sync()
    assert sorted(one.space.contents()) == [b"2", b"q"]
    assert version_of(one.space, "p") == 3


def test_a_refused_version_is_taken_when_it_is_accepted(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    one.sync()
    first = shown(one.space, "p")
    one.write("p", b"2")
    settle(one, two)
    put_back(one.space, "p", first)
    two.sync(push=False)
    with pytest.raises(UsageProblem, match="nothing that the server shows of q was refused"):
        refused.accept(refused.place_of(two.root / "q"))
    assert "next `pull`" in refused.accept(refused.place_of(two.root / "p"))
    two.events.clear()
    two.sync()
    assert (two.files(), two.told(Kind.ROLLED_BACK)) == ({"p": b"1"}, [])
    assert [one.path for one in refused.trashed(two.root)] == ["p"]


def test_two_records_of_one_version_are_both_kept(pair: tuple[Device, Device]) -> None:
    """As after a backup was restored: each followed the same version, and neither follows the other."""
    one, two = pair
    one.write("p", b"base")
    settle(one, two)
    before = (one.space.cursor, dict(one.space.records))
    one.write("p", b"lost by the server")
    one.sync()
    one.space.cursor, one.space.records = before
    two.write("p", b"written since")
    two.sync()
    one.space.cursor += 5
    put_back(one.space, "p", shown(one.space, "p"))
    one.sync()
    assert sorted(one.files().values()) == [b"lost by the server", b"written since"]


def test_a_record_in_the_place_of_another_is_not_taken(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"p")
    one.write("q", b"q")
    settle(one, two)
    put_back(one.space, "q", shown(one.space, "p"))
    two.sync(push=False)
    assert two.files() == {"p": b"p", "q": b"q"}
    assert [path for path, _ in two.told(Kind.UNDECRYPTABLE)] == ["q"]


def test_a_bare_tombstone_is_named_and_not_believed_until_it_is_accepted(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("folder/p", b"1")
    settle(one, two)
    put_back(one.space, "folder/p", None)
    for _ in range(2):
        two.events.clear()
        two.sync()
        assert two.files() == {"folder/p": b"1"}
        assert two.told(Kind.SKIPPED) == [("folder/p", UNPROVEN)]
    assert shown(one.space, "folder/p") is None
    assert "next `push`" in refused.accept(refused.place_of(two.root / "folder/p"))
    assert two.files() == {}
    two.events.clear()
    two.sync()
    assert (two.told(Kind.SKIPPED), two.told(Kind.DELETED_THERE)) == ([], [("folder/p", "")])
    one.sync()
    assert one.files() == {}
    assert [entry.path for entry in refused.trashed(one.root)] == ["folder/p"]


def test_an_edit_goes_over_a_deletion_without_proof(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    settle(one, two)
    put_back(one.space, "p", None)
    two.sync(push=False)
    two.write("p", b"2")
    two.sync(pull=False)
    one.sync()
    assert one.files() == {"p": b"2"}


def test_in_a_space_of_format_1_a_tombstone_is_all_there_is(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    for path in ("p", "q"):
        former_release(one.space, path, b"1")
    one.sync(push=False)
    assert one.files() == {"p": b"1", "q": b"1"}
    former_release(one.space, "p", None)
    one.sync(push=False)
    assert one.files() == {"q": b"1"}
    with FolderState.open(one.root) as state:
        assert not state.proves_deletions


def test_a_record_of_format_1_is_read_and_does_not_come_back_after_one_of_format_2(
    pair: tuple[Device, Device],
) -> None:
    one, two = pair
    former_release(one.space, "p", b"1")
    former = shown(one.space, "p")
    settle(one, two)
    assert (one.files(), one.space.cursor) == ({"p": b"1"}, 1)
    one.write("p", b"2")
    settle(one, two)
    assert (two.files(), version_of(one.space, "p")) == ({"p": b"2"}, 1)
    put_back(one.space, "p", former)
    two.sync(push=False)
    assert (two.files(), len(two.told(Kind.ROLLED_BACK))) == ({"p": b"2"}, 1)


def test_a_kind_that_is_not_known_is_left_alone(pair: tuple[Device, Device]) -> None:
    one, two = pair
    record = CIPHER.record_id("p")
    value = {"v": 2, "kind": "link", "version": 1, "path": "p", "mtime_ns": 0, "content": b"x"}
    sealed = sealed_value(record, value)
    one.space.push([(record, sealed, 0)])
    settle(one)
    assert (one.files(), one.events) == ({}, [])
    with FolderState.open(one.root) as state:
        assert (state.first_pending(), state.proves_deletions) == (None, True)
    one.write("p", b"a file of the same path")
    settle(one, two)
    assert one.space.records[record] == (1, sealed)
    assert one.told(Kind.SKIPPED) == [("p", OTHER_KIND)] * 2


def test_a_content_record_in_the_place_of_a_path_holds_up_no_other_file(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for path in ("changed", "deleted", "other"):
        one.write(path, b"first")
    settle(one, two)
    for path in ("changed", "deleted", "new"):
        record = CIPHER.record_id(path)
        content = PlainContent(0, bytes(32), PART_BYTES_MIN, (UUID(int=1),))
        put_back(one.space, path, CIPHER.seal_content(record, content, epoch=1))
    for path in ("changed", "new", "other"):
        one.write(path, b"second")
    one.delete("deleted")
    settle(one, two)
    assert set(one.told(Kind.SKIPPED)) == {("changed", OTHER_KIND), ("new", OTHER_KIND)}
    assert two.files() == {"changed": b"first", "deleted": b"first", "other": b"second"}


@pytest.mark.parametrize("files_max", [20, 21, 40])
def test_a_pull_that_would_empty_the_folder_stops_and_keeps_all(
    pair: tuple[Device, Device], files_max: int
) -> None:
    one, two = pair
    for number in range(files_max):
        one.write(f"many/{number}", bytes([number]))
    settle(one, two)
    for number in range(files_max - 1):
        one.delete(f"many/{number}")
    one.write("new", b"new")
    one.sync()
    if files_max <= 21:
        two.sync()
        assert set(two.files()) == {f"many/{files_max - 1}", "new"}
        return
    for _ in range(2):
        with pytest.raises(TooManyDeletions, match=r"39 of 4[01] files"):
            two.sync(push=False)
        assert len(two.files()) == 41
        assert two.told(Kind.DELETED_HERE) == []
    two.accept_deletions = True
    two.sync()
    assert set(two.files()) == {"many/39", "new"}
    assert len(refused.trashed(two.root)) == 39


def test_bare_tombstones_of_a_whole_space_of_format_1_stop_a_pull_too(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    for number in range(30):
        former_release(one.space, str(number), b"x")
    one.sync(push=False)
    for number in range(30):
        former_release(one.space, str(number), None)
    with pytest.raises(TooManyDeletions):
        one.sync(push=False)
    assert len(one.files()) == 30


def test_deletions_that_come_a_few_at_a_time_count_together_for_ten_minutes() -> None:
    now = [0.0]
    guard = DeletionGuard(accepted=False, clock=lambda: now[0])
    for files in (40, 30):
        guard.check(10, files)
    with pytest.raises(TooManyDeletions, match="30 of 40 files"):
        guard.check(10, 20)
    now[0] = 601.0
    guard.check(10, 20)
    guard = DeletionGuard(accepted=True, clock=lambda: now[0])
    guard.check(1000, 1000)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value | {"version": 0},
        lambda value: value | {"version": 2**53},
        lambda value: value | {"version": True},
        lambda value: value | {"version": "1"},
        lambda value: value | {"kind": "deleted"},
        lambda value: value | {"v": 3},
    ],
)
def test_a_record_that_no_release_writes_is_named_and_touches_nothing(
    pair: tuple[Device, Device], change: Callable[[dict[str, object]], object]
) -> None:
    one, _ = pair
    record = CIPHER.record_id("p")
    value = {"v": 2, "kind": "file", "version": 1, "path": "p", "mtime_ns": 0, "content": b"x"}
    one.space.push([(record, sealed_value(record, change(value)), 0)])
    one.sync(push=False)
    assert one.files() == {}
    assert len(one.told(Kind.SKIPPED)) == 1


def test_a_folder_of_format_1_keeps_its_memory(tmp_path: Path, pair: tuple[Device, Device]) -> None:
    one, _ = pair
    former_release(one.space, "p", b"1")
    one.sync(push=False)
    with FolderState.open(one.root) as state:
        for column in ("version", "content"):
            state._database.execute(f"ALTER TABLE record DROP COLUMN {column}")
        state._database.execute("UPDATE meta SET value = '1' WHERE name = 'format'")
        state._database.commit()
    assert os.path.exists(one.root / ".less-sync/state.db")
    one.delete("p")
    one.sync()
    assert version_of(one.space, "p") == 1
    assert one.space.contents() == []
