"""Two folders that meet in one space: convergence, conflicts, hostile records, and kills at any point."""

import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from less_sync.client.folder.arrivals import Mode, PullCount
from less_sync.client.folder.crypto import RecordCipher, content_bytes_max
from less_sync.client.folder.errors import DiskFull, FolderError
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.plaintext import PlainFile
from less_sync.client.folder.plan import Tombstone
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Kind
from less_sync.client.folder.state import FolderState
from less_sync.client.folder.walk import FileStat, Obstacle
from tests.client.folder.devices import CIPHER, SPACE, Device, Space, make_device

MEMORY = Path("/dev/shm")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Device, Device]:
    space = Space()
    return make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)


def settle(*devices: Device) -> None:
    for _ in range(2):
        for device in devices:
            assert device.sync()


def test_creation_edit_and_deletion_reach_the_other_folder(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("a/b.txt", b"1")
    os.utime(one.root / "a/b.txt", ns=(10**18, 10**18 + 7))
    settle(one, two)
    assert two.files() == {"a/b.txt": b"1"}
    assert (two.root / "a/b.txt").stat().st_mtime_ns == 10**18 + 7
    two.write("a/b.txt", b"2")
    settle(two, one)
    assert one.files() == {"a/b.txt": b"2"}
    one.delete("a/b.txt")
    settle(one, two)
    assert two.files() == {}
    assert not (two.root / "a").exists()
    two.write("a/b.txt", b"3")
    settle(two, one)
    assert one.files() == {"a/b.txt": b"3"}


def test_an_edit_that_lost_is_kept_under_another_name_and_synced(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("n.txt", b"base")
    settle(one, two)
    one.write("n.txt", b"one")
    two.write("n.txt", b"two")
    settle(one, two)
    ((path, copy),) = two.told(Kind.CONFLICT)
    assert path == "n.txt"
    assert copy.startswith("n (conflict 2026-11-21 ")
    assert one.files() == two.files() == {"n.txt": b"one", copy: b"two"}


def test_an_edit_beats_a_deletion_in_both_directions(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for path in ("p", "q"):
        one.write(path, b"base")
    settle(one, two)
    one.delete("p")
    two.write("p", b"edited")
    one.write("q", b"edited")
    two.delete("q")
    settle(one, two)
    assert one.files() == two.files() == {"p": b"edited", "q": b"edited"}


def test_the_same_new_file_on_both_sides_is_no_conflict(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"same")
    two.write("p", b"same")
    settle(one, two)
    assert (one.files(), two.files(), two.told(Kind.CONFLICT)) == ({"p": b"same"}, {"p": b"same"}, [])


def test_a_new_device_makes_a_path_anew_that_was_deleted_before_it_came(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    one.sync()
    one.delete("p")
    one.sync()
    two.write("p", b"2")
    settle(two, one)
    assert one.files() == {"p": b"2"}


def test_push_alone_changes_no_file_and_pull_alone_pushes_none(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"one")
    one.write("only", b"one")
    one.sync()
    two.write("p", b"two")
    two.write("new", b"two")
    two.sync(pull=False)
    assert two.files() == {"p": b"two", "new": b"two"}
    assert two.told(Kind.SKIPPED)[0][0] == "p"
    cursor = two.space.cursor
    two.sync(push=False)
    ((_, copy),) = two.told(Kind.CONFLICT)
    assert two.files() == {"p": b"one", "only": b"one", "new": b"two", copy: b"two"}
    assert two.space.cursor == cursor


def test_touching_a_file_pushes_nothing(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    one.write("p", b"x")
    one.sync()
    cursor = one.space.cursor
    os.utime(one.root / "p")
    one.sync()
    assert one.space.cursor == cursor


def test_what_became_unreachable_here_is_not_deleted_there(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for path in ("folder/a", "file", "grows"):
        one.write(path, b"x")
    settle(one, two)
    (one.root / "folder").rename(one.root.parent / "elsewhere")
    (one.root / "folder").symlink_to(one.root.parent / "elsewhere")
    (one.root / "file").unlink()
    os.mkfifo(one.root / "file")
    os.truncate(one.root / "grows", content_bytes_max("grows") + 1)
    settle(one, two)
    assert two.files() == {"folder/a": b"x", "file": b"x", "grows": b"x"}
    assert {path for path, _ in one.told(Kind.SKIPPED)} == {"grows"}
    assert {path for path, _ in one.told(Kind.LEFT_OUT)} == {"folder", "file"}
    two.write("folder/a", b"y")
    settle(two, one)
    assert (one.root.parent / "elsewhere" / "a").read_bytes() == b"x"


def test_a_file_that_becomes_a_folder_and_back_follows_on_the_other_side(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("x", b"file")
    settle(one, two)
    one.delete("x")
    one.write("x/below", b"in a folder")
    settle(one, two, two)
    assert two.files() == {"x/below": b"in a folder"}
    one.delete("x/below")
    (one.root / "x").rmdir()
    one.write("x", b"file again")
    settle(one, two, two)
    assert two.files() == {"x": b"file again"}


@pytest.mark.parametrize(
    "path", ["../escaped", "/escaped", "a/../../escaped", ".less-sync/state.db", "e\u0301", "a\x00b", ""]
)
def test_a_hostile_path_is_named_and_touches_nothing(pair: tuple[Device, Device], path: str) -> None:
    one, _ = pair
    one.write("mine", b"x")
    one.sync()
    state = (one.root / ".less-sync/state.db").stat().st_ino
    record = CIPHER.record_id(path)
    one.space.push([(record, CIPHER.seal(record, PlainFile(path, 0, b"evil"), epoch=1), 0)])
    settle(one)
    assert one.files() == {"mine": b"x"}
    assert sorted(os.listdir(one.root.parent)) == ["a", "b"]
    assert (one.root / ".less-sync/state.db").stat().st_ino == state
    assert len(one.told(Kind.SKIPPED)) >= 1


def test_a_record_under_the_id_of_another_path_is_named_and_not_written(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    record = CIPHER.record_id("claimed")
    one.space.push([(record, CIPHER.seal(record, PlainFile("other", 0, b"x"), epoch=1), 0)])
    settle(one)
    assert one.files() == {}
    assert ("other", "its record belongs to another path") in one.told(Kind.SKIPPED)


def test_a_record_that_does_not_decrypt_is_retried_and_its_path_not_pushed(
    pair: tuple[Device, Device],
) -> None:
    one, two = pair
    one.cipher = RecordCipher(FolderKey(bytes(32)), SPACE)
    one.write("p", b"x")
    one.sync()
    (record,) = one.space.records
    settle(two)
    assert (f"record {record}", "the key file does not decrypt it") in two.told(Kind.UNDECRYPTABLE)
    two.cipher = one.cipher
    settle(two)
    assert two.files() == {"p": b"x"}


def test_a_damaged_newer_version_leaves_the_file_and_its_edits_alone(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    one.write("p", b"good")
    one.sync()
    record = CIPHER.record_id("p")
    cursor, good = one.space.records[record]
    assert good is not None
    one.space.push([(record, replace(good, blob=good.blob[:-1] + b"\x00"), cursor)])
    one.write("p", b"edited")
    settle(one)
    assert one.files() == {"p": b"edited"}
    assert one.told(Kind.UNDECRYPTABLE)[0][0] == "p"
    assert one.space.records[record][0] == 2


def test_an_answer_lost_after_a_push_makes_no_conflict_with_oneself(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    settle(one, two)
    one.write("p", b"2")
    assert not one.sync(kill_after=1)
    assert one.space.cursor == 2
    one.write("p", b"3")
    settle(one, two)
    assert one.files() == two.files() == {"p": b"3"}
    one.delete("p")
    assert not one.sync(kill_after=1)
    one.write("p", b"3")
    settle(one, two)
    assert one.files() == two.files() == {"p": b"3"}


def test_a_forgotten_state_loses_and_doubles_nothing(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for path in ("p", "q", "r"):
        one.write(path, path.encode())
    settle(one, two)
    one.write("q", b"edited")
    one.delete("r")
    with FolderState.open(one.root) as state:
        state.forget()
    settle(one, two)
    ((_, copy),) = one.told(Kind.CONFLICT)
    assert one.files() == two.files() == {"p": b"p", "q": b"q", "r": b"r", copy: b"edited"}


def test_a_folder_that_was_moved_away_is_not_taken_for_empty(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    one.write("p", b"x")
    one.sync()
    with FolderState.open(one.root) as state:
        tree = FileTree(one.root, state.directory)
        replica = Replica(one.root, state, tree, CIPHER, tell=one.events.append, now=lambda: NOW)
        one.root.rename(one.root.with_name("moved"))
        one.root.mkdir()
        with pytest.raises(FolderError, match="moved or unmounted"):
            replica.side.rescan()
        tree.close()


def test_a_tombstone_of_an_unknown_path_is_remembered_by_its_id(pair: tuple[Device, Device]) -> None:
    one, _ = pair
    one.space.push([(UUID(int=5), None, 0)])
    settle(one)
    with FolderState.open(one.root) as state:
        row = state.get(UUID(int=5))
    assert row is not None
    assert (row.path, row.base) == (None, Tombstone(1))


def test_a_full_disk_stops_the_pull_and_the_next_one_completes_it(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for number in range(5):
        one.write(str(number), b"x")
    one.sync()
    with FolderState.open(two.root) as state:
        tree = FullTree(two.root, state.directory)
        replica = Replica(two.root, state, tree, CIPHER, tell=two.events.append, now=lambda: NOW)
        with pytest.raises(DiskFull):
            receive_all(replica, two.space)
        tree.close()
    assert len(two.files()) == 2
    settle(two)
    assert two.files() == one.files()
    assert two.told(Kind.CONFLICT) == []


def test_a_disk_that_fills_up_keeps_what_it_had_room_for_and_no_rest(pair: tuple[Device, Device]) -> None:
    one, two = pair
    for number in range(5):
        one.write(str(number), b"x")
    one.sync()
    with FolderState.open(two.root) as state:
        tree = FillingTree(two.root, state.directory)
        replica = Replica(two.root, state, tree, CIPHER, tell=two.events.append, now=lambda: NOW)
        with pytest.raises(DiskFull):
            receive_all(replica, two.space)
        tree.close()
    assert len(two.files()) == 3
    assert os.listdir(two.root / ".less-sync/tmp") == []
    settle(two)
    assert two.files() == one.files()


def test_a_file_that_cannot_be_read_is_named_and_kept_on_the_server(pair: tuple[Device, Device]) -> None:
    one, two = pair
    one.write("p", b"1")
    settle(one, two)
    one.write("p", b"22")
    with FolderState.open(one.root) as state:
        tree = UnreadableTree(one.root, state.directory)
        replica = Replica(one.root, state, tree, CIPHER, tell=one.events.append, now=lambda: NOW)
        replica.side.rescan()
        assert list(replica.outbox.changes()) == []
        tree.close()
    assert one.told(Kind.SKIPPED) == [("p", "permission denied")]


def receive_all(replica: Replica, space: Space) -> None:
    replica.intake.receive(space.since(-1), Mode.APPLY, PullCount())


class FullTree(FileTree):
    """Takes two files."""

    room = 2

    def place(self, spooled: str, path: str, *, expected: FileStat | None) -> FileStat:
        self.room -= 1
        if self.room < 0:
            raise DiskFull("no space left on the disk")
        return super().place(spooled, path, expected=expected)


class FillingTree(FileTree):
    """Has room for three files to be written."""

    room = 3

    def spool(self, content: bytes, *, mtime_ns: int) -> str:
        self.room -= 1
        if self.room < 0:
            raise DiskFull("no space left on the disk")
        return super().spool(content, mtime_ns=mtime_ns)


class UnreadableTree(FileTree):
    """A user without the right to read."""

    def read(self, path: str, bytes_max: int) -> tuple[FileStat, bytes]:
        raise Obstacle("permission denied")


steps = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["edit", "edit", "delete", "sync", "sync", "kill", "kill", "pull", "push"]),
    st.sampled_from(["p", "p", "q/r"]),
    st.integers(0, 5),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=20, max_size=40))
def test_random_histories_with_kills_converge_and_lose_or_double_no_edit(
    history: list[tuple[int, str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as parent:
        space = Space()
        devices = [make_device(Path(parent), name, space) for name in ("a", "b")]
        written: list[set[bytes]] = [set(), set()]
        accepted: set[bytes] = set()

        def own(which: int) -> set[bytes]:
            """What a device has not brought to the server yet of its own edits: none of it may vanish.

            Half-way through a killed sync it also holds edits of the other, and edits that the server has
            accepted unbeknown to it: who has seen those may have replaced them knowingly.
            """
            return (devices[which].unsynced() & written[which]) - accepted

        for number, (which, verb, path, after) in enumerate(history):
            device = devices[which]
            unsynced = own(which)
            match verb:
                case "edit":
                    content = f"edit {number}".encode()
                    written[which].add(content)
                    device.write(path, content)
                case "delete":
                    device.delete(path)
                case "kill":
                    device.sync(kill_after=after)
                case _:
                    device.sync(pull=verb != "push", push=verb != "pull")
            if verb not in ("edit", "delete"):
                assert unsynced <= {*device.files().values(), *space.contents()}
            accepted |= set(space.contents())
        unsynced = own(0) | own(1)
        settle(*devices)
        final = devices[0].files()
        assert final == devices[1].files()
        assert unsynced <= set(final.values())
        assert len(set(final.values())) == len(final)
        assert sorted(final.values()) == sorted(space.contents())
        leftovers = [os.listdir(device.root / ".less-sync/tmp") for device in devices]
        assert leftovers == [[], []]
