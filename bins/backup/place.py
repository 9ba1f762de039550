"""Where a restore goes: the database and the store of files, as a server with this environment has them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from less_sync.bins.errors import CommandError
from less_sync.bins.file_storage import open_blobs
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.config import data_directory
from less_sync.bins.settings.files import FILE_BYTES_LIMIT_MAX, FileSettings, parse_file_place
from less_sync.bins.settings.issuers import names_issuers
from less_sync.bins.settings.reader import SettingsReader
from less_sync.storage import BlobStore


@dataclass(frozen=True, slots=True)
class Place:
    """A database and a store."""

    url: str | None = field(repr=False)
    """None: the embedded Postgres of `data_dir`."""
    data_dir: Path
    files: FileSettings


def read_place(env: Mapping[str, str], *, embedded: bool = False) -> Place:
    """Read the few settings that say where. Without a database and issuers the files are those of dev mode.

    Args:
        embedded: the embedded Postgres is meant, whatever `DATABASE_URL` says.

    Raises:
        CommandError: one of them is wrong.
    """
    reader = SettingsReader(env)
    url = None if embedded else env.get("DATABASE_URL")
    data_dir = data_directory(env)
    dev = url is None and not names_issuers(reader)
    backend, directory, s3 = parse_file_place(reader, data_dir, dev=dev)
    if reader.problems:
        raise CommandError(reader.problems[0], reader.problems[1:])
    try:
        url = None if url is None else driver_url(url)
    except DatabaseUrlError as error:
        raise CommandError(str(error)) from error
    return Place(url, data_dir, FileSettings(backend, directory, s3, FILE_BYTES_LIMIT_MAX, None))


def check_store(place: Place, contents: int) -> None:
    """See that there is a store for the contents of a backup. Makes nothing.

    Raises:
        CommandError: there is none.
    """
    if contents and place.files.backend == "none":
        raise CommandError(
            f"the backup holds contents of files ({contents:,}) and there is no place for them: set "
            "FILE_STORAGE_BACKEND and what belongs to it as the server will have them"
        )


@asynccontextmanager
async def opened_store(place: Place, contents: int) -> AsyncIterator[BlobStore | None]:
    """The store for so many contents; None where there is none, and no directory is made for nothing.

    Raises:
        CommandError: a directory cannot be made, or the settings of S3 are refused.
    """
    unused = place.files.backend == "local" and not place.files.directory.exists() and not contents
    store = None if unused else open_blobs(place)
    try:
        yield store
    finally:
        if store is not None:
            await store.aclose()
