"""One space over one client, as pulling, pushing and files share it."""

from collections.abc import Callable
from dataclasses import dataclass

from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Reporter
from less_sync.sync.client import SyncClient


@dataclass(slots=True)
class Conversation:
    """See the module.

    Args:
        space: its id, as the server is asked for it.
        ucan: what lets us into a shared space; empty for the personal one.
        epoch: the key generation of the space that the server named last.
        steps: grows with everything that moves, in either direction.
        bind: called once, when the key has proved to be the space's, or is about to become it.
    """

    client: SyncClient
    space: str
    replica: Replica
    reporter: Reporter
    ucan: str = ""
    epoch: int = 1
    steps: int = 0
    bind: Callable[[], None] | None = None

    async def bind_once(self) -> None:
        """The key is the space's."""
        if self.bind is not None:
            bind, self.bind = self.bind, None
            await in_thread(bind)
