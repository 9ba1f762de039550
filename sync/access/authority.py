"""What deciding about shared spaces needs beside the database: remembered keys and tokens, and a setting."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from less_sync.auth import Permission, UcanCache
from less_sync.storage import Space

ROOT_KEYS_MAX: Final = 65_536


class RootKeys:
    """Root keys of shared spaces: never updated in the database, so remembered, those last used."""

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

    def learn(self, row: Space) -> None:
        """Remember the key of a shared space; a row without one may be given away and created anew."""
        if row.root_public_key is not None:
            self._keys[row.id.int] = row.root_public_key
            if len(self._keys) > self._entries_max:
                self._keys.popitem(last=False)


@dataclass(slots=True)
class Authority:
    """What deciding needs beside the database. One per process."""

    admin_operations: Permission = Permission.ADMIN
    """What revoking and epochs take on a shared space (`ADMIN_OPS_PERMISSION`)."""
    root_keys: RootKeys = field(default_factory=RootKeys)
    ucans: UcanCache = field(default_factory=UcanCache)
