"""What a folder's state knows of large contents, and what it takes over from the format before."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.client.folder.files import FileTree
from less_sync.client.folder.local import LocalSide
from less_sync.client.folder.plaintext import PlainContent
from less_sync.client.folder.plan import Absent, Content
from less_sync.client.folder.state import OTHER_KIND, FolderState, Row
from less_sync.client.folder.transfers import KnownContent, Upload, UploadPart
from tests.client.folder.devices import CIPHER

MIB = 1024 * 1024
CONTENT = UUID(int=1)
PARTS = tuple(UploadPart(UUID(int=10 + n), bytes([n]) * 44, bytes([n]) * 7) for n in range(3))
UPLOAD = Upload(CONTENT, 2 * MIB + 1, b"\x01" * 32, MIB, b"\x02" * 48, PARTS)


def test_an_upload_comes_back_as_it_was_begun_with_the_parts_that_were_sent(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        state.transfers.begin(UPLOAD)
    with FolderState.open(tmp_path) as state:
        assert state.transfers.upload_of(UPLOAD.digest) == UPLOAD
        state.transfers.part_sent(CONTENT, 1)
    with FolderState.open(tmp_path) as state:
        sent = (PARTS[0], replace(PARTS[1], done=True), PARTS[2])
        assert state.transfers.upload_of(UPLOAD.digest) == replace(UPLOAD, parts=sent)
        state.transfers.end_upload(CONTENT)
        assert (state.transfers.upload_of(UPLOAD.digest), state.transfers.uploads()) == (None, [])
        assert state._read("SELECT * FROM upload_part") == []


def test_there_is_one_upload_of_a_content(tmp_path: Path) -> None:
    """Another one would be forgotten with the first, and its record stay on the server for ever."""
    with FolderState.open(tmp_path) as state:
        state.transfers.begin(UPLOAD)
        with pytest.raises(Exception, match="UNIQUE"):
            state.transfers.begin(replace(UPLOAD, record=UUID(int=2)))
        assert state.transfers.uploads() == [(CONTENT, UPLOAD.digest, None)]


def test_a_content_record_that_comes_says_where_the_upload_stands(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        transfers = state.transfers
        transfers.begin(UPLOAD)
        known = KnownContent(CONTENT, 7, UPLOAD.plain)
        transfers.put_contents([known, KnownContent(UUID(int=2), 8, PlainContent(0, bytes(32), MIB, ()))])
        assert transfers.uploads() == [(CONTENT, UPLOAD.digest, 7)]
        assert transfers.content(CONTENT) == known
        assert not transfers.is_pointed_to(CONTENT)
        state.put([Row(UUID(int=5), "a", Content(UPLOAD.digest, 9), content=CONTENT)])
        assert transfers.is_pointed_to(CONTENT)
        assert transfers.drop_content(CONTENT)
        assert (transfers.content(CONTENT), transfers.uploads()) == (None, [])
        assert not transfers.drop_content(CONTENT)


def test_another_server_has_nothing_of_what_was_sent_to_the_former_one(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        state.transfers.begin(UPLOAD)
        state.transfers.put_contents([KnownContent(CONTENT, 7, UPLOAD.plain)])
        state.transfers.part_sent(CONTENT, 0)
        state.forget()
        assert state.transfers.upload_of(UPLOAD.digest) == UPLOAD
        assert state.transfers.content(CONTENT) is None


def test_parts_that_are_here_are_known_by_their_content(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        for number in (2, 0, 2):
            state.transfers.part_here(CONTENT, number)
        state.transfers.part_here(UUID(int=2), 1)
    with FolderState.open(tmp_path) as state:
        assert state.transfers.parts_here(CONTENT) == {0, 2}
        state.transfers.drop_downloads([CONTENT])
        assert state.transfers.parts_here(CONTENT) == set()
        assert state.transfers.parts_here(UUID(int=2)) == {1}


def make_former_format(root: Path) -> None:
    """What the release before this one leaves behind: no table and no column for large contents."""
    database = sqlite3.connect(root / ".less-sync" / "state.db")
    with database:
        for table in ("content", "upload", "upload_part", "download"):
            database.execute(f"DROP TABLE {table}")
        database.execute("ALTER TABLE record DROP COLUMN content")
        database.execute("UPDATE meta SET value = '2' WHERE name = 'format'")
    database.close()


@pytest.mark.parametrize("looks", [False, True])
def test_what_the_format_before_left_alone_is_asked_for_again(tmp_path: Path, looks: bool) -> None:
    kept = Row(UUID(int=1), "a", Content(b"\x01" * 32, 5), version=3)
    with FolderState.open(tmp_path) as state:
        state.put(
            [
                kept,
                Row(UUID(int=2), None, Absent(), pending_cursor=9, pending_reason=OTHER_KIND),
                replace(kept, record=UUID(int=3), path="b", pending_cursor=7, pending_reason=OTHER_KIND),
                Row(UUID(int=4), "c", Absent(), pending_cursor=4, pending_reason="why"),
            ]
        )
        state.advance(12)
    make_former_format(tmp_path)
    with (FolderState.look if looks else FolderState.open)(tmp_path) as state:
        assert state.cursor == 6
        assert state.get(UUID(int=1)) == kept
        assert state.get(UUID(int=2)) is None
        assert state.get(UUID(int=3)) == replace(kept, record=UUID(int=3), path="b")
        assert state.first_pending() == 4
    with FolderState.open(tmp_path) as state:
        assert state.cursor == 6


def test_a_state_of_the_format_before_that_left_nothing_alone_goes_on_where_it_was(tmp_path: Path) -> None:
    with FolderState.open(tmp_path) as state:
        state.advance(12)
    make_former_format(tmp_path)
    with FolderState.open(tmp_path) as state:
        assert state.cursor == 12
    FolderState.open(tmp_path).close()


def test_content_records_of_many_parts_are_not_gathered_in_memory(tmp_path: Path) -> None:
    parts = tuple(UUID(int=number) for number in range(10_000))
    with FolderState.open(tmp_path) as state:
        tree = FileTree(tmp_path, state.directory)
        side = LocalSide(tmp_path, state, tree, CIPHER, tell=print)
        for number in range(1, 4):
            plain = PlainContent(len(parts) * MIB, bytes(32), MIB, parts)
            side.note_content(KnownContent(UUID(int=number), number, plain))
        on_disk = [state.transfers.content(UUID(int=number)) is not None for number in (1, 2, 3)]
        assert on_disk == [True, True, False]
        tree.close()
