"""The COPY of a table in the order of its key, over which the digest of its rows is made.

Text is ordered by its bytes: the order of a database's own language differs between databases.
"""

from collections.abc import Sequence
from typing import Final

_KEYS: Final = {
    "spaces": ("id",),
    "records": ("id",),
    "files": ("space_id", "id"),
    "members": ("space_id", "chain_seq"),
    "revocations": ("space_id", "ucan_cid"),
    "invitations": ("id",),
    # It has no key: rows that are alike in all columns may stand in any order.
    "rate_limit_actions": ("action", "actor_hash", "created_at"),
    "federation_signing_keys": ("kid",),
}
_TEXT: Final = frozenset({"ucan_cid", "action", "actor_hash", "kid"})
_FORMER_NAMES: Final = {"chain_seq": "seq"}
"""Of a column before migration 10."""


def copy_query(name: str, columns: Sequence[str]) -> str:
    """The query whose COPY text is that of a backup.

    Raises:
        KeyError: no migration makes a table of this name.
    """
    order = ", ".join(_ordered(key, columns) for key in _KEYS[name])
    return f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(name)} ORDER BY {order}"


def _ordered(key: str, columns: Sequence[str]) -> str:
    column = quoted(key if key in columns else _FORMER_NAMES.get(key, key))
    return f'{column} COLLATE "C"' if key in _TEXT else column


def quoted(name: str) -> str:
    """A name of a table or column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
