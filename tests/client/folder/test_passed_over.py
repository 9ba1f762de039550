"""What a replica does about files that are passed over: names them, and touches nothing on either side."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from less_sync.client.folder.files import FileTree
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.state import FolderState
from tests.client.folder.devices import CIPHER


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
    with replica_of(tmp_path, told) as replica:
        replica.side.rescan(tell=False)
        replica.side.rescan()
        (tmp_path / "other").symlink_to("a")
        replica.side.rescan()
        replica.side.rescan()
    assert [(event.kind, event.path) for event in told] == [(Kind.LEFT_OUT, "link"), (Kind.LEFT_OUT, "other")]
