"""One space over one client, as pulling, pushing and files share it."""

from collections.abc import Callable
from dataclasses import dataclass, field

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
        steps: grows with everything that gets further than it was before, in either direction.
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
    _reached: dict[str, int] = field(default_factory=dict)

    def reach(self, what: str, place: int) -> None:
        """A step, if `what` has never been this far: what is repeated in vain is no progress."""
        if place > self._reached.get(what, 0):
            self._reached[what] = place
            self.steps += 1

    def done(self, what: str) -> None:
        """A step: it has come to its end, and will not be repeated."""
        self._reached.pop(what, None)
        self.steps += 1

    async def bind_once(self) -> None:
        """The key is the space's."""
        if self.bind is not None:
            bind, self.bind = self.bind, None
            await in_thread(bind)
