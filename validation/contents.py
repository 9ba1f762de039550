"""Where a server keeps contents of files, looked at from outside: how long one is, and nothing else.

A directory or a bucket, by the variables `FILE_...` that the server has too (docs/settings.md). A bucket is
asked with HEAD alone, signed by version 4 of Amazon's scheme, so that no other variable has a say.
"""

import asyncio
import hashlib
import hmac
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx

from less_sync.validation.outcome import Blocked, Faulty

ANSWER_S: Final = 20.0
NO_BODY: Final = hashlib.sha256(b"").hexdigest()


class Contents(Protocol):
    """A store of contents."""

    async def size_bytes(self, space: UUID, file: UUID) -> int | None:
        """How long a content is; None: it is not there.

        Raises:
            Faulty: `store`, it did not say.
        """


def key_of(space: UUID, file: UUID) -> str:
    """Of a content, in every store."""
    return f"spaces/{space}/files/{file}"


@dataclass(frozen=True, slots=True)
class Directory:
    """Contents in a directory."""

    base: Path

    async def size_bytes(self, space: UUID, file: UUID) -> int | None:
        """See `Contents`."""
        return await asyncio.to_thread(self._size_bytes, self.base / key_of(space, file))

    @staticmethod
    def _size_bytes(path: Path) -> int | None:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            raise Faulty("store") from None
        return status.st_size if stat.S_ISREG(status.st_mode) else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Contents in a bucket."""

    http: httpx.AsyncClient = field(repr=False)
    endpoint: str
    """With its scheme; a path in it comes before the bucket."""
    bucket: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    async def size_bytes(self, space: UUID, file: UUID) -> int | None:
        """See `Contents`."""
        url = f"{self.endpoint.rstrip('/')}/{quote(self.bucket, safe='')}/{key_of(space, file)}"
        try:
            answer = await self.http.head(url, headers=self._signed(url, datetime.now(UTC)))
        except httpx.HTTPError:
            raise Faulty("store") from None
        if answer.status_code == 404:
            return None
        length = answer.headers.get("content-length", "")
        if answer.status_code != 200 or not length.isdecimal():
            raise Faulty("store", answer.status_code)
        return int(length)

    def _signed(self, url: str, now: datetime) -> dict[str, str]:
        where = urlsplit(url)
        day, moment = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        headers = {"host": where.netloc, "x-amz-content-sha256": NO_BODY, "x-amz-date": moment}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"HEAD\n{where.path}\n\n{lines}\n{names}\n{NO_BODY}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"Credential={self.access_key}/{scope}"
        said = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
        return headers | {"authorization": said}


@asynccontextmanager
async def contents_of(environment: Mapping[str, str]) -> AsyncIterator[Contents]:
    """The store that a server with these variables uses.

    Raises:
        Blocked: `input:FILE_...`, it is not said where it is.
    """
    kind = environment.get("FILE_STORAGE_BACKEND") or environment.get("FILE_STORAGE")
    if kind in ("local", "fs"):
        base = environment.get("FILE_STORAGE_PATH") or environment.get("FILE_FS_PATH")
        if not base and environment.get("DATA_DIR"):
            base = os.path.join(environment["DATA_DIR"], "files")
        if not base:
            raise Blocked("input", "FILE_STORAGE_PATH")
        yield Directory(Path(base))
        return
    if kind != "s3":
        raise Blocked("input", "FILE_STORAGE_BACKEND")
    names = ("ENDPOINT", "BUCKET", "ACCESS_KEY", "SECRET_KEY")
    given = [(environment.get(f"FILE_S3_{name}") or "").strip() for name in names]
    for name, value in zip(names, given, strict=True):
        if not value:
            raise Blocked("input", f"FILE_S3_{name}")
    endpoint, bucket, access_key, secret_key = given
    if not endpoint.startswith(("http://", "https://")):
        plain = environment.get("FILE_S3_USE_SSL", "").strip().lower() in ("0", "false", "no", "off")
        endpoint = f"http{'' if plain else 's'}://{endpoint}"
    region = environment.get("FILE_S3_REGION") or "us-east-1"
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=ANSWER_S) as http:
        yield Bucket(http, endpoint, bucket, region, access_key, secret_key)
