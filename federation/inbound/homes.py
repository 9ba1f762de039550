"""Which server is the home of a space, remembered for a moment: for what is no more than a notification."""

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Final
from uuid import UUID

from less_sync.auth import MalformedText, parse_server_name
from less_sync.storage import SpaceStore

ENTRIES_MAX: Final = 4096
LIFE_S: Final = 30.0


class Home(Enum):
    """What is known, where that is no host."""

    UNREAD = auto()
    HERE = auto()
    NO_SPACE = auto()


class Homes:
    """Hosts by space, those read last.

    Args:
        is_foreign: whether a `home_server` is another server.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        spaces: SpaceStore,
        is_foreign: Callable[[str | None], bool],
        clock: Callable[[], float],
        *,
        entries_max: int = ENTRIES_MAX,
        life_s: float = LIFE_S,
    ) -> None:
        self._spaces = spaces
        self._is_foreign = is_foreign
        self._clock = clock
        self._entries_max = entries_max
        self._life_s = life_s
        self._read: OrderedDict[UUID, tuple[float, str | Home]] = OrderedDict()

    def known(self, space: UUID) -> str | Home:
        """The host of a space's home, as far as it was read lately."""
        read_s, home = self._read.get(space, (0.0, Home.UNREAD))
        return home if self._clock() - read_s < self._life_s else Home.UNREAD

    async def read(self, space: UUID) -> str | Home:
        """The host of a space's home.

        Raises:
            StorageError: the database could not be asked.
        """
        row = (await self._spaces.get_spaces([space])).get(space)
        if row is None:
            home: str | Home = Home.NO_SPACE
        elif row.home_server is None or not self._is_foreign(row.home_server):
            home = Home.HERE
        else:
            home = _host(row.home_server)
        self._read[space] = (self._clock(), home)
        self._read.move_to_end(space)
        if len(self._read) > self._entries_max:
            self._read.popitem(last=False)
        return home


def _host(home: str) -> str:
    """ "" for a text that names no server, which no peer is called."""
    try:
        name = parse_server_name(home)
    except MalformedText:
        return ""
    return "" if name is None else name.host
