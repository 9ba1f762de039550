"""`results.tsv`: one line per row for shells and spreadsheets. Pure, without anything volatile.

Nine fields, one tab between, never an empty one: shells that split on tabs take two of them for one, and
every following column would shift (docs/validation.md 7.2).
"""

import re
from typing import Final

from less_sync.validation.results import Document

COLUMNS: Final = (
    *("check_id", "required", "status", "description", "log_path", "command", "lane", "target", "reason"),
)
EMPTY: Final = "-"
_ESCAPED: Final = re.compile(r"[\\\x00-\x1f\x7f]")
_SHORT: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def tsv(document: Document) -> bytes:
    """The whole file, rows in the manifest's order."""
    rows = [
        (
            *(entry.id, required_word(required=entry.required), entry.status, entry.description),
            *(entry.log_path, entry.command, entry.lane, entry.target, entry.reason),
        )
        for entry in document.checks
    ]
    return b"".join(line(row) for row in (COLUMNS, *rows))


def line(fields: tuple[str, ...]) -> bytes:
    """One line of such a file, escaped."""
    return ("\t".join(map(escaped, fields)) + "\n").encode()


def escaped(field: str) -> str:
    """A field that splitting on tabs and lines leaves whole: `-` is an empty one."""
    if field in ("", EMPTY):
        return f"\\{EMPTY}" if field else EMPTY
    return _ESCAPED.sub(lambda found: _SHORT.get(found[0]) or f"\\x{ord(found[0]):02x}", field)


def required_word(*, required: bool) -> str:
    """`required` or `optional`."""
    return "required" if required else "optional"
