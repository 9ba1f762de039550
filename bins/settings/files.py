"""Settings of file storage (docs/settings.md)."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from less_sync.bins.settings.parts import is_host
from less_sync.bins.settings.reader import SettingsReader, quoted

FILE_BYTES_LIMIT_MAX: Final = 5 * 1024**3
S3_FAILED: Final = "failed to initialize S3 object store"
"""Begins what is said of settings from which no client of S3 can be made."""

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*/?", re.ASCII)

Backend = Literal["none", "local", "s3"]


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Which bucket, and as whom."""

    endpoint: str
    """URL with its scheme; a path in it comes before the bucket."""
    bucket: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Where file content is kept and how large it may be."""

    backend: Backend
    directory: Path
    """Of the backend `local`."""
    s3: S3Settings | None
    """Of the backend `s3`."""
    bytes_max: int
    orphan_sweep_interval_s: int | None
    """None: no sweep."""


def parse_file_place(
    reader: SettingsReader, data_dir: Path, *, dev: bool
) -> tuple[Backend, Path, S3Settings | None]:
    """`FILE_STORAGE_BACKEND` and what belongs to it: exact spelling, `fs` is `local`; empty counts as unset.

    Dev mode keeps files in the data directory unless told otherwise, so that everything works there.
    """
    backend = reader.text_or_alias("FILE_STORAGE_BACKEND", "FILE_STORAGE") or ("local" if dev else "none")
    if backend not in ("none", "local", "fs", "s3"):
        expected = 'expected "none", "local", or "s3"'
        reader.problems.append(f"invalid FILE_STORAGE_BACKEND {quoted(backend)}: {expected}")
        backend = "none"
    directory = reader.text_or_alias("FILE_STORAGE_PATH", "FILE_FS_PATH")
    kind = cast(Backend, "local" if backend == "fs" else backend)
    s3 = _parse_s3(reader, wanted=kind == "s3")
    return kind, Path(directory) if directory else data_dir / "files", s3


def _parse_s3(reader: SettingsReader, *, wanted: bool) -> S3Settings | None:
    """The variables `FILE_S3_...`, which nothing is said of unless they are `wanted`."""
    judge = reader if wanted else reader.apart()
    endpoint, access_key, secret_key, bucket = (
        _required(judge, f"FILE_S3_{name}") for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    )
    region = judge.text_or_empty("FILE_S3_REGION") or "us-east-1"
    use_ssl = judge.flag("FILE_S3_USE_SSL", True)
    if endpoint:
        endpoint = _endpoint_url(judge, endpoint, use_ssl=use_ssl)
    return S3Settings(endpoint, bucket, region, access_key, secret_key) if wanted else None


def _required(reader: SettingsReader, name: str) -> str:
    value = reader.trimmed(name) or ""
    if not value:
        reader.problems.append(f"{name} is required when FILE_STORAGE_BACKEND=s3")
    return value


def _endpoint_url(reader: SettingsReader, raw: str, *, use_ssl: bool) -> str:
    """`host`, `host:port` or a URL, which may have a path. An explicit lower-case scheme wins over SSL."""
    url = raw if raw.startswith(("http://", "https://")) else f"http{'s' if use_ssl else ''}://{raw}"
    fault = _fault_of(url)
    if fault is not None:
        # Whatever stands before an @ is somebody's password.
        shown = "" if "@" in raw else f" {quoted(raw)}"
        reader.problems.append(f"{S3_FAILED}: invalid FILE_S3_ENDPOINT{shown}: {fault}")
    return url.rstrip("/")


def _fault_of(url: str) -> str | None:
    if any(not "!" <= character <= "~" for character in url):
        return "only printable ASCII characters are allowed"
    if "@" in url:
        return "credentials belong into FILE_S3_ACCESS_KEY and FILE_S3_SECRET_KEY"
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if parts.netloc.startswith("["):
            IPv6Address(host)
    except ValueError:
        return "invalid host or port"
    if not parts.netloc.startswith("[") and not is_host(host):
        return "invalid host or port"
    if port == 0 or parts.netloc.endswith(":"):
        return "invalid host or port"
    if "?" in url or "#" in url or not _PATH.fullmatch(parts.path):
        return "expected host, host:port, or a URL with a plain path"
    return None
