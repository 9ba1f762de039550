"""Everything random in a run, made from its id: the same id repeats a check with the same bytes. Pure.

A stream of blocks SHA-256(`less-sync-validate`, 00, 16 bytes run id, 00, check id, 00, counter as 8 bytes
big-endian); docs/validation.md 9.
"""

import hashlib
from typing import Final
from uuid import UUID

_LABEL: Final = b"less-sync-validate"


class Stream:
    """The bytes of one check, in order."""

    def __init__(self, run_id: bytes, check_id: str) -> None:
        assert len(run_id) == 16
        self._prefix: Final = b"\0".join((_LABEL, run_id, check_id.encode(), b""))
        self._counter = 0

    def block(self) -> bytes:
        """The next 32 bytes."""
        block = hashlib.sha256(self._prefix + self._counter.to_bytes(8, "big")).digest()
        self._counter += 1
        return block

    def take(self, count: int) -> bytes:
        """The next `count` bytes; what is left of the last block is not used again."""
        return b"".join(self.block() for _ in range(-(-count // 32)))[:count]

    def uuid(self) -> UUID:
        """A version 4 UUID of the first 16 bytes of a block."""
        return UUID(bytes=self.block()[:16], version=4)
