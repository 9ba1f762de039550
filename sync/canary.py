"""The ids of spaces in which servers watch themselves, so that everybody else can leave them alone.

Such a space belongs to one server and has one record, which is written over and over (docs/operations.md
12.4). Its id says so: its first half is the text `lesssync`, as far as an id of version 8 leaves room for it
(RFC 9562 5.8), its second half comes from the server's own id.
"""

import hashlib
from typing import Final
from uuid import UUID

NODE_BYTES: Final = 16
"""Of a server's own id."""

CANARY_FIRST: Final = UUID("6c657373-7379-8e63-8000-000000000000")
CANARY_LAST: Final = UUID("6c657373-7379-8e63-bfff-ffffffffffff")
"""The lowest and the highest such id; Postgres orders ids as Python does."""

_MARK: Final = CANARY_FIRST.bytes[:8]


def canary_space(node: bytes, worker: int = 0) -> UUID:
    """The space of the server with this id, `NODE_BYTES` long; the id cannot be told from it.

    Args:
        worker: the number of one of several processes of that server, each of which watches itself.
    """
    if len(node) != NODE_BYTES:
        raise ValueError(f"the id of a server has {NODE_BYTES} bytes")
    of = node if worker == 0 else node + worker.to_bytes(2, "big")
    own = hashlib.sha256(b"less-sync canary space\0" + of).digest()[:8]
    return UUID(bytes=_MARK + bytes((0x80 | own[0] & 0x3F,)) + own[1:])


def is_canary(space: UUID) -> bool:
    """Whether a space is one of those, whichever server's."""
    return CANARY_FIRST <= space <= CANARY_LAST
