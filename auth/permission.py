"""What a token may let its holder do in a space: read, write, administer (docs/tokens.md 6)."""

from enum import IntEnum
from typing import Final

from less_sync.auth.errors import UnknownPermission


class Permission(IntEnum):
    """Ordered: each one covers itself and those below. The values are those of session tokens."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def command(self) -> str:
        """The `cmd` of a UCAN that grants this."""
        return _COMMANDS[self]

    def covers(self, needed: "Permission") -> bool:
        """Whether holding this is enough where `needed` is asked for."""
        return self >= needed

    @classmethod
    def from_command(cls, command: str) -> "Permission":
        """The permission a `cmd` grants: the exact text, no prefix, wildcard or trailing slash.

        Raises:
            UnknownPermission: none of the three.
        """
        permission = _PERMISSIONS.get(command)
        if permission is None:
            raise UnknownPermission(command)
        return permission

    @classmethod
    def from_value(cls, value: int) -> "Permission":
        """The permission of a number.

        Raises:
            UnknownPermission: not 1, 2 or 3.
        """
        try:
            return cls(value)
        except ValueError:
            raise UnknownPermission(value) from None


_COMMANDS: Final = {
    Permission.READ: "/space/read",
    Permission.WRITE: "/space/write",
    Permission.ADMIN: "/space/admin",
}
_PERMISSIONS: Final = {command: permission for permission, command in _COMMANDS.items()}
