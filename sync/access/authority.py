"""What deciding about shared spaces needs beside the database: remembered keys and tokens, and a setting."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from less_sync.auth import Permission, UcanCache
from less_sync.storage import Space

ROOT_KEYS_MAX: Final = 65_536


class RootKeys:
    """Root keys of shared spaces: never updated in the database, so remembered, those last used.

    A space that an operator deleted may be created anew under another key, which is learnt from its row then.
    """

    def __init__(self, entries_max: int = ROOT_KEYS_MAX) -> None:
        self._entries_max = entries_max
        self._keys: OrderedDict[int, bytes] = OrderedDict()
        """By the number of the space: a UUID hashes in Python, each time."""

    def get(self, space: UUID) -> bytes | None:
        """The key, if it is known."""
        key = self._keys.get(space.int)
        if key is not None:
            self._keys.move_to_end(space.int)
        return key

    def forget(self, space: UUID) -> None:
        """Read it again: the space may be another one of the same id."""
        self._keys.pop(space.int, None)

    def learn(self, row: Space) -> None:
        """Remember the key of a shared space; a row without one may be given away and created anew."""
        if row.root_public_key is not None:
            self._keys[row.id.int] = row.root_public_key
            if len(self._keys) > self._entries_max:
                self._keys.popitem(last=False)


class Homes:
    """Which spaces have a home that their rows name: as they were read last, those last used.

    Says where to look first, never what is so: whoever acts on it reads the row again.
    """

    def __init__(self, entries_max: int = ROOT_KEYS_MAX) -> None:
        self._entries_max = entries_max
        self._spaces: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, space: UUID) -> bool:
        return bool(self._spaces) and space.int in self._spaces

    def learn(self, row: Space) -> None:
        """Remember what a row says."""
        if row.home_server is None:
            if self._spaces:
                self._spaces.pop(row.id.int, None)
            return
        self._spaces[row.id.int] = None
        self._spaces.move_to_end(row.id.int)
        if len(self._spaces) > self._entries_max:
            self._spaces.popitem(last=False)


@dataclass(slots=True)
class Authority:
    """What deciding needs beside the database. One per process."""

    admin_operations: Permission = Permission.ADMIN
    """What revoking and epochs take on a shared space (`ADMIN_OPS_PERMISSION`)."""
    root_keys: RootKeys = field(default_factory=RootKeys)
    homes: Homes = field(default_factory=Homes)
    ucans: UcanCache = field(default_factory=UcanCache)

    def learn(self, row: Space) -> None:
        """Remember what may be remembered of a row."""
        self.root_keys.learn(row)
        self.homes.learn(row)
