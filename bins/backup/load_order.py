"""The COPY of a table in the order of its key, in which the manifest's digests are made."""

from collections.abc import Sequence
from typing import Final

_KEYS: Final = {
    "spaces": ("id",),
    "records": ("id",),
    "files": ("space_id", "id"),
    "members": ("space_id", "chain_seq"),
    "revocations": ("space_id", 'ucan_cid" COLLATE "C'),
    "invitations": ("id",),
    "rate_limit_actions": ('action" COLLATE "C', 'actor_hash" COLLATE "C', "created_at"),
    "federation_signing_keys": ('kid" COLLATE "C',),
}


def copy_query(name: str, columns: Sequence[str]) -> str:
    """The query whose COPY text is that of a backup."""
    listed = ", ".join(f'"{column}"' for column in columns)
    order = ", ".join(f'"{key}"' for key in _KEYS[name])
    return f'SELECT {listed} FROM "{name}" ORDER BY {order}'
