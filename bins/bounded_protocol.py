"""Connections of a listener that holds a number of them at most, and what such a listener knows of each."""

import asyncio
from typing import ClassVar, Self

from less_sync.sync.http.http1 import HttpProtocol


class BoundedProtocol(HttpProtocol):
    """One connection. There are `connections_max` at most, and whoever only occupies one makes room.

    The oldest without a whole request goes when another one comes. So neither idle connections nor slow
    heads, however many, keep anybody out. A listener makes a class of its own by `apart`.
    """

    connections_max: ClassVar[int]
    held: ClassVar[dict["BoundedProtocol", None]]
    """The open connections, oldest first. Those of one listener."""

    @classmethod
    def apart(cls) -> type[Self]:
        """This class for one listener, whose connections are counted by themselves."""

        class Apart(cls):  # type: ignore[valid-type, misc]  # a class is made of the one that is asked
            held: ClassVar[dict[BoundedProtocol, None]] = {}

        return Apart

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Make room if there is none, and remember where this arrived."""
        super().connection_made(transport)
        name = transport.get_extra_info("sockname")
        self.server = (name, 0) if isinstance(name, str) else name[:2]
        if len(self.held) >= self.connections_max:
            idle = next((one for one in self.held if not one.answering), None)
            if idle is None:
                transport.abort()
                return
            idle.transport.abort()
            del self.held[idle]
        self.held[self] = None

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self.held.pop(self, None)
        super().connection_lost(exc)
