"""The longest step of a rotation: every wrapped key of a space, of records and of files, is wrapped anew.

What has the epoch already is left alone, so a rewrap that was interrupted goes on where it stopped. The
contents stay as they are.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.crypto import SharedCipher, Undecryptable
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import SharedSpace
from less_sync.sync.client import PullOther, RequestFailed, SyncClient
from less_sync.sync.client.sharing import DEKS_PER_REWRAP
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import RewrappedDek

LISTINGS_MAX: Final = 12
"""How often the keys of files are looked at in one go."""


class FilesLeft(FolderError):
    """There are files under former keys, and the token may not touch their keys."""

    def __init__(self, epoch: int, files: int) -> None:
        have = "1 file has its" if files == 1 else f"{files} files have their"
        super().__init__(
            f"the space is in epoch {epoch} with a new key, but {have} former one still: the token lacks the "
            "scope `files`",
            "everybody reads on; let an administrator whose token has the scope rotate, or yourself again",
        )


@dataclass(frozen=True, slots=True)
class Rewrapper:
    """Wraps the keys of one space for one epoch. `step` is told before each change of the server."""

    client: SyncClient
    shared: SharedSpace
    epoch: int
    step: Callable[[str], None]
    undecryptable: set[str]
    """Takes the ids of whatever nobody here can open."""

    async def run(self) -> None:
        """Rewrap all that can be.

        Raises:
            FilesLeft: records are done, files are not.
            RequestFailed: `conflict`, something was written since it was listed, or the epoch is over;
                `bad_request`, a file was deleted since. Look again.
            SyncClientError: the server refuses, or is gone.
        """
        await self._records()
        try:
            # The server takes files under older keys also now, so what has come meanwhile is looked at too.
            for _ in range(LISTINGS_MAX):
                if not await self._files():
                    break
        except RequestFailed as error:
            if error.code != ErrorCode.FORBIDDEN or "scope" not in error.message:
                raise
            left = await self._files_left()
            if left:
                raise FilesLeft(self.epoch, left) from error

    async def _records(self) -> None:
        space, ucan = str(self.shared.space), self.shared.ucan
        listed = [(one.id, one.dek) async for one in self.client.deks(space, ucan=ucan)]
        await self._rewrap(listed, self.client.deks_rewrap)

    async def _files(self) -> bool:
        """Rewrap what files there are; False if there was nothing to do."""
        space, ucan = str(self.shared.space), self.shared.ucan
        listed = [(one.id, one.dek) async for one in self.client.file_deks(space, ucan=ucan)]
        return await self._rewrap(listed, self.client.file_deks_rewrap)

    async def _rewrap(self, listed: Iterable[tuple[str, bytes]], send: Callable[..., Awaitable[int]]) -> bool:
        stale = [one for one in listed if _epoch_of(one[1]) != self.epoch]
        sent = False
        for start in range(0, len(stale), DEKS_PER_REWRAP):
            fresh = await in_thread(self._rewrapped, stale[start : start + DEKS_PER_REWRAP])
            if fresh:
                self.step("rewrap")
                await send(str(self.shared.space), fresh, ucan=self.shared.ucan)
                sent = True
        return sent

    def _rewrapped(self, batch: Iterable[tuple[str, bytes]]) -> list[RewrappedDek]:
        cipher = SharedCipher(self.shared.epoch_keys, self.shared.space)
        fresh = []
        for entry_id, dek in batch:
            try:
                fresh.append(RewrappedDek(entry_id, cipher.wrap(cipher.unwrap(dek), epoch=self.epoch)))
            except Undecryptable:
                self.undecryptable.add(entry_id)
        return fresh

    async def _files_left(self) -> int:
        """Count the files under other keys, by a pull of everything: that takes no scope `files`."""
        left = 0
        async with aclosing(self.client.pull(str(self.shared.space), 0, ucan=self.shared.ucan)) as events:
            async for event in events:
                match event:
                    case PullOther(name="pull.file", data={"dek": bytes(dek)}):
                        left += _epoch_of(dek) != self.epoch
        return left


def _epoch_of(dek: bytes) -> int:
    return int.from_bytes(dek[:4], "big")
