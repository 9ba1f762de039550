"""Where contents of files are kept, as the settings say."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from less_sync.bins.errors import CommandError, os_error_text
from less_sync.bins.settings.files import S3_FAILED, FileSettings, S3Settings
from less_sync.storage import BlobError, BlobStore

if TYPE_CHECKING:
    from less_sync.storage import S3Blobs


class FilePlace(Protocol):
    """The settings that say where: all of a server's, or the few that a command reads."""

    @property
    def data_dir(self) -> Path:
        """Where uploads to S3 wait."""

    @property
    def files(self) -> FileSettings:
        """Which store."""


def open_blobs(settings: FilePlace) -> BlobStore | None:
    """Open the store; None when there is to be none. Makes the directories that are missing; contacts nobody.

    Raises:
        CommandError: a directory cannot be made, or the settings of S3 are refused.
    """
    files = settings.files
    if files.backend == "none":
        return None
    try:
        if files.s3 is not None or settings.data_dir in files.directory.parents:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if files.s3 is None:
            from less_sync.storage import LocalBlobs

            return LocalBlobs.at(files.directory)
        return _s3(files.s3, settings)
    except OSError as error:
        causes = [f"the directory {error.filename} for files cannot be made"]
        raise CommandError(os_error_text(error), causes) from error


def _s3(bucket: S3Settings, settings: FilePlace) -> "S3Blobs":
    from less_sync.storage import S3Blobs

    try:
        return S3Blobs(
            endpoint=bucket.endpoint,
            bucket=bucket.bucket,
            region=bucket.region,
            access_key=bucket.access_key,
            secret_key=bucket.secret_key,
            staging=settings.data_dir / "staging",
        )
    except BlobError as error:
        raise CommandError(f"{S3_FAILED}: {error}") from error
