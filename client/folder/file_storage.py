"""The server's file storage as a folder command uses it: whether there is one, and what its refusals mean."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from less_sync.sync.client import (
    FileClient,
    FileRefused,
    FilesNotServed,
    FilesScopeMissing,
    NotThisProtocol,
    RequestFailed,
)
from less_sync.sync.protocol.codes import ErrorCode

NO_FILE_STORAGE: Final = "the server has no file storage"
TROUBLE_MAX: Final = 2
"""So many large files may fail in one pull or push before the server is left alone for a while."""
NO_SCOPE: Final = "the token has no scope `files`"
ELSEWHERE: Final = "your server does not pass it on between you and the space's home"

_ACCESS: Final = (401, 403, 404)
_DEK_BYTES: Final = 44


class NoFileStorage(Exception):
    """Files cannot be used; `str()` says why, as in 'too large for a record, and ...'."""


class FileStorage:
    """See the module. `client` None: there is none to use."""

    def __init__(self, client: FileClient | None, space: str, ucan: str) -> None:
        self._client = client
        self._space = space
        self._ucan = ucan
        self._is_usable = False

    async def trouble(self) -> str | None:
        """Why files cannot be sent; None when they can. Once they could, the server is not asked again.

        Raises:
            RequestFailed: access was refused.
            SyncClientError: see `FileClient.served`.
        """
        if self._is_usable:
            return None
        try:
            with refusals():
                await self.client.served(self._space, ucan=self._ucan)
                if self._ucan:
                    await self._check_is_home()
        except NoFileStorage as reason:
            return str(reason)
        self._is_usable = True
        return None

    async def _check_is_home(self) -> None:
        """Ask whether files of a shared space are stored there, by one that no server takes: of no record.

        A server that is not the space's home hands its files out, and takes none. Hearing it before a content
        record was pushed leaves nothing to take away again.
        """

        async def nothing() -> AsyncGenerator[bytes, None]:
            return
            yield

        try:
            await self.client.upload(
                self._space,
                uuid4(),
                record=uuid4(),
                wrapped_dek=bytes(_DEK_BYTES),
                size_bytes=0,
                content=nothing,
                ucan=self._ucan,
            )
        except FileRefused as error:
            if error.hosted_elsewhere:
                raise

    @property
    def client(self) -> FileClient:
        """The client of files.

        Raises:
            NoFileStorage: there is none.
        """
        if self._client is None:
            raise NoFileStorage(NO_FILE_STORAGE)
        return self._client


@contextmanager
def refusals() -> Iterator[None]:
    """Tell what is refused for good from what a subscription has to tell.

    Raises:
        NoFileStorage: there is none, or something else answers, or the token is not for it.
        RequestFailed: `forbidden`; whether access is gone is asked elsewhere (`engine.py`).
    """
    try:
        yield
    except FilesNotServed as error:
        raise NoFileStorage(NO_FILE_STORAGE) from error
    except FilesScopeMissing as error:
        raise NoFileStorage(NO_SCOPE) from error
    except NotThisProtocol as error:
        # A proxy that hands on the sync connection alone: records go on without files.
        raise NoFileStorage(str(error)) from error
    except FileRefused as error:
        if error.hosted_elsewhere:
            raise NoFileStorage(ELSEWHERE) from error
        if error.status not in _ACCESS:
            raise
        raise RequestFailed(ErrorCode.FORBIDDEN, str(error)) from error
