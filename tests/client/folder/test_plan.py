"""The planning table: every combination, and random histories in which no edit is ever lost."""

from dataclasses import dataclass, field
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.plan import (
    Absent,
    Action,
    Content,
    DeleteHere,
    Download,
    KeepBoth,
    Local,
    Note,
    Nothing,
    Remote,
    Tombstone,
    Upload,
    UploadDeletion,
    decide,
)

A, B, C = b"a", b"b", b"c"
LOCALS: list[Local] = [Absent(), Content(A), Content(B), Content(C)]
REMOTES: list[Remote] = [Absent(), Content(A, 1), Content(B, 2), Tombstone(3)]


def test_one_sided_changes_are_carried_over() -> None:
    base = Content(A, 1)
    assert decide(local=Content(A), known=base, remote=base) == Nothing()
    assert decide(local=Content(B), known=base, remote=base) == Upload(1)
    assert decide(local=Absent(), known=base, remote=base) == UploadDeletion(1)
    assert decide(local=Content(A), known=base, remote=Content(B, 2)) == Download()
    assert decide(local=Content(A), known=base, remote=Tombstone(2)) == DeleteHere()
    assert decide(local=Content(A), known=Absent(), remote=Absent()) == Upload(0)
    assert decide(local=Absent(), known=Absent(), remote=Content(A, 1)) == Download()


def test_the_same_change_on_both_sides_is_noted() -> None:
    assert decide(local=Content(B), known=Content(A, 1), remote=Content(B, 2)) == Note()
    assert decide(local=Absent(), known=Content(A, 1), remote=Tombstone(2)) == Note()
    assert decide(local=Content(A), known=Absent(), remote=Content(A, 1)) == Note()


def test_different_changes_on_both_sides_keep_both() -> None:
    base = Content(A, 1)
    assert decide(local=Content(C), known=base, remote=Content(B, 2)) == KeepBoth()
    assert decide(local=Content(B), known=Absent(), remote=Content(A, 1)) == KeepBoth()
    assert decide(local=Absent(), known=base, remote=Content(B, 2)) == Download()
    assert decide(local=Content(B), known=base, remote=Tombstone(2)) == Upload(2)


def test_a_path_made_anew_over_a_tombstone_expects_its_cursor() -> None:
    assert decide(local=Content(A), known=Tombstone(3), remote=Tombstone(3)) == Upload(3)
    assert decide(local=Absent(), known=Tombstone(3), remote=Tombstone(3)) == Nothing()


def test_no_combination_overwrites_or_deletes_what_the_other_side_never_saw() -> None:
    for local, known, remote in product(LOCALS, REMOTES, REMOTES):
        action = decide(local=local, known=known, remote=remote)
        if isinstance(action, Download | DeleteHere) and isinstance(local, Content):
            assert isinstance(known, Content)
            assert known.digest == local.digest
        if isinstance(action, Upload | UploadDeletion) and isinstance(remote, Content):
            assert known == remote
        if isinstance(action, DeleteHere):
            assert isinstance(remote, Tombstone)


@dataclass
class Server:
    records: dict[str, Content | Tombstone] = field(default_factory=dict)
    cursor: int = 0

    def write(self, path: str, digest: bytes | None, expected: int) -> int:
        found = self.records.get(path)
        assert (0 if found is None else found.cursor) == expected
        self.cursor += 1
        self.records[path] = Tombstone(self.cursor) if digest is None else Content(digest, self.cursor)
        return self.cursor


@dataclass
class Device:
    name: str
    server: Server
    files: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, Remote] = field(default_factory=dict)

    def sync(self) -> None:
        """Two rounds, as a watch does: what a conflict renames is uploaded in the second."""
        for _ in range(2):
            for path in sorted({*self.files, *self.known, *self.server.records}):
                known = self.known.get(path, Absent())
                remote: Remote = self.server.records.get(path, Absent())
                content = self.files.get(path)
                local: Local = Absent() if content is None else Content(content)
                self._do(path, decide(local=local, known=known, remote=remote), remote)

    def _do(self, path: str, action: Action, remote: Remote) -> None:
        match action:
            case Upload(expected):
                self.server.write(path, self.files[path], expected)
            case UploadDeletion(expected):
                self.server.write(path, None, expected)
            case KeepBoth():
                copy = f"{path} conflict {self.name} {self.server.cursor}"
                assert copy not in self.files
                self.files[copy] = self.files.pop(path)
                assert isinstance(remote, Content)
                self.files[path] = remote.digest
            case Download():
                assert isinstance(remote, Content)
                self.files[path] = remote.digest
            case DeleteHere():
                del self.files[path]
            case Note() | Nothing():
                pass
        self.known[path] = self.server.records.get(path, Absent())


steps = st.tuples(
    st.sampled_from(["one", "two", "three"]),
    st.sampled_from(["edit", "same", "delete", "sync"]),
    st.sampled_from(["p", "q"]),
)


@given(st.lists(steps, max_size=40))
def test_random_histories_converge_and_every_edit_survives(history: list[tuple[str, str, str]]) -> None:
    server = Server()
    devices = {name: Device(name, server) for name in ("one", "two", "three")}
    for number, (name, verb, path) in enumerate(history):
        device = devices[name]
        if verb == "sync":
            device.sync()
            continue
        device.files.pop(path, None)
        if verb != "delete":
            device.files[path] = b"same" if verb == "same" else f"{name} {number}".encode()
    before = {content for device in devices.values() for content in unsynced(device)}
    for _ in range(2):
        for device in devices.values():
            device.sync()
    contents = [device.files for device in devices.values()]
    assert contents[0] == contents[1] == contents[2]
    assert before - {b"same"} <= set(contents[0].values())


def unsynced(device: Device) -> set[bytes]:
    """Edits of this device that the server has not accepted: none of them may vanish.

    Whoever wrote `same` on two devices and edited it on one has replaced it knowingly.
    """
    bases = {path: known.digest for path, known in device.known.items() if isinstance(known, Content)}
    return {content for path, content in device.files.items() if bases.get(path) != content}
