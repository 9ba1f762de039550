"""The keys of a shared space for the folder engine: those the folder has, and those the log has for us."""

from collections.abc import Callable

from less_sync.client.folder.crypto import SharedCipher
from less_sync.client.folder.errors import KeyMismatch
from less_sync.client.folder.shared import SharedFile
from less_sync.client.sharing.log_access import read_log
from less_sync.client.sharing.person import Person
from less_sync.sync.client import SyncClient


class SpaceKeys:
    """Fetches the key of an epoch when a pull, or a record that was announced, first needs it.

    Args:
        person: finds our DID key, which only a new epoch asks for.
    """

    def __init__(self, file: SharedFile, cipher: SharedCipher, person: Callable[[], Person]) -> None:
        self._file = file
        self._cipher = cipher
        self._person = person

    def knows(self, epoch: int) -> bool:
        """Whether records of this epoch can be sealed and opened."""
        return self._cipher.knows(epoch)

    async def fetch(self, client: SyncClient, epoch: int) -> None:
        """Make sure of the key of an epoch, which has begun by the server.

        Raises:
            KeyMismatch: nobody gave it to us.
            FolderError, SyncClientError: as `read_log`.
        """
        if self._cipher.knows(epoch):
            return
        _, shared = await read_log(client, self._file, self._person(), epoch=epoch)
        self._cipher.learn(shared.epoch_keys)
        if not self._cipher.knows(epoch):
            raise KeyMismatch(
                f"the space has a new key (epoch {epoch}) that was not given to you",
                "ask a member of the space for another bundle",
            )
