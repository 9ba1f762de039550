"""From settings to a store of files."""

from pathlib import Path

import pytest

from less_sync.bins.errors import CommandError
from less_sync.bins.file_storage import open_blobs
from less_sync.storage import BlobKey, LocalBlobs, S3Blobs
from tests.bins.environments import S3_NEEDED, read
from tests.storage.blobs import get, new_key, put


def test_there_are_no_files_unless_storage_is_configured(tmp_path: Path) -> None:
    assert open_blobs(read(DATA_DIR=str(tmp_path / "data"))) is None
    assert list(tmp_path.iterdir()) == []


async def test_local_files_are_kept_below_the_data_directory_which_is_private(tmp_path: Path) -> None:
    data = tmp_path / "of" / "data"
    store = open_blobs(read(DATA_DIR=str(data), FILE_STORAGE_BACKEND="local"))
    assert isinstance(store, LocalBlobs)
    key = new_key()
    await put(store, key, b"content")
    await store.aclose()
    assert data.stat().st_mode & 0o777 == 0o700
    path = data / "files" / "spaces" / str(key.space) / "files" / str(key.file)
    assert path.read_bytes() == b"content"


async def test_local_files_may_have_a_directory_of_their_own(tmp_path: Path) -> None:
    env = {
        "DATA_DIR": str(tmp_path / "data"),
        "FILE_STORAGE": "fs",
        "FILE_FS_PATH": str(tmp_path / "a" / "b"),
    }
    store = open_blobs(read(**env))
    assert store is not None
    await store.aclose()
    assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "data").exists()


async def test_what_an_existing_server_stored_is_found(tmp_path: Path) -> None:
    key = BlobKey(new_key().space, new_key().file)
    path = tmp_path / "spaces" / str(key.space) / "files" / str(key.file)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"stored by another")
    path.with_name(f"{key.file}#1").write_bytes(b"left behind")
    store = open_blobs(read(FILE_STORAGE_BACKEND="local", FILE_STORAGE_PATH=str(tmp_path)))
    assert store is not None
    assert await get(store, key) == b"stored by another"
    assert [[stored.key for stored in batch] async for batch in store.listing()] == [[key]]
    await store.aclose()


def test_a_directory_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CommandError) as caught:
        open_blobs(read(FILE_STORAGE_BACKEND="local", FILE_STORAGE_PATH=str(tmp_path / "file" / "files")))
    assert str(caught.value) == "Not a directory (os error 20)"
    assert caught.value.causes == (f"the directory {tmp_path}/file/files for files cannot be made",)


async def test_a_store_in_s3_is_made_without_asking_anybody(tmp_path: Path) -> None:
    data = tmp_path / "data"
    env = S3_NEEDED | {"DATA_DIR": str(data), "FILE_S3_ENDPOINT": "http://127.0.0.1:1"}
    store = open_blobs(read(**env))
    assert isinstance(store, S3Blobs)
    await store.aclose()
    assert [path.name for path in data.iterdir()] == ["staging"]
    assert (data.stat().st_mode & 0o777, (data / "staging").stat().st_mode & 0o777) == (0o700, 0o700)
    assert "the secret key" not in repr(store)
