"""What a replica does about files that are passed over: names them, and touches nothing on either side."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from less_sync.client.folder.files import FileTree
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.state import FolderState
from tests.client.folder.devices import CIPHER, Space, make_device


@contextmanager
def replica_of(root: Path, told: list[Event]) -> Iterator[Replica]:
    with FolderState.open(root) as state:
        tree = FileTree(root, state.directory)
        try:
            yield Replica(root, state, tree, CIPHER, tell=told.append, now=lambda: datetime.now(UTC))
        finally:
            tree.close()


def test_what_is_left_out_is_named_once_however_often_the_folder_is_walked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    told: list[Event] = []
    for _ in range(2):
        with replica_of(tmp_path, told) as replica:
            replica.side.rescan(tell=False)
            replica.side.rescan()
            if not (tmp_path / "other").is_symlink():
                (tmp_path / "other").symlink_to("a")
            replica.side.rescan()
    assert [(event.kind, event.path) for event in told] == [(Kind.LEFT_OUT, "link"), (Kind.LEFT_OUT, "other")]


def test_two_unicode_forms_of_one_name_do_not_take_turns_and_delete_nothing(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9")
    space = Space()
    one, two = make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)
    one.write(decomposed, b"first")
    one.write(f"{decomposed}s/x", b"first")
    one.sync()
    one.write("\u00e9", b"second")
    one.write("\u00e9s/y", b"second")
    for _ in range(2):
        one.sync()
        two.sync()
    assert two.files() == {"\u00e9": b"second", "\u00e9s/x": b"first", "\u00e9s/y": b"second"}
    cursor = space.cursor
    for content in (b"edited", b"again"):
        one.write(decomposed, content)
        one.sync()
    assert space.cursor == cursor, "the form that does not count is never pushed"
    assert {path for path, _ in one.told(Kind.SKIPPED)} == {decomposed, f"{decomposed}s"}
    two.write("\u00e9", b"answer")
    two.sync()
    one.sync()
    assert (one.root / "\u00e9").read_bytes() == b"answer"
    assert (one.root / decomposed).read_bytes() == b"again"
    one.delete("\u00e9")
    one.sync()
    two.sync()
    assert two.files()["\u00e9"] == b"again", "then the other one counts"
