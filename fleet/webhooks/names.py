"""Addresses of hosts, by the operating system, which may keep a caller waiting for half a minute.

The event loop's own look-ups share four threads with everything else that has a name, the database too. One
name server that stays silent would hold them all. So each name has a thread of its own while it is looked up,
and whoever asks for it meanwhile waits with the first.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import Final

LOOKUPS_MAX: Final = 64
"""Names looked up at a time, more than there may be endpoints; a further one counts as without address."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to the addresses of the host. Raises OSError when it has none."""


class SystemResolver:
    """What the operating system says. On one event loop."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Future[list[str] | OSError]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host; an address is its own. Cancelling the wait does not end the look-up.

        Raises:
            OSError: it has none, or too many names are being looked up.
        """
        with suppress(ValueError):
            return [str(ip_address(host))]
        name = host, port
        running = self._running.get(name)
        if running is None:
            if len(self._running) >= LOOKUPS_MAX:
                raise OSError("too many names are being looked up")
            loop = asyncio.get_running_loop()
            running = self._running[name] = loop.create_future()
            # A daemon: the process may end while a name server is silent.
            Thread(target=self._look_up, args=(loop, name), name="webhook-name", daemon=True).start()
        found = await asyncio.shield(running)
        if isinstance(found, OSError):
            raise found
        return found

    def _look_up(self, loop: asyncio.AbstractEventLoop, name: tuple[str, int]) -> None:
        found: list[str] | OSError
        try:
            entries = socket.getaddrinfo(*name, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(address[0]) for *_, address in entries))
        except OSError as error:
            found = error
        except UnicodeError:  # an empty or overlong label
            found = OSError("not a host name")
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._settle, name, found)

    def _settle(self, name: tuple[str, int], found: list[str] | OSError) -> None:
        self._running.pop(name).set_result(found)
